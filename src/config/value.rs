//! The values: what each kind of key takes, and what it says when it gets something else.
//!
//! Times are time spans as in systemd.time(7): `5s`, `1min 30s`, `1.5h`. What a number without a unit
//! means depends on the key: see [`interval`], [`threshold`] and [`seconds`].

use std::{collections::BTreeSet, str::FromStr, time::Duration};

use zbus::{
    Address,
    address::{Transport, transport::UnixSocket},
};

use super::error::shorten;
use crate::{
    core::Level,
    limits::{
        CONFIG_TIME_MAX, CONFIG_TIME_MIN, HOST_NAME_BYTES, NODE_NAME_BYTES, TCP_KEEPALIVE_COUNT,
        TCP_KEEPALIVE_SECONDS,
    },
    logging::LogTarget,
    wire::{address::tcp_host, ip::ScopedIp},
};

/// A value that was understood.
#[derive(Debug, PartialEq, Eq)]
pub struct Parsed<T> {
    /// The value.
    pub value: T,
    /// What the administrator should know of how it was understood.
    pub remark: Option<String>,
}

impl<T> Parsed<T> {
    /// The same for a value made of this one.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Parsed<U> {
        Parsed {
            value: make(self.value),
            remark: self.remark,
        }
    }
}

/// The value, or what was expected instead of it.
pub type Outcome<T> = Result<Parsed<T>, String>;

fn plain<T>(value: Option<T>, expected: impl FnOnce() -> String) -> Outcome<T> {
    value
        .map(|value| Parsed {
            value,
            remark: None,
        })
        .ok_or_else(expected)
}

/// A TCP port. 0, by which the kernel would choose one, is refused: no agent could know it.
pub fn port(text: &str) -> Outcome<u16> {
    let port = number(text).and_then(|port| u16::try_from(port).ok());
    plain(port.filter(|&port| port != 0), || {
        "a port number from 1 to 65535".to_owned()
    })
}

/// `true t yes y on 1` or `false f no n off 0`, in any case.
pub fn boolean(text: &str) -> Outcome<bool> {
    let value = match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "on" | "1" => Some(true),
        "false" | "f" | "no" | "n" | "off" | "0" => Some(false),
        _ => None,
    };
    plain(value, || "a boolean such as true or false".to_owned())
}

/// The name of a level, in any case.
pub fn log_level(text: &str) -> Outcome<Level> {
    plain(Level::parse(text), || {
        "one of DEBUG, INFO, WARN, ERROR".to_owned()
    })
}

/// The name of a log target, in any case.
pub fn log_target(text: &str) -> Outcome<LogTarget> {
    plain(LogTarget::parse(text), || {
        "one of journald, stderr, stderr-full".to_owned()
    })
}

/// Whether `name` can be the name of a node.
///
/// A name becomes part of object paths, unit names, file names and lines of the log, so it consists
/// of what host names and systemd's unit names share and the underscore: ASCII letters, digits, `-`,
/// `_` and `.`, 1 to 255 of them, the first one a letter, digit or underscore.
#[must_use]
pub fn is_node_name(name: &str) -> bool {
    name.len() <= NODE_NAME_BYTES
        && name.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// What a node's name consists of, for errors.
pub(super) fn node_name_rule() -> String {
    format!(
        "1 to {NODE_NAME_BYTES} letters, digits, '-', '_' or '.', the first one a letter, a digit or '_'"
    )
}

/// A node's name; empty where none is set.
pub fn optional_node_name(text: &str) -> Outcome<String> {
    let valid = text.is_empty() || is_node_name(text);
    plain(valid.then(|| text.to_owned()), || {
        format!("a node name of {}", node_name_rule())
    })
}

/// Adds the names of a list to those already read. Blanks around names and empty entries mean
/// nothing; a name that is already there is left out with a remark.
pub fn add_node_names(names: &mut Vec<String>, text: &str) -> Result<Option<String>, String> {
    if text.is_empty() {
        names.clear();
        return Ok(None);
    }
    let mut doubles: Vec<&str> = Vec::new();
    let mut known: BTreeSet<String> = names.iter().cloned().collect();
    for name in text
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
    {
        if !is_node_name(name) {
            return Err(format!(
                "node names separated by commas, but '{}' is none: a name has {}",
                shorten(name),
                node_name_rule()
            ));
        }
        if known.insert(name.to_owned()) {
            names.push(name.to_owned());
        } else if !doubles.contains(&name) {
            doubles.push(name);
        }
    }
    Ok((!doubles.is_empty()).then(|| {
        let doubles = shorten(&doubles.join(", "));
        format!("named more than once: {doubles}")
    }))
}

/// An IP address or a host name. An IPv6 address may stand in brackets, which are not part of the
/// value.
pub fn host(text: &str) -> Outcome<String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    let is_address = is_ip(bare, bare != text);
    let is_name =
        bare == text && bare.len() <= HOST_NAME_BYTES && is_word(bare) && !all_numeric(bare);
    plain((is_address || is_name).then(|| bare.to_owned()), || {
        "an IP address or a host name".to_owned()
    })
}

