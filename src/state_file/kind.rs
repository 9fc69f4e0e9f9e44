//! What the name of a unit tells of it (systemd.unit(5)).

use crate::bus::names::is_unit_name;

/// Suffixes of units that can be started, stopped and enabled by request. Devices and scopes come
/// and go with what they stand for.
pub(super) const CONTROLLED: [&str; 9] = [
    "service",
    "socket",
    "timer",
    "mount",
    "path",
    "target",
    "automount",
    "swap",
    "slice",
];

/// Suffixes of the units that an exact file judges although it does not name them: those that do
/// something by themselves, or start what does.
const JUDGED: [&str; 5] = ["service", "socket", "timer", "mount", "path"];

/// The part of a unit's name behind the last dot.
fn suffix(unit: &str) -> &str {
    unit.rsplit_once('.').map_or("", |(_, suffix)| suffix)
}

/// What is wrong with a unit's name in a state file, as what was expected instead.
pub(super) fn check_unit_name(unit: &str) -> Result<(), String> {
    let is_controlled = CONTROLLED.contains(&suffix(unit));
    let stem = unit.rsplit_once('.').map_or("", |(stem, _)| stem);
    if is_unit_name(unit) && is_controlled && !stem.is_empty() && !stem.starts_with('@') {
        return Ok(());
    }
    Err(format!(
        "the name of a unit, with its suffix, of one of the kinds {}",
        CONTROLLED.join(", ")
    ))
}

/// Whether an exact file judges a unit of this name that it does not name.
pub(super) fn is_judged(unit: &str) -> bool {
    JUDGED.contains(&suffix(unit))
}

/// Whether this is the name of a template, which is no unit: `getty@.service`.
#[must_use]
pub fn is_template(unit: &str) -> bool {
    matches!(split_instance(unit), Some((_, "")))
}

/// The template and the instance of an instance's name: `getty@tty1.service` is
/// `getty@.service` and `tty1`.
pub(super) fn split_instance(unit: &str) -> Option<(String, &str)> {
    let (stem, suffix) = unit.rsplit_once('.')?;
    let (prefix, instance) = stem.split_once('@')?;
    Some((format!("{prefix}@.{suffix}"), instance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_units_that_can_be_started() {
        for unit in [
            "a.service",
            "-.mount",
            r"dev-disk\x2dby.swap",
            "getty@tty1.service",
            "getty@.service",
            "a.b.timer",
        ] {
            assert_eq!(check_unit_name(unit), Ok(()), "{unit}");
        }
        let long = format!("{}.service", "a".repeat(248));
        for unit in [
            "",
            "httpd",
            ".service",
            "@.service",
            "a b.service",
            "a/b.service",
            "ü.service",
            "session-1.scope",
            "sda.device",
            "a.Service",
            &long,
        ] {
            assert!(check_unit_name(unit).is_err(), "{unit}");
        }
    }

    #[test]
    fn instances_know_their_template() {
        assert_eq!(
            split_instance("getty@tty1.service"),
            Some(("getty@.service".to_owned(), "tty1"))
        );
        assert_eq!(split_instance("a.service"), None);
        assert!(is_template("getty@.service") && !is_template("getty@tty1.service"));
        assert!(!is_template("a.service"));
    }
}
