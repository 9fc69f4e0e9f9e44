//! D-Bus as data: names, paths, bodies, messages and errors. No socket is touched here.
pub mod names;
