//! `hirtectl list-jobs` and `hirtectl cancel`: the jobs that have not ended.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{
    call::{Call, decode, properties, property},
    client::Client,
    error::{Error, Subject},
    exit_status::ExitStatus,
    output::{Cell, Column, Look, Output},
};
use crate::bus::{
    error_name,
    names::{INTROSPECTABLE_INTERFACE, JOB_INTERFACE, JOB_PARENT_PATH},
};

/// A job.
#[derive(Debug, Serialize)]
pub(crate) struct Record {
    pub job: u32,
    pub node: String,
    pub unit: String,
    pub operation: String,
    /// `waiting` or `running`.
    pub state: String,
}

const LOOK: Look = Look {
    separator: " ",
    rule: None,
};
const COLUMNS: [Column; 5] = [
    Column::left("JOB").right(),
    Column::left("NODE"),
    Column::left("UNIT"),
    Column::left("TYPE"),
    Column::left("STATE"),
];

/// Prints the jobs of the node, or of all.
pub(super) async fn run(
    client: &mut Client,
    output: &mut Output,
    node: Option<&str>,
) -> Result<ExitStatus, Error> {
    if let Some(node) = node {
        client.node(node).await?;
    }
    let ids = ids(client).await?;
    let mut jobs = Vec::new();
    for id in ids {
        // One that is not there any more has ended meanwhile.
        if let Some(job) = job(client, id).await?
            && node.is_none_or(|node| node == job.node)
        {
            jobs.push(job);
        }
    }
    let numbers: Vec<String> = jobs.iter().map(|job| job.job.to_string()).collect();
    let rows = jobs.iter().zip(&numbers);
    let cells: Vec<Cell<'_>> = rows
        .flat_map(|(job, number)| {
            [number, &job.node, &job.unit, &job.operation, &job.state].map(String::as_str)
        })
        .map(Cell::from)
        .collect();
    output.table(LOOK, &COLUMNS, &cells);
    for job in &jobs {
        output.record(job);
    }
    Ok(ExitStatus::Done)
}

/// Cancels jobs. Who waits for one of them learns the result `canceled`.
pub(super) async fn cancel(
    client: &mut Client,
    output: &mut Output,
    ids: &[u32],
) -> Result<ExitStatus, Error> {
    let mut failures = Vec::new();
    for &id in ids {
        let call = Call::object(&path(id), JOB_INTERFACE, "Cancel", &());
        if let Err(refusal) = client.ask(call).await? {
            failures.push(if refusal.name == error_name::UNKNOWN_OBJECT {
                Error::UnknownJob { id }
            } else {
                Error::from_refusal(refusal, Subject::Fleet)
            });
        }
    }
    Ok(output.complain_of_each(&failures))
}

fn path(id: u32) -> String {
    format!("{JOB_PARENT_PATH}/{id}")
}

/// The numbers of all jobs, the oldest first, from the children of their parent object.
pub(crate) async fn ids(client: &mut Client) -> Result<BTreeSet<u32>, Error> {
    let call = Call::object(JOB_PARENT_PATH, INTROSPECTABLE_INTERFACE, "Introspect", &());
    let body = match client.ask(call).await? {
        Ok(body) => body,
        Err(refusal) if refusal.name == error_name::UNKNOWN_OBJECT => return Ok(BTreeSet::new()),
        Err(refusal) => return Err(Error::from_refusal(refusal, Subject::Fleet)),
    };
    let (description,): (&str,) = decode("Introspect", &body)?;
    Ok(children(description))
}

/// The numbers among the names of the child objects in a description (D-Bus Specification,
/// "Introspection Data Format").
pub(crate) fn children(xml: &str) -> BTreeSet<u32> {
    let mut numbers = BTreeSet::new();
    for child in xml.split("<node name=\"").skip(1) {
        numbers.extend(
            child
                .split('"')
                .next()
                .and_then(|name| name.parse::<u32>().ok()),
        );
    }
    numbers
}

/// What there is to tell of a job; nothing of one that has ended.
pub(crate) async fn job(client: &mut Client, id: u32) -> Result<Option<Record>, Error> {
    let call = Call::properties(&path(id), JOB_INTERFACE);
    let body = match client.ask(call).await? {
        Ok(body) => body,
        Err(refusal) if refusal.name == error_name::UNKNOWN_OBJECT => return Ok(None),
        Err(refusal) => return Err(Error::from_refusal(refusal, Subject::Fleet)),
    };
    let properties = properties("GetAll", &body)?;
    let text = |name| property::<&str>(&properties, name).map(str::to_owned);
    Ok(Some(Record {
        job: id,
        node: text("Node")?,
        unit: text("Unit")?,
        operation: text("JobType")?,
        state: text("State")?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_the_children_of_their_parent() {
        let xml = "<node>\n <interface name=\"a.b\"/>\n <node name=\"7\"/>\n <node name=\"12\"/>\n \
                   <node name=\"x\"/>\n</node>";
        assert_eq!(children(xml), BTreeSet::from([7, 12]));
        assert_eq!(children("<node/>"), BTreeSet::new());
    }
}
