//! Names and paths of one dialect in the other.

use std::borrow::Cow;

use crate::bus::{Message, names};

/// Well-known name of the controller, as `BlueChi` calls the manager, and the sender of its
/// messages to agents.
pub const BUS_NAME: &str = "org.eclipse.bluechi";
/// Object of the controller.
pub const PATH: &str = "/org/eclipse/bluechi";
/// What an agent calls on the controller.
pub const INTERNAL_CONTROLLER_INTERFACE: &str = "org.eclipse.bluechi.internal.Controller";

/// What the first elements of our path and of our names are, and what they are there.
const OURS: [&str; 2] = ["containers", "hirte"];
const THEIRS: [&str; 2] = ["eclipse", "bluechi"];
/// The last elements of names that differ.
const WORDS: [(&str, &str); 1] = [("Manager", "Controller")];

/// A name of a bus, an interface or an error of ours in their form; any other as it is.
#[must_use]
pub fn name(ours: &str) -> Cow<'_, str> {
    let Some(rest) = below(ours, names::MANAGER_BUS_NAME, '.') else {
        return Cow::Borrowed(ours);
    };
    let rest = exchange_word(rest, |(ours, theirs)| (ours, theirs));
    Cow::Owned(format!("{BUS_NAME}{rest}"))
}

/// A name of theirs in our form; any other as it is.
#[must_use]
pub fn name_of_ours(theirs: &str) -> Cow<'_, str> {
    let Some(rest) = below(theirs, BUS_NAME, '.') else {
        return Cow::Borrowed(theirs);
    };
    let rest = exchange_word(rest, |(ours, theirs)| (theirs, ours));
    Cow::Owned(format!("{}{rest}", names::MANAGER_BUS_NAME))
}

/// Whether a name of a bus, an interface or an error is theirs.
#[must_use]
pub fn is_theirs(name: &str) -> bool {
    below(name, BUS_NAME, '.').is_some()
}

/// Whether a name of a bus, an interface or an error is ours.
#[must_use]
pub fn is_ours(name: &str) -> bool {
    below(name, names::MANAGER_BUS_NAME, '.').is_some()
}

/// A path of ours in their form; any other as it is.
#[must_use]
pub fn path(ours: &str) -> Cow<'_, str> {
    exchange_path(ours, names::MANAGER_PATH, PATH)
}

/// A path of theirs in our form; any other as it is.
#[must_use]
pub fn path_of_ours(theirs: &str) -> Cow<'_, str> {
    exchange_path(theirs, PATH, names::MANAGER_PATH)
}

/// The last element of a path above our object in their form.
#[must_use]
pub fn element(ours: &str) -> &str {
    let at = OURS.iter().position(|element| *element == ours);
    at.map_or(ours, |at| THEIRS[at])
}

/// A message of ours with the names of theirs; its body stays.
#[must_use]
pub fn message(message: Message) -> Message {
    Message {
        path: path(&message.path).into_owned(),
        interface: name(&message.interface).into_owned(),
        destination: name(&message.destination).into_owned(),
        sender: name(&message.sender).into_owned(),
        error_name: name(&message.error_name).into_owned(),
        ..message
    }
}

/// A message of theirs with our names; its body stays.
#[must_use]
pub fn message_of_ours(message: Message) -> Message {
    Message {
        path: path_of_ours(&message.path).into_owned(),
        interface: name_of_ours(&message.interface).into_owned(),
        destination: name_of_ours(&message.destination).into_owned(),
        sender: name_of_ours(&message.sender).into_owned(),
        error_name: name_of_ours(&message.error_name).into_owned(),
        ..message
    }
}

/// What follows `parent` in `name`, if that is `parent` or below it.
fn below<'n>(name: &'n str, parent: &str, separator: char) -> Option<&'n str> {
    let rest = name.strip_prefix(parent)?;
    (rest.is_empty() || rest.starts_with(separator)).then_some(rest)
}

fn exchange_word(
    rest: &str,
    order: impl Fn((&'static str, &'static str)) -> (&'static str, &'static str),
) -> String {
    let (parents, last) = rest.rsplit_once('.').unwrap_or((rest, ""));
    let found = WORDS.into_iter().map(order).find(|(from, _)| *from == last);
    match found {
        Some((_, to)) => format!("{parents}.{to}"),
        None => rest.to_owned(),
    }
}

fn exchange_path<'p>(path: &'p str, from: &str, to: &str) -> Cow<'p, str> {
    if let Some(rest) = below(path, from, '/') {
        return Cow::Owned(format!("{to}{rest}"));
    }
    // The one object between the root's child and the manager's.
    let parent = |of: &str| of.rsplit_once('/').map(|(parent, _)| parent.to_owned());
    if Some(path) == parent(from).as_deref() {
        return parent(to).map_or(Cow::Borrowed(path), Cow::Owned);
    }
    Cow::Borrowed(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_its_counterpart() {
        for (ours, theirs) in [
            (names::MANAGER_BUS_NAME, BUS_NAME),
            (names::MANAGER_INTERFACE, "org.eclipse.bluechi.Controller"),
            (names::NODE_INTERFACE, "org.eclipse.bluechi.Node"),
            (
                names::INTERNAL_MANAGER_INTERFACE,
                INTERNAL_CONTROLLER_INTERFACE,
            ),
            (
                names::INTERNAL_AGENT_METRICS_INTERFACE,
                "org.eclipse.bluechi.internal.Agent.Metrics",
            ),
            (names::AGENT_BUS_NAME, "org.eclipse.bluechi.Agent"),
            (
                "org.containers.hirte.Offline",
                "org.eclipse.bluechi.Offline",
            ),
        ] {
            assert_eq!(name(ours), theirs);
            assert_eq!(name_of_ours(theirs), ours);
            assert!(is_ours(ours) && is_theirs(theirs));
        }
        for (ours, theirs) in [
            (names::MANAGER_PATH, PATH),
            ("/org/containers", "/org/eclipse"),
            (
                "/org/containers/hirte/node/rpi4",
                "/org/eclipse/bluechi/node/rpi4",
            ),
        ] {
            assert_eq!(path(ours), theirs);
            assert_eq!(path_of_ours(theirs), ours);
        }
        assert_eq!(["containers", "hirte"].map(element), ["eclipse", "bluechi"]);
    }

    #[test]
    fn other_names_stay() {
        for other in [
            "",
            "org.freedesktop.DBus.Error.Failed",
            "org.containers.hirtes.Manager",
            "org.eclipse.bluechis",
            ":1.7",
        ] {
            assert_eq!(name(other), other);
            assert_eq!(name_of_ours(other), other);
        }
        for other in [
            "",
            "/",
            "/org",
            "/org/freedesktop/systemd1/job/7",
            "/org/eclipse/x",
        ] {
            assert_eq!(path(other), other);
            assert_eq!(path_of_ours(other), other);
        }
    }
}
