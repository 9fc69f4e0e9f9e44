//! Every bound of the system, in one place, each with its reason.
