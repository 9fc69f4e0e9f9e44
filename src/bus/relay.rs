//! The methods of a node that the manager passes on to the agent, and the agent to its systemd.
//!
//! Their bodies are relayed as they are, so a further method is one row of this table.

/// One relayed method: of `org.containers.hirte.Node` for clients, and with the same name and
/// types of `org.containers.hirte.internal.Agent` for the manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayMethod {
    /// Name of the method.
    pub name: &'static str,
    /// Signature of its arguments.
    pub arguments: &'static str,
    /// Signature of its result.
    pub result: &'static str,
    /// How the agent asks systemd.
    pub call: SystemdCall,
    /// Whether it changes nothing on the node, so that members of group `hirte` may call it.
    pub only_reads: bool,
}

/// What a relayed method calls on systemd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemdCall {
    /// The method of the same name of `org.freedesktop.systemd1.Manager`, with the same body.
    Manager,
    /// A method of `org.freedesktop.DBus.Properties` on a unit's object. The first argument names
    /// the unit, the others are the method's arguments.
    UnitProperties(&'static str),
}

/// Every relayed method, by name.
pub const RELAY_METHODS: &[RelayMethod] = &[
    manager("DisableUnitFiles", "asb", "a(sss)"),
    manager("EnableUnitFiles", "asbb", "ba(sss)"),
    manager("FreezeUnit", "s", ""),
    manager("GetDefaultTarget", "", "s").only_reads(),
    manager("GetUnitFileState", "s", "s").only_reads(),
    unit_properties("GetUnitProperties", "ss", "a{sv}", "GetAll").only_reads(),
    unit_properties("GetUnitProperty", "sss", "v", "Get").only_reads(),
    manager("KillUnit", "ssi", ""),
    manager("ListUnitFiles", "", "a(ss)").only_reads(),
    manager("ListUnits", "", "a(ssssssouso)").only_reads(),
    manager("Reload", "", ""),
    manager("ResetFailed", "", ""),
    manager("ResetFailedUnit", "s", ""),
    manager("SetDefaultTarget", "sb", "a(sss)"),
    // As SetProperties on the unit's object, and it refuses a unit that does not exist.
    manager("SetUnitProperties", "sba(sv)", ""),
    // The answer is systemd's job: for managers that want no job of their own.
    manager("StartTransientUnit", "ssa(sv)a(sa(sv))", "o"),
    manager("ThawUnit", "s", ""),
];

impl RelayMethod {
    const fn only_reads(mut self) -> Self {
        self.only_reads = true;
        self
    }
}

/// The relayed method called `name`.
#[must_use]
pub fn relay_method(name: &str) -> Option<&'static RelayMethod> {
    RELAY_METHODS.iter().find(|method| method.name == name)
}

const fn manager(name: &'static str, arguments: &'static str, result: &'static str) -> RelayMethod {
    RelayMethod {
        name,
        arguments,
        result,
        call: SystemdCall::Manager,
        only_reads: false,
    }
}

const fn unit_properties(
    name: &'static str,
    arguments: &'static str,
    result: &'static str,
    method: &'static str,
) -> RelayMethod {
    RelayMethod {
        name,
        arguments,
        result,
        call: SystemdCall::UnitProperties(method),
        only_reads: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::signature::is_valid;

    #[test]
    fn rows_are_sorted_and_have_valid_signatures() {
        assert!(RELAY_METHODS.is_sorted_by_key(|method| method.name));
        for method in RELAY_METHODS {
            assert!(is_valid(method.arguments), "{}", method.name);
            assert!(is_valid(method.result), "{}", method.name);
            if let SystemdCall::UnitProperties(_) = method.call {
                assert!(method.arguments.starts_with('s'), "{}", method.name);
            }
        }
        assert_eq!(relay_method("Reload").map(|method| method.result), Some(""));
        assert_eq!(relay_method("Reboot"), None);
    }
}
