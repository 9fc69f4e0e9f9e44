//! `hirtectl state show`: what runs, as a state file.

use super::{
    facts::{self, Known, Question},
    record::Wanted,
};
use crate::{
    ctl::{
        arguments::commands::Show, client::Client, error::Error, exit_status::ExitStatus,
        output::Output,
    },
    state_file,
};

/// Prints the file. Nodes that can not be asked are missing in it and named on standard error.
pub(super) async fn run(
    client: &mut Client,
    output: &mut Output,
    show: &Show,
) -> Result<ExitStatus, Error> {
    let known = facts::nodes(client).await?;
    let mut failures = Vec::new();
    let mut chosen: Vec<&Known> = Vec::new();
    for name in &show.nodes {
        match known.iter().find(|node| node.name == *name) {
            Some(node) if chosen.iter().any(|known| known.name == node.name) => {}
            Some(node) => chosen.push(node),
            None => failures.push(Error::UnknownNode { node: name.clone() }),
        }
    }
    if show.nodes.is_empty() {
        chosen = known.iter().collect();
    }
    let questions: Vec<Question<'_>> = chosen
        .into_iter()
        .map(|node| Question {
            node,
            named: Vec::new(),
            with_files: show.exact,
            with_times: true,
        })
        .collect();
    let mut nodes = Vec::new();
    for (question, answer) in questions
        .iter()
        .zip(facts::of_nodes(client, &questions).await?)
    {
        match answer {
            Ok(units) => nodes.push((question.node.name.clone(), units)),
            Err(error) => failures.push(error),
        }
    }
    let text = state_file::write(&nodes, show.exact);
    if output.is_text() {
        output.text(&text);
    } else {
        let file = state_file::parse(&text).map_err(|mistakes| Error::Malformed {
            member: "ListUnits",
            reason: mistakes
                .first()
                .map(ToString::to_string)
                .unwrap_or_default(),
        })?;
        for entry in &file.entries {
            output.record(&Wanted::of(entry));
        }
    }
    Ok(output.complain_of_each(&failures))
}
