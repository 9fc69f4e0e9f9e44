//! What the event loops of both daemons share: clocks, one alarm, a place on a message bus, signals,
//! the service manager, recorded runs.

mod alarm;
pub mod bus;
mod notify;
mod record;
mod signals;

pub use crate::reactor::clock;
pub use alarm::Alarm;
pub use notify::Notify;
pub use record::Recorder;
pub use signals::{Signal, signals};

use std::fs;

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the number of descriptors that this process may have as far as it may, and returns it.
///
/// Programs start with 1024 for the sake of `select(2)`, which is less than the nodes of a large
/// fleet.
#[must_use]
pub fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let mut raised = limit;
    raised.current = limit.maximum;
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised.current,
        Err(_) => limit.current,
    };
    // No bound is reported as none.
    current.unwrap_or(u64::MAX)
}

/// The machine's id (machine-id(5)); empty where it has none.
#[must_use]
pub fn machine_id() -> String {
    let text = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_raised_to_the_hard_limit() {
        let raised = raise_descriptor_limit();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert_eq!(limit.current.unwrap_or(u64::MAX), raised);
    }
}