/// Whether it is an IP address; an IPv4 address does not stand in brackets.
fn is_ip(text: &str, in_brackets: bool) -> bool {
    ScopedIp::from_str(text).is_ok_and(|address| address.ip.is_ipv6() || !in_brackets)
}

/// Adds the IP addresses of a list to those already read, each once. IPv6 addresses may stand in
/// brackets.
pub fn add_addresses(addresses: &mut Vec<ScopedIp>, text: &str) -> Result<Option<String>, String> {
    if text.is_empty() {
        addresses.clear();
    }
    for entry in text
        .split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
    {
        let bare = entry
            .strip_prefix('[')
            .and_then(|entry| entry.strip_suffix(']'))
            .unwrap_or(entry);
        match bare.parse() {
            Ok(address) if is_ip(bare, bare != entry) => {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
            _ => {
                return Err(format!(
                    "IP addresses separated by commas, but '{}' is none",
                    shorten(entry)
                ));
            }
        }
    }
    Ok(None)
}

fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Whether the last label is a number, as in a mistyped IPv4 address; no host name ends so (RFC 1123,
/// 2.1).
fn all_numeric(text: &str) -> bool {
    text.trim_end_matches('.')
        .rsplit('.')
        .next()
        .is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A D-Bus address of one peer (D-Bus Specification, "Server Addresses") that can be connected to:
/// `tcp:` with host and port, or `unix:` with a path or an abstract name; `None` where empty.
pub fn address(text: &str) -> Outcome<Option<Address>> {
    if text.is_empty() {
        return plain(Some(None), String::new);
    }
    // A semicolon separates alternatives, which the address of one manager does not have.
    let address = Address::from_str(text)
        .ok()
        .filter(|address| !text.contains(';') && can_be_connected(address.transport()));
    plain(address.map(Some), || {
        "a D-Bus address such as tcp:host=192.0.2.1,port=842 or unix:path=/run/manager".to_owned()
    })
}

fn can_be_connected(transport: &Transport) -> bool {
    match transport {
        Transport::Tcp(tcp) => {
            let is_known =
                tcp_host(tcp.host().as_bytes()).is_ok_and(|host_name| host(&host_name).is_ok());
            tcp.port() != 0 && tcp.nonce_file().is_none() && is_known
        }
        Transport::Unix(unix) => match unix.path() {
            UnixSocket::File(path) => path.is_absolute(),
            UnixSocket::Abstract(name) => !name.is_empty(),
            _ => false,
        },
        _ => false,
    }
}

/// The time between two of something; 0 switches it off.
///
/// A bare number is milliseconds, as in the C programs, but from 1 to 99 it is seconds, because
/// published guides write `HeartbeatInterval=5` and nobody means 200 heartbeats a second; a remark
/// says so.
pub fn interval(text: &str) -> Outcome<Option<Duration>> {
    let mut parsed = time(text, Unit::Millisecond)?;
    if let Some(bare @ 1..=99) = number(text) {
        parsed.value = Some(Duration::from_secs(bare));
        parsed.remark = Some(format!(
            "{bare} is understood as {bare} seconds, write {bare}s"
        ));
    }
    in_range(parsed)
}

/// The silence after which a peer is lost; 0 switches the check off, a bare number is milliseconds.
pub fn threshold(text: &str) -> Outcome<Option<Duration>> {
    in_range(time(text, Unit::Millisecond)?)
}

fn in_range(parsed: Parsed<Option<Duration>>) -> Outcome<Option<Duration>> {
    let range = CONFIG_TIME_MIN..=CONFIG_TIME_MAX;
    if parsed.value.is_none_or(|time| range.contains(&time)) {
        Ok(parsed)
    } else {
        Err(time_rule())
    }
}

fn time_rule() -> String {
    format!(
        "0 or a time from {}ms to {} days, such as 2s, 500ms or 1min 30s",
        CONFIG_TIME_MIN.as_millis(),
        CONFIG_TIME_MAX.as_secs() / (24 * 60 * 60)
    )
}

fn time(text: &str, bare: Unit) -> Outcome<Option<Duration>> {
    let span = time_span(text, bare).map(|span| (!span.is_zero()).then_some(span));
    plain(span, time_rule)
}

/// Whole seconds for the kernel's keepalive; 0 leaves the system's setting, a bare number is seconds.
pub fn seconds(text: &str) -> Outcome<Option<Duration>> {
    let span = time_span(text, Unit::Second)
        .filter(|span| span.subsec_nanos() == 0 && span.as_secs() <= TCP_KEEPALIVE_SECONDS)
        .map(|span| (!span.is_zero()).then_some(span));
    plain(span, || {
        format!("0 or a time of whole seconds up to {TCP_KEEPALIVE_SECONDS}s")
    })
}

/// A number of keepalive probes; 0 leaves the system's setting.
pub fn count(text: &str) -> Outcome<Option<u32>> {
    let count = number(text)
        .and_then(|count| u32::try_from(count).ok())
        .filter(|&count| count <= TCP_KEEPALIVE_COUNT)
        .map(|count| (count != 0).then_some(count));
    plain(count, || {
        format!("a number from 0 to {TCP_KEEPALIVE_COUNT}")
    })
}

/// The time for `TCP_USER_TIMEOUT`; 0 leaves the system's setting, a bare number is seconds.
pub fn user_timeout(text: &str) -> Outcome<Option<Duration>> {
    in_range(time(text, Unit::Second)?)
}

/// A number of attempts.
pub fn retries(text: &str) -> Outcome<u32> {
    let retries = number(text).and_then(|retries| u32::try_from(retries).ok());
    plain(retries, || format!("a number from 0 to {}", u32::MAX))
}

/// Digits and nothing else: the standard library would also take a sign.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[derive(Clone, Copy)]
#[repr(u64)]
enum Unit {
    Microsecond = 1,
    Millisecond = 1_000,
    Second = 1_000_000,
    Minute = 60_000_000,
    Hour = 3_600_000_000,
    Day = 86_400_000_000,
    Week = 604_800_000_000,
    /// A twelfth of a year, which systemd.time(7) rounds to 30.44 days.
    Month = 2_629_800_000_000,
    /// 365.25 days.
    Year = 31_557_600_000_000,
}

impl Unit {
    /// The units of systemd.time(7), in their case: `m` is a minute, `M` a month.
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "us" | "usec" | "µs" | "μs" => Self::Microsecond,
            "ms" | "msec" => Self::Millisecond,
            "s" | "sec" | "second" | "seconds" => Self::Second,
            "m" | "min" | "minute" | "minutes" => Self::Minute,
            "h" | "hr" | "hour" | "hours" => Self::Hour,
            "d" | "day" | "days" => Self::Day,
            "w" | "week" | "weeks" => Self::Week,
            "M" | "month" | "months" => Self::Month,
            "y" | "year" | "years" => Self::Year,
            _ => return None,
        })
    }
}

