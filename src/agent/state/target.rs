//! How the name of a proxy's unit tells the node and the unit that it needs.
//!
//! `hirte-proxy@NODE_UNIT.service` stands for `UNIT.service` of the node `NODE`. Both names may have
//! underscores, and only the manager knows the nodes. So the name is split at its first underscore,
//! and where the manager knows no such node at the next one: the shortest name of a node counts.
//! A node whose name has to be longer is written with `\x5f` for its underscores, as
//! systemd-escape(1) writes characters.

use super::Target;

/// What the names of the units of proxies begin with.
const PREFIX: &str = "hirte-proxy@";
/// What units that can be depended on end with.
pub(super) const SERVICE: &str = ".service";

/// Why a name does not tell a node and a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadTarget {
    /// It does not end with `.service`.
    NotAService,
    /// It has no underscore.
    NoUnderscore,
    /// Nothing is before the first underscore.
    NoNode,
    /// Nothing is behind the only underscore.
    NoUnit,
}

impl BadTarget {
    /// The reason in a sentence about `name`.
    #[must_use]
    pub fn explain(self, name: &str) -> String {
        match self {
            Self::NotAService => format!("Unit name '{name}' does not end with {SERVICE}"),
            Self::NoUnderscore => format!("No underscore in unit name '{name}'"),
            Self::NoNode => format!("No node specified in unit name '{name}'"),
            Self::NoUnit => format!("No service specified in unit name '{name}'"),
        }
    }
}

impl Target {
    /// Reads `NODE_UNIT.service`, split at its first underscore.
    pub fn parse(name: &str) -> Result<Self, BadTarget> {
        let instance = name.strip_suffix(SERVICE).ok_or(BadTarget::NotAService)?;
        let (node, unit) = instance.split_once('_').ok_or(BadTarget::NoUnderscore)?;
        if node.is_empty() {
            return Err(BadTarget::NoNode);
        }
        if unit.is_empty() {
            return Err(BadTarget::NoUnit);
        }
        Ok(Self {
            service: format!("{PREFIX}{name}"),
            node: unescape(node),
            unit: format!("{unit}{SERVICE}"),
        })
    }

    /// What the unit called `service` stands for, if it is that of a proxy.
    pub(super) fn of_service(service: &str) -> Option<Self> {
        Self::parse(service.strip_prefix(PREFIX)?).ok()
    }

    /// The same unit of a proxy, split at the next underscore. `None` if there is none, or the
    /// names are not those that the unit's name tells.
    pub(super) fn next_split(&self) -> Option<Self> {
        let name = self.service.strip_prefix(PREFIX)?;
        let node = name.strip_suffix(&format!("_{}", self.unit))?;
        if unescape(node) != self.node {
            return None;
        }
        let (more, unit) = self.unit.split_once('_')?;
        // An underscore in front of the other part's end leaves nothing for the unit.
        (unit != SERVICE).then(|| Self {
            service: self.service.clone(),
            node: unescape(&format!("{node}_{more}")),
            unit: unit.to_owned(),
        })
    }
}

/// Undoes the escaping of underscores.
fn unescape(node: &str) -> String {
    node.replace("\\x5f", "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str) -> Result<(String, String), BadTarget> {
        Target::parse(name).map(|target| (target.node, target.unit))
    }

    #[test]
    fn a_name_is_split_at_its_first_underscore() {
        for (name, node, unit) in [
            ("bar_db.service", "bar", "db.service"),
            ("bar-2_my_db.service", "bar-2", "my_db.service"),
            ("bar_db@x\\x2dy.service", "bar", "db@x\\x2dy.service"),
            ("my\\x5fnode_db.service", "my_node", "db.service"),
        ] {
            assert_eq!(target(name), Ok((node.to_owned(), unit.to_owned())));
        }
        for (name, error) in [
            ("bar_db", BadTarget::NotAService),
            ("bar_db.socket", BadTarget::NotAService),
            ("bar.service", BadTarget::NoUnderscore),
            ("_db.service", BadTarget::NoNode),
            ("bar_.service", BadTarget::NoUnit),
            ("", BadTarget::NotAService),
        ] {
            assert_eq!(target(name), Err(error), "{name}");
            assert!(error.explain(name).contains(&format!("'{name}'")));
        }
    }

    #[test]
    fn every_underscore_is_a_possible_split() {
        let mut target = Target::of_service("hirte-proxy@my_node_db_1.service").unwrap();
        let mut splits = vec![(target.node.clone(), target.unit.clone())];
        while let Some(next) = target.next_split() {
            assert_eq!(next.service, target.service);
            target = next;
            splits.push((target.node.clone(), target.unit.clone()));
        }
        let expected = [
            ("my", "node_db_1.service"),
            ("my_node", "db_1.service"),
            ("my_node_db", "1.service"),
        ];
        assert_eq!(
            splits,
            expected.map(|(node, unit)| (node.to_owned(), unit.to_owned()))
        );
        let escaped = Target::of_service("hirte-proxy@my\\x5fnode_d_b.service").unwrap();
        assert_eq!(escaped.next_split().unwrap().node, "my_node_d");
        let ends = Target::of_service("hirte-proxy@my_node_.service").unwrap();
        assert_eq!(ends.next_split(), None);
    }

    #[test]
    fn names_that_a_caller_chose_are_not_split_otherwise() {
        let target = Target {
            service: "other.service".to_owned(),
            node: "my".to_owned(),
            unit: "node_db.service".to_owned(),
        };
        assert_eq!(target.next_split(), None);
        let service = "hirte-proxy@elsewhere_node_db.service".to_owned();
        assert_eq!(Target { service, ..target }.next_split(), None);
    }
}
