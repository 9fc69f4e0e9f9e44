//! What the manager tells about nodes, for `list-nodes` and `status`.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::{
    call::{Answer, Call, Refusal, decode, properties, property},
    client::Client,
    error::{Error, Subject},
};
use crate::bus::{Body, body::PathRef};

/// A node and its properties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub name: String,
    /// `online` or `offline`.
    pub status: String,
    /// The address it is connected from; empty when it is offline.
    pub peer_ip: String,
    /// When it was last heard of, in seconds since 1970; 0 for never.
    pub last_seen_s: u64,
    pub last_seen: LastSeen,
}

/// A node as JSON.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Record<'a> {
    node: &'a str,
    status: &'a str,
    ip: Option<&'a str>,
    last_seen: Option<u64>,
}

impl Node {
    pub fn record(&self) -> Record<'_> {
        Record {
            node: &self.name,
            status: &self.status,
            ip: Some(self.peer_ip.as_str()).filter(|ip| !ip.is_empty()),
            last_seen: Some(self.last_seen_s).filter(|seconds| *seconds != 0),
        }
    }

    /// What is told anew when it is watched: the time is not, which goes on by itself.
    pub fn connection(&self) -> String {
        format!("{} {}", self.status, self.peer_ip)
    }
}

/// When a node was last heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastSeen {
    /// Not since the manager started.
    Never,
    /// This long ago.
    Ago(Duration),
}