/// A time span as in systemd.time(7): numbers with units, added up. A bare number counts in `bare`,
/// and only where it stands alone: in `1min 30` the unit is missing.
fn time_span(text: &str, bare: Unit) -> Option<Duration> {
    if let Some(number) = number(text) {
        return number.checked_mul(bare as u64).map(Duration::from_micros);
    }
    let mut rest = text.trim();
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (amount, tail) = rest.split_at(end);
        let tail = tail.trim_start();
        let end = tail
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        total = total.checked_add(micros(amount, Unit::parse(unit)?)?)?;
        rest = tail.trim_start();
    }
    (!text.trim().is_empty()).then(|| Duration::from_micros(total))
}

/// The microseconds in `amount` units, where `amount` may have a fraction.
fn micros(amount: &str, unit: Unit) -> Option<u64> {
    let unit = unit as u64;
    let (whole, fraction) = amount.split_once('.').unwrap_or((amount, "0"));
    let mut total = number(whole)?.checked_mul(unit)?;
    number(fraction)?;
    let mut digit_unit = unit;
    for digit in fraction.bytes() {
        digit_unit /= 10;
        total = total.checked_add(u64::from(digit - b'0').checked_mul(digit_unit)?)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok<T>(outcome: Outcome<T>) -> Option<T> {
        outcome.ok().map(|parsed| parsed.value)
    }

    #[test]
    fn time_spans_follow_systemd() {
        for (text, micros) in [
            ("5s", 5_000_000),
            ("1min 30s", 90_000_000),
            ("1min30s", 90_000_000),
            ("30s 1min", 90_000_000),
            ("100ms", 100_000),
            ("2h", 7_200_000_000),
            ("2 h", 7_200_000_000),
            ("1.5s", 1_500_000),
            ("0.25 seconds", 250_000),
            ("7us", 7),
            ("7µs", 7),
            ("1d", 86_400_000_000),
            ("1 week", 604_800_000_000),
            ("1m", 60_000_000),
            ("1M", 2_629_800_000_000),
            ("1y", 31_557_600_000_000),
            ("250", 250_000),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(
                time_span(text, Unit::Millisecond),
                Some(Duration::from_micros(micros)),
                "{text}"
            );
        }
        for text in [
            "",
            " ",
            "s",
            "-1",
            "+1",
            "1min 30",
            "5 parsecs",
            "1.s",
            ".5s",
            "1..5s",
            "5S",
            "infinity",
            "99999999999999999999",
            "9999999y",
            "5s,",
            "٣s",
            "1e3s",
            "0x5",
        ] {
            assert_eq!(time_span(text, Unit::Millisecond), None, "{text}");
        }
    }

    #[test]
    fn bare_intervals_below_100_are_seconds_and_say_so() {
        for (text, expected, remarks) in [
            ("5", Some(Duration::from_secs(5)), true),
            ("1", Some(Duration::from_secs(1)), true),
            ("99", Some(Duration::from_secs(99)), true),
            ("100", Some(Duration::from_millis(100)), false),
            ("2000", Some(Duration::from_secs(2)), false),
            ("5s", Some(Duration::from_secs(5)), false),
            ("0", None, false),
            ("0s", None, false),
        ] {
            let parsed = interval(text).expect(text);
            assert_eq!(parsed.value, expected, "{text}");
            assert_eq!(parsed.remark.is_some(), remarks, "{text}");
        }
        assert_eq!(
            interval("5").unwrap().remark.unwrap(),
            "5 is understood as 5 seconds, write 5s"
        );
        for text in ["50ms", "8d", "abc", "", "1us"] {
            assert!(interval(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bare_thresholds_are_milliseconds() {
        assert_eq!(ok(threshold("6000")), Some(Some(Duration::from_secs(6))));
        assert_eq!(ok(threshold("0")), Some(None));
        assert_eq!(
            threshold("6").unwrap_err(),
            "0 or a time from 100ms to 7 days, such as 2s, 500ms or 1min 30s"
        );
    }

    #[test]
    fn keepalive_takes_whole_seconds_within_the_kernels_range() {
        assert_eq!(ok(seconds("1")), Some(Some(Duration::from_secs(1))));
        assert_eq!(ok(seconds("2min")), Some(Some(Duration::from_mins(2))));
        assert_eq!(ok(seconds("0")), Some(None));
        assert_eq!(ok(seconds("32767")), Some(Some(Duration::from_secs(32767))));
        for text in ["32768", "1500ms", "-1", ""] {
            assert!(seconds(text).is_err(), "{text}");
        }
        assert_eq!(ok(count("127")), Some(Some(127)));
        assert_eq!(ok(count("0")), Some(None));
        for text in ["128", "x", "4s", "+4"] {
            assert!(count(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ports_and_booleans() {
        assert_eq!(ok(port("842")), Some(842));
        assert_eq!(ok(port("65535")), Some(65535));
        for text in ["0", "65536", "-1", "+1", "0x10", "", "84 2", "abc"] {
            assert!(port(text).is_err(), "{text}");
        }
        for text in ["true", "T", "Yes", "y", "ON", "1"] {
            assert_eq!(ok(boolean(text)), Some(true), "{text}");
        }
        for text in ["false", "F", "No", "n", "OFF", "0"] {
            assert_eq!(ok(boolean(text)), Some(false), "{text}");
        }
        for text in ["", "maybe", "2", "truee"] {
            assert!(boolean(text).is_err(), "{text}");
        }
    }

    #[test]
    fn levels_and_targets_in_any_case() {
        assert_eq!(ok(log_level("info")), Some(Level::Info));
        assert_eq!(ok(log_level("Warning")), Some(Level::Warn));
        assert_eq!(ok(log_target("JournalD")), Some(LogTarget::Journald));
        assert_eq!(ok(log_target("stderr-FULL")), Some(LogTarget::StderrFull));
        assert!(log_level("TRACE").is_err());
        assert!(log_target("syslog").is_err());
    }

    #[test]
    fn node_names() {
        let longest = "n".repeat(NODE_NAME_BYTES);
        for name in ["laptop", "rpi4", "0", "_x", "a-b_c.d", longest.as_str()] {
            assert!(is_node_name(name), "{name}");
        }
        let too_long = "n".repeat(NODE_NAME_BYTES + 1);
        for name in [
            "", "-a", ".", "..", ".a", "a b", "a/b", "a\nb", "ü", "a@b", "a:b", "a,b", "a;",
            &too_long,
        ] {
            assert!(!is_node_name(name), "{name:?}");
        }
    }

    #[test]
    fn lists_of_node_names_are_trimmed_and_each_name_kept_once() {
        let mut names = Vec::new();
        assert_eq!(add_node_names(&mut names, " a, b ,, c,"), Ok(None));
        assert_eq!(
            add_node_names(&mut names, "d,a,b,a"),
            Ok(Some("named more than once: a, b".to_owned()))
        );
        assert_eq!(names, ["a", "b", "c", "d"]);
        let error = add_node_names(&mut names, "a b").unwrap_err();
        assert!(
            error.starts_with("node names separated by commas, but 'a b' is none: a name has 1 to"),
            "{error}"
        );
        assert_eq!(add_node_names(&mut names, ""), Ok(None));
        assert!(names.is_empty());
    }

    #[test]
    fn hosts() {
        for (text, value) in [
            ("127.0.0.1", "127.0.0.1"),
            ("::1", "::1"),
            ("[::1]", "::1"),
            ("fe80::1%eth0", "fe80::1%eth0"),
            ("manager.example.", "manager.example."),
            ("primary-node", "primary-node"),
            ("my_host", "my_host"),
        ] {
            assert_eq!(ok(host(text)).as_deref(), Some(value), "{text}");
        }
        let too_long = "h".repeat(HOST_NAME_BYTES + 1);
        for text in [
            "",
            "192.168.1",
            "192.168.1.256",
            "a b",
            "a/b",
            "[a]",
            "[127.0.0.1]",
            "127.0.0.1%eth0",
            "fe80::1%",
            "a:842",
            "12",
            "ä",
            "-a",
            &too_long,
        ] {
            assert!(host(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_that_can_be_connected_to() {
        for text in [
            "tcp:host=192.0.2.1,port=842",
            "unix:path=/run/hirte/manager.sock",
            "unix:abstract=hirte",
        ] {
            let parsed = address(text).expect(text).value.expect(text);
            assert_eq!(parsed.to_string(), text);
        }
        assert_eq!(ok(address("")), Some(None));
        for text in [
            "192.0.2.1:842",
            "tcp:host=192.0.2.1",
            "tcp:host=192.0.2.1,port=0",
            "tcp:host=,port=1",
            "tcp:port=842",
            "unix:dir=/tmp",
            "unix:path=relative",
            "unix:path=/a;unix:path=/b",
            "unixexec:path=/bin/sh",
            "nonsense",
        ] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
