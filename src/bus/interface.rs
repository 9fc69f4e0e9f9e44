//! Descriptions of interfaces: one table serves the check of calls, introspection, and the XML
//! files that are installed for clients.

use std::fmt::Write;

use super::{CallError, Message, error_name, names};

/// A D-Bus interface.
#[derive(Debug)]
pub struct Interface {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub doc: &'static str,
    /// Its methods, in the order of the introspection.
    pub methods: &'static [Method],
    /// Its signals.
    pub signals: &'static [Signal],
    /// Its properties, all of which are read-only.
    pub properties: &'static [Property],
}

/// A method.
#[derive(Debug)]
pub struct Method {
    /// Its name.
    pub name: &'static str,
    /// Its arguments.
    pub arguments: &'static [Argument],
    /// Its results.
    pub results: &'static [Argument],
    /// What it does, with units, limits and errors.
    pub doc: &'static str,
}

/// A signal.
#[derive(Debug)]
pub struct Signal {
    /// Its name.
    pub name: &'static str,
    /// Its arguments.
    pub arguments: &'static [Argument],
    /// When it is sent.
    pub doc: &'static str,
}

/// A property.
#[derive(Debug)]
pub struct Property {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub signature: &'static str,
    /// Whether and how its changes are announced.
    pub changes: Changes,
    /// What it tells, with units.
    pub doc: &'static str,
}

/// How changes of a property are announced (D-Bus Specification, the annotation
/// `org.freedesktop.DBus.Property.EmitsChangedSignal`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changes {
    /// `PropertiesChanged` carries the new value.
    Emitted,
    /// It never changes.
    Constant,
    /// It changes without a signal.
    Silent,
}

/// An argument or result: its name and its type.
#[derive(Debug)]
pub struct Argument(pub &'static str, pub &'static str);

impl Method {
    /// Signature of all arguments.
    #[must_use]
    pub fn signature(&self) -> String {
        self.arguments.iter().map(|argument| argument.1).collect()
    }
}

impl Interface {
    /// The method called `name`.
    #[must_use]
    pub fn method(&self, name: &str) -> Option<&'static Method> {
        self.methods.iter().find(|method| method.name == name)
    }

    /// The property called `name`.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&'static Property> {
        self.properties
            .iter()
            .find(|property| property.name == name)
    }

    /// The interface as a file for `share/dbus-1/interfaces`, with its documentation.
    #[must_use]
    pub fn file(&self) -> String {
        let mut xml = format!("{DOCTYPE}<node>\n");
        self.write(&mut xml, Docs::Written);
        xml.push_str("</node>\n");
        xml
    }

    fn write(&self, xml: &mut String, docs: Docs) {
        write_doc(xml, " ", self.doc, docs);
        line(xml, format_args!(" <interface name=\"{}\">", self.name));
        for method in self.methods {
            write_doc(xml, "  ", method.doc, docs);
            line(xml, format_args!("  <method name=\"{}\">", method.name));
            write_arguments(xml, method.arguments, " direction=\"in\"");
            write_arguments(xml, method.results, " direction=\"out\"");
            xml.push_str("  </method>\n");
        }
        for signal in self.signals {
            write_doc(xml, "  ", signal.doc, docs);
            line(xml, format_args!("  <signal name=\"{}\">", signal.name));
            write_arguments(xml, signal.arguments, "");
            xml.push_str("  </signal>\n");
        }
        for property in self.properties {
            write_doc(xml, "  ", property.doc, docs);
            property.write(xml);
        }
        xml.push_str(" </interface>\n");
    }
}

impl Property {
    fn write(&self, xml: &mut String) {
        let announced = match self.changes {
            Changes::Emitted => "true",
            Changes::Constant => "const",
            Changes::Silent => "false",
        };
        line(
            xml,
            format_args!(
                "  <property name=\"{}\" type=\"{}\" access=\"read\">",
                self.name, self.signature
            ),
        );
        line(
            xml,
            format_args!(
                "   <annotation name=\"org.freedesktop.DBus.Property.EmitsChangedSignal\" \
                 value=\"{announced}\"/>"
            ),
        );
        xml.push_str("  </property>\n");
    }
}

/// Whether documentation is part of the XML. Introspection does without: nobody reads it there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Docs {
    Written,
    LeftOut,
}

const DOCTYPE: &str = "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n\
     \"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n";