/// The nodes of the fleet in the order of the configuration, and why there is nothing to tell about
/// some of them.
pub(crate) async fn of_fleet(client: &mut Client) -> Result<(Vec<Node>, Vec<Error>), Error> {
    let body = client
        .call(Call::manager("ListNodes", &()), Subject::Fleet)
        .await?;
    let (listed,): (Vec<(&str, PathRef<'_>, &str)>,) = decode("ListNodes", &body)?;
    let mut nodes = Vec::new();
    nodes.resize_with(listed.len(), || None);
    let calls = listed
        .iter()
        .map(|(_, PathRef(path), _)| Call::node_properties(path));
    let answered = |index: usize, answer| {
        nodes[index] = Some(node_of(listed[index].0, answer));
    };
    client.ask_each(calls, answered).await?;
    let (mut told, mut failures) = (Vec::new(), Vec::new());
    for node in nodes.into_iter().flatten() {
        match node {
            Ok(node) => told.push(node),
            Err(error) => failures.push(error),
        }
    }
    Ok((told, failures))
}

/// The names and paths of the nodes that are online, in the order of the configuration.
pub(crate) async fn online(client: &mut Client) -> Result<Vec<(String, String)>, Error> {
    let body = client
        .call(Call::manager("ListNodes", &()), Subject::Fleet)
        .await?;
    let (nodes,): (Vec<(&str, PathRef<'_>, &str)>,) = decode("ListNodes", &body)?;
    let online = nodes.into_iter().filter(|(.., state)| *state == "online");
    let owned = online.map(|(name, PathRef(path), _)| (name.to_owned(), path.to_owned()));
    Ok(owned.collect())
}

/// The answers of the nodes that are online to a method that lists something, each with the name of its
/// node, and why others gave none. The nodes are asked one after the other, because the answers of
/// several could be more than the manager may queue.
pub(super) async fn lists(
    client: &mut Client,
    method: &'static str,
) -> Result<(Vec<(String, Body)>, Vec<Error>), Error> {
    let (mut lists, mut failures) = (Vec::new(), Vec::new());
    for (node, path) in online(client).await? {
        match client.ask(Call::node(&path, method, &())).await? {
            Ok(body) => lists.push((node, body)),
            Err(refusal) => failures.push(Error::from_refusal(refusal, Subject::Node(&node))),
        }
    }
    Ok((lists, failures))
}

/// The rows of all these lists. A list that can not be read is a failure of its node.
pub(super) fn rows<'b, Row>(
    lists: &'b [(String, Body)],
    failures: &mut Vec<Error>,
    read: impl Fn(&'b str, &'b Body) -> Result<Vec<Row>, Error>,
) -> Vec<Row> {
    let mut rows = Vec::new();
    for (node, body) in lists {
        match read(node, body) {
            Ok(listed) => rows.extend(listed),
            Err(error) => failures.push(error),
        }
    }
    rows
}

/// The nodes that failed to answer, as the lists of the whole fleet name them: node, error, message.
pub(super) fn failures(told: Vec<(&str, &str, &str)>) -> Vec<Error> {
    let failure = |(node, name, message): (&str, &str, &str)| {
        let refusal = Refusal {
            name: name.to_owned(),
            message: message.to_owned(),
            from_bus: false,
        };
        Error::from_refusal(refusal, Subject::Node(node))
    };
    told.into_iter().map(failure).collect()
}

/// Which row is listed in which place: the nodes in the order in which they come, the units of each,
/// which are the second of each pair, by name. systemd lists them in the order of a hash table.
///
/// One function for all lists, because each sort of another type takes its place in the executable.
pub(super) fn order(rows: &[(&str, &str)]) -> Vec<usize> {
    let mut node = 0;
    let mut keys: Vec<(usize, &str, usize)> = Vec::with_capacity(rows.len());
    for (index, (of, unit)) in rows.iter().enumerate() {
        if index > 0 && rows[index - 1].0 != *of {
            node += 1;
        }
        keys.push((node, unit, index));
    }
    keys.sort_unstable();
    keys.into_iter().map(|(.., index)| index).collect()
}

/// The node called `name`.
pub(super) async fn one(client: &mut Client, name: &str) -> Result<Node, Error> {
    let path = client.node(name).await?;
    let answer = client.ask(Call::node_properties(&path)).await?;
    node_of(name, answer)
}

fn node_of(name: &str, answer: Answer) -> Result<Node, Error> {
    let body = answer.map_err(|refusal| Error::from_refusal(refusal, Subject::Node(name)))?;
    let properties = properties("GetAll", &body)?;
    let times = (
        property::<u64>(&properties, "LastSeenTimestamp")?,
        property::<u64>(&properties, "LastSeenTimestampMonotonic")?,
    );
    let now = clock_gettime(ClockId::Monotonic);
    Ok(Node {
        name: name.to_owned(),
        status: property::<&str>(&properties, "Status")?.to_owned(),
        peer_ip: property::<&str>(&properties, "PeerIp")?.to_owned(),
        last_seen_s: times.0,
        last_seen: LastSeen::read(times, Duration::try_from(now).unwrap_or_default()),
    })
}

impl LastSeen {
    /// From the two properties of a node (Unix seconds and µs of the monotonic clock, 0 for
    /// never) and the monotonic clock: the manager runs on this computer, so its clock is ours.
    fn read((realtime_s, monotonic_us): (u64, u64), now: Duration) -> Self {
        if realtime_s == 0 && monotonic_us == 0 {
            return Self::Never;
        }
        Self::Ago(now.saturating_sub(Duration::from_micros(monotonic_us)))
    }
}

impl std::fmt::Display for LastSeen {
    /// `never`, `now` within the first second, then one number in the largest fitting unit, so
    /// that scripts always find two words.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        const DAY: u64 = 24 * HOUR;
        let seconds = match self {
            Self::Never => return f.write_str("never"),
            Self::Ago(age) => age.as_secs(),
        };
        match seconds {
            0 => f.write_str("now"),
            1..MINUTE => write!(f, "{seconds}s ago"),
            MINUTE..HOUR => write!(f, "{}min ago", seconds / MINUTE),
            HOUR..DAY => write!(f, "{}h ago", seconds / HOUR),
            DAY.. => write!(f, "{}d ago", seconds / DAY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_sorted_within_their_nodes() {
        let rows = [("n", "c"), ("n", "a"), ("m", "b"), ("m", "a"), ("k", "z")];
        assert_eq!(order(&rows), [1, 0, 3, 2, 4]);
        assert_eq!(order(&[]), [0_usize; 0]);
    }

    #[test]
    fn ages_are_one_number_and_one_unit() {
        for (seconds, text) in [
            (0, "now"),
            (1, "1s ago"),
            (59, "59s ago"),
            (60, "1min ago"),
            (3599, "59min ago"),
            (3600, "1h ago"),
            (86_399, "23h ago"),
            (86_400, "1d ago"),
            (86_400 * 400, "400d ago"),
        ] {
            assert_eq!(
                LastSeen::Ago(Duration::from_secs(seconds)).to_string(),
                text
            );
        }
    }

    #[test]
    fn age_is_judged_on_the_monotonic_clock() {
        let now = Duration::from_secs(10);
        assert_eq!(LastSeen::read((0, 0), now), LastSeen::Never);
        let ago = LastSeen::Ago(Duration::from_secs(2));
        assert_eq!(LastSeen::read((1_700_000_000, 8_000_000), now), ago);
        let ahead = LastSeen::Ago(Duration::ZERO);
        assert_eq!(LastSeen::read((1_700_000_000, 11_000_000), now), ahead);
    }
}
