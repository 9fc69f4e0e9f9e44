//! Several units of one node in one command.

use super::{
    call::Call,
    client::Client,
    error::{Error, Subject},
};
use crate::bus::Body;

/// Makes a call for each unit of the node, all at once. `read` makes of each answer what is wanted.
/// Returns that with the names of the units in their order, and what failed; that the node is
/// offline is told once.
pub(super) async fn ask_each<T>(
    client: &mut Client,
    node: &str,
    units: &[String],
    call: impl Fn(&str, &str) -> Call,
    read: impl Fn(&str, Result<Body, Error>) -> Result<T, Error>,
) -> Result<(Vec<(String, T)>, Vec<Error>), Error> {
    let path = client.node(node).await?;
    let mut answers: Vec<Option<Result<T, Error>>> = units.iter().map(|_| None).collect();
    let calls = units.iter().map(|unit| call(&path, unit));
    client
        .ask_each(calls, |index, answer| {
            let answer =
                answer.map_err(|refusal| Error::from_refusal(refusal, Subject::Units(node)));
            answers[index] = Some(read(&units[index], answer));
        })
        .await?;
    let (mut done, mut failures) = (Vec::new(), Vec::new());
    for (unit, answer) in units.iter().zip(answers) {
        match answer {
            Some(Ok(wanted)) => done.push((unit.clone(), wanted)),
            Some(Err(error)) => failures.push(error),
            None => {}
        }
    }
    failures.dedup_by(|error, previous| {
        matches!(
            (error, previous),
            (Error::Offline { .. }, Error::Offline { .. })
        )
    });
    Ok((done, failures))
}