/// The method that a call names, among those of an object with these interfaces and the standard
/// ones, if the arguments have its types.
pub fn resolve(
    own: &[&'static Interface],
    call: &Message,
) -> Result<(&'static Interface, &'static Method), CallError> {
    let mut offered = own.iter().copied().chain(STANDARD);
    let found = if call.interface.is_empty() {
        // Without an interface any that has the method may be meant ("Message Types"); ours is.
        offered.find_map(|interface| Some((interface, interface.method(&call.member)?)))
    } else {
        let interface = offered.find(|interface| interface.name == call.interface);
        let interface = interface.ok_or_else(|| unknown_interface(&call.interface))?;
        let method = interface.method(&call.member);
        method.map(|method| (interface, method))
    };
    let (interface, method) = found.ok_or_else(|| {
        let (member, interface) = (&call.member, &call.interface);
        let text = format!("Unknown method '{member}' of interface '{interface}'.");
        CallError::new(error_name::UNKNOWN_METHOD, text)
    })?;
    let (found, expected) = (&call.body.signature, method.signature());
    if *found != expected {
        let text = format!(
            "Invalid arguments '{found}' to call {}.{}(), expecting '{expected}'.",
            interface.name, method.name
        );
        return Err(CallError::new(error_name::INVALID_ARGS, text));
    }
    Ok((interface, method))
}

/// Why a property of one of these interfaces is not set: none of ours can be.
#[must_use]
pub fn refuse_to_set(own: &[&Interface], interface: &str, property: &str) -> CallError {
    let found = own.iter().find(|found| found.name == interface);
    match found.map(|found| found.property(property)) {
        Some(Some(_)) => CallError::new(
            error_name::PROPERTY_READ_ONLY,
            format!("Property '{property}' is not writable."),
        ),
        Some(None) => unknown_property(property),
        None => unknown_interface(interface),
    }
}

/// The object does not have this interface.
#[must_use]
pub fn unknown_interface(interface: &str) -> CallError {
    let text = format!("Unknown interface '{interface}'.");
    CallError::new(error_name::UNKNOWN_INTERFACE, text)
}

/// The interface does not have this property.
#[must_use]
pub fn unknown_property(property: &str) -> CallError {
    let text = format!("Unknown property '{property}'.");
    CallError::new(error_name::UNKNOWN_PROPERTY, text)
}

/// The answer to `Introspect`: the interfaces of an object, its standard interfaces, and the last
/// elements of the paths right below it.
#[must_use]
pub fn introspect(own: &[&Interface], children: &[String]) -> String {
    describe(STANDARD.iter().chain(own).copied(), children)
}

/// As [`introspect`], of an object that has these interfaces and no others.
#[must_use]
pub fn describe<'i>(
    interfaces: impl IntoIterator<Item = &'i Interface>,
    children: &[String],
) -> String {
    let mut xml = format!("{DOCTYPE}<node>\n");
    for interface in interfaces {
        interface.write(&mut xml, Docs::LeftOut);
    }
    for child in children {
        line(&mut xml, format_args!(" <node name=\"{child}\"/>"));
    }
    xml.push_str("</node>\n");
    xml
}

fn line(xml: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String can not fail.
    let _ = writeln!(xml, "{text}");
}

fn write_doc(xml: &mut String, indent: &str, doc: &str, docs: Docs) {
    if docs == Docs::Written && !doc.is_empty() {
        line(xml, format_args!("{indent}<!-- {doc} -->"));
    }
}

fn write_arguments(xml: &mut String, arguments: &[Argument], direction: &str) {
    for Argument(name, signature) in arguments {
        line(
            xml,
            format_args!("   <arg type=\"{signature}\" name=\"{name}\"{direction}/>"),
        );
    }
}

/// The interfaces that every object has (D-Bus Specification, "Standard Interfaces").
pub const STANDARD: [&Interface; 3] = [&PEER, &INTROSPECTABLE, &PROPERTIES];

/// `org.freedesktop.DBus.Peer`
pub const PEER: Interface = Interface {
    name: names::PEER_INTERFACE,
    doc: "",
    methods: &[
        Method {
            name: "Ping",
            arguments: &[],
            results: &[],
            doc: "",
        },
        Method {
            name: "GetMachineId",
            arguments: &[],
            results: &[Argument("machine_uuid", "s")],
            doc: "",
        },
    ],
    signals: &[],
    properties: &[],
};

/// `org.freedesktop.DBus.Introspectable`
pub const INTROSPECTABLE: Interface = Interface {
    name: names::INTROSPECTABLE_INTERFACE,
    doc: "",
    methods: &[Method {
        name: "Introspect",
        arguments: &[],
        results: &[Argument("xml_data", "s")],
        doc: "",
    }],
    signals: &[],
    properties: &[],
};

/// `org.freedesktop.DBus.Properties`
const PROPERTIES: Interface = Interface {
    name: names::PROPERTIES_INTERFACE,
    doc: "",
    methods: &[
        Method {
            name: "Get",
            arguments: &[
                Argument("interface_name", "s"),
                Argument("property_name", "s"),
            ],
            results: &[Argument("value", "v")],
            doc: "",
        },
        Method {
            name: "GetAll",
            arguments: &[Argument("interface_name", "s")],
            results: &[Argument("props", "a{sv}")],
            doc: "",
        },
        Method {
            name: "Set",
            arguments: &[
                Argument("interface_name", "s"),
                Argument("property_name", "s"),
                Argument("value", "v"),
            ],
            results: &[],
            doc: "",
        },
    ],
    signals: &[Signal {
        name: "PropertiesChanged",
        arguments: &[
            Argument("interface_name", "s"),
            Argument("changed_properties", "a{sv}"),
            Argument("invalidated_properties", "as"),
        ],
        doc: "",
    }],
    properties: &[],
};
