//! Answers whose types differ: paths of ours in them are renamed, and rows that are marked with
//! their node become a dictionary of nodes.

use super::rename;
use crate::bus::{
    Body, CallError, ObjectPath, error_name,
    marshal::{Malformed, Writer},
};

/// Type of the units of all nodes.
pub(super) const UNITS: &str = "a{sa(ssssssouso)}";
/// Type of the unit files of all nodes.
pub(super) const UNIT_FILES: &str = "a{sa(ss)}";

/// An answer of the state as `BlueChi`'s clients expect it. Its types tell what it is: no other
/// answer of ours, or of an agent, has those that are changed here.
pub(super) fn answer(body: Body) -> Result<Body, CallError> {
    let changed = match body.signature.as_ref() {
        "o" => path(&body),
        "a(soss)" => nodes(&body),
        "a(sssssssouso)a(sss)" => return by_node(&body, "ssssssouso", UNITS),
        "a(sss)a(sss)" => return by_node(&body, "ss", UNIT_FILES),
        _ => return Ok(body),
    };
    changed.map_err(|malformed| broken(&malformed))
}

/// The object of a node, job or monitor is one of ours; a job of systemd stays as it is.
fn path(body: &Body) -> Result<Body, Malformed> {
    let (path,): (ObjectPath,) = body.parse()?;
    Ok(Body::of(&(renamed(&path),)))
}

fn nodes(body: &Body) -> Result<Body, Malformed> {
    let (nodes,): (Vec<(String, ObjectPath, String, String)>,) = body.parse()?;
    let nodes: Vec<_> = nodes
        .into_iter()
        .map(|(name, path, status, address)| (name, renamed(&path), status, address))
        .collect();
    Ok(Body::of(&(nodes,)))
}

fn renamed(path: &ObjectPath) -> ObjectPath {
    ObjectPath(rename::path(&path.0).into_owned())
}

/// A list of rows, each after the name of its node, and a list of failures. One failure spoils the
/// answer.
fn by_node(body: &Body, row: &str, signature: &'static str) -> Result<Body, CallError> {
    let (rows, failure) = parse(body, row).map_err(|malformed| broken(&malformed))?;
    if let Some(message) = failure {
        let text = format!("Request to at least one node failed: {message}");
        return Err(CallError::new(error_name::FAILED, text));
    }
    let mut writer = Writer::with_order(body.endian, body.bytes.len());
    writer.array(8, |nodes| {
        // The rows of one node follow each other.
        for of_node in rows.chunk_by(|one, next| one.node == next.node) {
            nodes.align(8);
            nodes.str(of_node[0].node);
            nodes.array(8, |list| {
                for row in of_node {
                    list.align(8);
                    list.raw(1, row.fields);
                }
            });
        }
    });
    Ok(Body {
        signature: signature.into(),
        endian: body.endian,
        bytes: writer.into_bytes(),
    })
}

/// A row of a list.
struct Row<'b> {
    node: &'b str,
    /// The marshalled fields after it. They are texts and numbers of four bytes, so they are valid
    /// at every multiple of four.
    fields: &'b [u8],
}

/// The rows, and the message of the first failure.
fn parse<'b>(body: &'b Body, row: &str) -> Result<(Vec<Row<'b>>, Option<&'b str>), Malformed> {
    let mut reader = body.reader();
    let mut elements = reader.array(8)?;
    let mut rows = Vec::new();
    while !elements.is_at_end() {
        elements.align(8)?;
        let node = elements.str()?;
        elements.align(4)?;
        let start = elements.clone();
        for field in row.bytes() {
            elements.skip(&[field])?;
        }
        let fields = elements.since(&start);
        rows.push(Row { node, fields });
    }
    let mut failures = reader.array(8)?;
    if failures.is_at_end() {
        return Ok((rows, None));
    }
    failures.align(8)?;
    let _node_and_error_name = (failures.str()?, failures.str()?);
    Ok((rows, Some(failures.str()?)))
}

