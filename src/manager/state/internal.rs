//! The objects that the manager has on a connection to an agent. They are the same before and
//! after the agent has registered, so that whoever connects can look at them.

use super::event::ToPeer;
use crate::bus::{CallError, error_name, names};

const OBJECTS: [&str; 2] = [names::INTERNAL_MANAGER_PATH, names::DBUS_PATH];

/// The answer to call number `serial`, `Introspect` of the object `path`.
pub(super) fn introspect(serial: u32, path: String) -> ToPeer {
    match children(&path) {
        Some(children) => ToPeer::Introspection {
            reply_serial: serial,
            path,
            children,
        },
        None => ToPeer::Error {
            reply_serial: serial,
            error: CallError::new(
                error_name::UNKNOWN_OBJECT,
                format!("Unknown object '{path}'."),
            ),
        },
    }
}

/// Last elements of the paths right below `path`; `None` if neither it nor one below it is one of
/// our objects.
fn children(path: &str) -> Option<Vec<String>> {
    let mut found = None;
    for object in OBJECTS {
        let below = object.strip_prefix(path.trim_end_matches('/'));
        let Some(below) = below.filter(|below| below.is_empty() || below.starts_with('/')) else {
            continue;
        };
        let children: &mut Vec<String> = found.get_or_insert_default();
        if let Some(child) = below.split('/').nth(1)
            && !children.iter().any(|other| other == child)
        {
            children.push(child.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_from_the_root_finds_each_object() {
        let mut to_visit = vec!["/".to_owned()];
        let mut leaves = Vec::new();
        while let Some(path) = to_visit.pop() {
            let children = children(&path).unwrap();
            if children.is_empty() {
                leaves.push(path.clone());
            }
            for child in children {
                to_visit.push(format!("{}/{child}", path.trim_end_matches('/')));
            }
        }
        leaves.sort();
        assert_eq!(leaves, OBJECTS);
    }

    #[test]
    fn other_paths_are_no_objects() {
        for path in ["/o", "/org/containers/hirte/internal/agent", "/com"] {
            let answer = introspect(3, path.to_owned());
            let ToPeer::Error {
                reply_serial: 3,
                error,
            } = answer
            else {
                panic!("{answer:?}");
            };
            assert_eq!(error.name, error_name::UNKNOWN_OBJECT);
        }
    }
}
