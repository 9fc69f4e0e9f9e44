//! Bodies that the tests of manager and agent share.

use super::{Body, ObjectPath};

/// What `ListUnits` answers: units with their active and sub states.
pub(crate) fn list_of_units(units: &[(&str, &str, &str)]) -> Body {
    let path = |path: &str| ObjectPath(path.to_owned());
    let rows: Vec<_> = units
        .iter()
        .map(|(name, active, sub)| {
            (
                *name,
                "",
                "loaded",
                *active,
                *sub,
                "",
                path("/a"),
                0_u32,
                "",
                path("/"),
            )
        })
        .collect();
    Body::of(&(rows,))
}