/// What a client is told when the state has given something else than its types promise.
fn broken(malformed: &Malformed) -> CallError {
    CallError::new(error_name::FAILED, malformed.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{
        body::Entry,
        marshal::{Endian, validate},
        relay::RELAY_METHODS,
    };

    const UNITS_OF_NODES: [(&str, &str); 2] = [("a", "x.service"), ("bb", "yy.service")];
    const NO_FAILURES: [(&str, &str, &str); 0] = [];

    fn unit_files(rows: &[(&str, &str, &str)], failures: &[(&str, &str, &str)]) -> Body {
        Body::of(&(rows.to_vec(), failures.to_vec()))
    }

    #[test]
    fn rows_of_a_node_are_its_entry() {
        let rows = [
            ("laptop", "/usr/lib/a.service", "static"),
            ("rpi4", "/b", "enabled"),
            ("rpi4", "/etc/cc.service", "disabled"),
        ];
        let found = answer(unit_files(&rows, &NO_FAILURES)).unwrap();
        assert_eq!(found.signature, UNIT_FILES);
        let expected = Body::of(&(vec![
            Entry("laptop", vec![("/usr/lib/a.service", "static")]),
            Entry(
                "rpi4",
                vec![("/b", "enabled"), ("/etc/cc.service", "disabled")],
            ),
        ],));
        assert_eq!(found, expected);
    }

    #[test]
    fn units_keep_their_ten_columns() {
        let mut writer = Writer::default();
        writer.array(8, |rows| {
            for (node, name) in UNITS_OF_NODES {
                rows.align(8);
                let texts = [node, name, "d", "loaded", "active", "running", "", "/o"];
                for text in texts {
                    rows.str(text);
                }
                rows.u32(7);
                rows.str("start");
                rows.str("/o");
            }
        });
        writer.array(8, |_| {});
        let body = Body {
            signature: "a(sssssssouso)a(sss)".into(),
            endian: Endian::Little,
            bytes: writer.into_bytes(),
        };
        validate(&body.signature, &body.bytes, body.endian).unwrap();
        let found = answer(body).unwrap();
        assert_eq!(found.signature, UNITS);
        validate(UNITS, &found.bytes, found.endian).unwrap();
        let mut nodes = found.reader().array(8).unwrap();
        for (node, name) in UNITS_OF_NODES {
            nodes.align(8).unwrap();
            assert_eq!(nodes.str().unwrap(), node);
            let mut units = nodes.array(8).unwrap();
            units.align(8).unwrap();
            assert_eq!(units.str().unwrap(), name);
        }
        assert!(nodes.is_at_end());
    }

    #[test]
    fn one_failure_spoils_the_answer() {
        let failure = ("rpi4", error_name::OFFLINE, "Node is offline");
        let error = answer(unit_files(&[("laptop", "/a", "static")], &[failure])).unwrap_err();
        assert_eq!(error.name, error_name::FAILED);
        assert_eq!(
            error.message,
            "Request to at least one node failed: Node is offline"
        );
        let empty = answer(unit_files(&[], &NO_FAILURES)).unwrap();
        assert_eq!(empty.bytes.len(), 8);
    }

    #[test]
    fn objects_of_ours_are_renamed_and_those_of_systemd_are_not() {
        let renamed = |path: &str| {
            let answer = answer(Body::of(&(ObjectPath(path.to_owned()),))).unwrap();
            answer.parse::<(ObjectPath,)>().unwrap().0.0
        };
        assert_eq!(
            renamed("/org/containers/hirte/job/7"),
            "/org/eclipse/bluechi/job/7"
        );
        let of_systemd = "/org/freedesktop/systemd1/job/7";
        assert_eq!(renamed(of_systemd), of_systemd);
    }

    #[test]
    fn what_agents_answer_has_no_type_that_is_changed() {
        for method in RELAY_METHODS {
            let changed = ["a(soss)", "a(sssssssouso)a(sss)", "a(sss)a(sss)"];
            assert!(!changed.contains(&method.result), "{}", method.name);
        }
    }
}
