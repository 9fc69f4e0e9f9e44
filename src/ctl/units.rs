//! Several units of one node in one command.

use zbus::{ObjectPath, message::Body};

use super::{
    client::{Call, Client},
    error::{Error, Subject},
};

/// The suffixes of unit names (systemd.unit(5)).
const SUFFIXES: [&str; 11] = [
    ".service",
    ".socket",
    ".target",
    ".device",
    ".mount",
    ".automount",
    ".swap",
    ".timer",
    ".path",
    ".slice",
    ".scope",
];

/// The names of units as a person wrote them: a name without a suffix is that of a service, as for
/// `systemctl`.
pub(super) fn full_names(names: &[String]) -> Vec<String> {
    names.iter().map(|name| full_name(name)).collect()
}

fn full_name(name: &str) -> String {
    let is_full = SUFFIXES.iter().any(|suffix| name.ends_with(suffix));
    if is_full || name.is_empty() {
        name.to_owned()
    } else {
        format!("{name}.service")
    }
}

/// Makes a call for each unit of the node, all at once. `read` makes of each answer what is wanted.
/// Returns that with the names of the units in their order, and what failed; that the node is
/// offline is told once.
pub(super) async fn ask_each<T>(
    client: &mut Client,
    node: &str,
    units: &[String],
    call: impl Fn(&ObjectPath<'_>, &str) -> Call,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_suffix_is_a_service() {
        for (name, expected) in [
            ("httpd", "httpd.service"),
            ("httpd.service", "httpd.service"),
            ("-.mount", "-.mount"),
            ("a.b", "a.b.service"),
            ("getty@tty1", "getty@tty1.service"),
            ("", ""),
        ] {
            assert_eq!(full_name(name), expected);
        }
    }
}
