//! What `hirtectl status` tells of a unit: what `systemctl status` tells.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::{
    arguments::words::SIGNALS,
    call::{Properties, properties, property},
    error::Error,
    nodes::LastSeen,
    output::{Cell, Colour, Output},
};
use crate::{bus::Body, logging::civil_date};

/// A unit, also as JSON. What does not apply or is not known is none.
#[derive(Debug, Serialize)]
pub(super) struct UnitStatus {
    pub node: String,
    pub unit: String,
    pub description: Option<String>,
    pub load: String,
    /// The unit file.
    pub path: Option<String>,
    /// Whether the unit file is enabled.
    pub enabled: Option<String>,
    pub preset: Option<String>,
    pub active: String,
    pub sub: String,
    /// How the unit ended; `success` unless it failed.
    pub result: Option<String>,
    /// When it entered its active state, in seconds since 1970 on its node's clock.
    pub since: Option<u64>,
    pub main_pid: Option<u32>,
    /// What the service itself tells (`STATUS=` in `sd_notify(3)`).
    pub status_text: Option<String>,
    pub tasks: Option<u64>,
    pub tasks_max: Option<u64>,
    pub memory_bytes: Option<u64>,
    pub cpu_ns: Option<u64>,
    /// Freezer state, such as `running` or `frozen`.
    pub freezer: Option<String>,
    /// How the main process ended: `exited`, `killed` or `dumped`.
    pub main_code: Option<&'static str>,
    /// Its exit status or signal.
    pub main_status: Option<i32>,
}

impl UnitStatus {
    /// Reads the answer of `GetUnitProperties` about all interfaces. Nothing for a unit that does
    /// not exist.
    pub fn read(node: &str, unit: &str, body: &Body) -> Result<Option<Self>, Error> {
        let properties = properties("GetUnitProperties", body)?;
        let state = |name| property::<&str>(&properties, name).map(str::to_owned);
        let load = state("LoadState")?;
        if load == "not-found" {
            return Ok(None);
        }
        let active = state("ActiveState")?;
        let text = |name| text(&properties, name);
        let main_exit = main_exit(&properties);
        Ok(Some(Self {
            node: node.to_owned(),
            unit: unit.to_owned(),
            description: text("Description"),
            load,
            path: text("FragmentPath").or_else(|| text("SourcePath")),
            enabled: text("UnitFileState"),
            preset: text("UnitFilePreset"),
            sub: state("SubState")?,
            result: text("Result"),
            since: number(&properties, since_property(&active)).map(|us| us / 1_000_000),
            active,
            main_pid: main_pid(&properties),
            status_text: text("StatusText"),
            tasks: number(&properties, "TasksCurrent"),
            tasks_max: number(&properties, "TasksMax"),
            memory_bytes: number(&properties, "MemoryCurrent"),
            cpu_ns: number(&properties, "CPUUsageNSec"),
            freezer: text("FreezerState"),
            main_code: main_exit.map(|(code, _)| code),
            main_status: main_exit.map(|(_, status)| status),
        }))
    }

    /// What changes when something happens to the unit.
    pub fn state(&self) -> String {
        [
            Some(&self.load),
            self.enabled.as_ref(),
            Some(&self.active),
            Some(&self.sub),
            self.freezer.as_ref(),
        ]
        .map(|state| state.map_or("", String::as_str))
        .join(" ")
    }

    /// Prints it for people as `systemctl status` does, a property on a line, and behind that what
    /// was logged of it.
    pub fn print(&self, output: &mut Output, log: &[String]) {
        let colour = Colour::of_state(&self.active);
        let bullet = match self.active.as_str() {
            "failed" => "×",
            "inactive" => "○",
            _ => "●",
        };
        let name = match &self.description {
            Some(description) => format!(" {} - {description}", self.unit),
            None => format!(" {}", self.unit),
        };
        output.line_of(&[Cell::coloured(bullet, colour), name.as_str().into()]);
        property_line(output, "Node", &[self.node.as_str().into()]);
        let loaded = self.loaded();
        property_line(
            output,
            "Loaded",
            &[Cell::state(&self.load), loaded.as_str().into()],
        );
        let (active, since) = self.activity();
        let active = Cell::coloured(&active, colour);
        property_line(output, "Active", &[active, since.as_str().into()]);
        if let Some(freezer) = self.freezer.as_ref().filter(|state| *state != "running") {
            property_line(output, "Freezer", &[freezer.as_str().into()]);
        }
        for (label, value) in [
            ("Main PID", self.main_process()),
            (
                "Status",
                self.status_text.as_ref().map(|text| format!("\"{text}\"")),
            ),
            ("Tasks", self.tasks.map(|tasks| self.with_limit(tasks))),
            ("Memory", self.memory_bytes.map(bytes)),
            ("CPU", self.cpu_ns.map(cpu_time)),
        ] {
            if let Some(value) = value {
                property_line(output, label, &[value.as_str().into()]);
            }
        }
        if !log.is_empty() {
            output.line("");
        }
        for line in log {
            output.line(line);
        }
    }

    /// What stands behind the load state.
    fn loaded(&self) -> String {
        // The preset says nothing of a unit that can not be enabled.
        let is_choice = |state: &String| state.starts_with("enabled") || state == "disabled";
        let preset = self
            .preset
            .as_ref()
            .filter(|_| self.enabled.as_ref().is_some_and(is_choice));
        let preset = preset.map(|preset| format!("preset: {preset}"));
        let parts = [self.path.clone(), self.enabled.clone(), preset];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() {
            String::new()
        } else {
            format!(" ({})", parts.join("; "))
        }
    }

    /// The active state, and since when.
    fn activity(&self) -> (String, String) {
        let result = self.result.as_ref().filter(|result| *result != "success");
        let active = match result {
            Some(result) => format!("{} (Result: {result})", self.active),
            None if self.sub == self.active => self.active.clone(),
            None => format!("{} ({})", self.active, self.sub),
        };
        let since = self.since.map_or_else(String::new, |seconds| {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            // The clocks of two computers differ a little.
            let age = SystemTime::now().duration_since(time).unwrap_or_default();
            format!(" since {}; {}", date(seconds), LastSeen::Ago(age))
        });
        (active, since)
    }

    fn main_process(&self) -> Option<String> {
        let pid = self.main_pid?;
        let (Some(code), Some(status)) = (self.main_code, self.main_status) else {
            return Some(pid.to_string());
        };
        let end = match (code, status) {
            ("exited", 0) => "status=0/SUCCESS".to_owned(),
            ("exited", 1) => "status=1/FAILURE".to_owned(),
            ("exited", status) => format!("status={status}"),
            (_, number) => match SIGNALS.iter().find(|(_, known)| known.as_raw() == number) {
                Some((name, _)) => format!("signal={name}"),
                None => format!("signal={number}"),
            },
        };
        Some(format!("{pid} (code={code}, {end})"))
    }

    fn with_limit(&self, tasks: u64) -> String {
        match self.tasks_max {
            Some(limit) => format!("{tasks} (limit: {limit})"),
            None => tasks.to_string(),
        }
    }
}

/// Prints a property; the labels end in one column, as `systemctl` has them.
fn property_line(output: &mut Output, label: &str, value: &[Cell<'_>]) {
    let label = format!("{label:>11}: ");
    let mut cells = vec![Cell::from(label.as_str())];
    cells.extend_from_slice(value);
    output.line_of(&cells);
}

/// The time at which a unit entered this active state (org.freedesktop.systemd1(5)).
fn since_property(active: &str) -> &'static str {
    match active {
        "active" | "reloading" | "refreshing" => "ActiveEnterTimestamp",
        "inactive" | "failed" => "InactiveEnterTimestamp",
        "activating" => "InactiveExitTimestamp",
        _ => "ActiveExitTimestamp",
    }
}

/// A text that is not empty.
fn text(properties: &Properties<'_>, name: &'static str) -> Option<String> {
    let text = property::<&str>(properties, name).ok()?;
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

/// A number that is set: systemd writes the largest one for what is not, and 0 for a time that never
/// was.
fn number(properties: &Properties<'_>, name: &'static str) -> Option<u64> {
    let number = property::<u64>(properties, name).ok()?;
    let is_never = number == 0 && name.ends_with("Timestamp");
    Some(number).filter(|number| *number != u64::MAX && !is_never)
}

/// The main process, or the one that was.
fn main_pid(properties: &Properties<'_>) -> Option<u32> {
    ["MainPID", "ExecMainPID"].into_iter().find_map(|name| {
        let pid = property::<u32>(properties, name).ok()?;
        (pid != 0).then_some(pid)
    })
}

/// How the main process ended: `ExecMainCode` is `si_code` of waitid(2).
fn main_exit(properties: &Properties<'_>) -> Option<(&'static str, i32)> {
    let is_running = property::<u32>(properties, "MainPID").is_ok_and(|pid| pid != 0);
    let what = match property::<i32>(properties, "ExecMainCode").ok()? {
        _ if is_running => return None,
        1 => "exited",
        2 => "killed",
        3 => "dumped",
        _ => return None,
    };
    let status = property::<i32>(properties, "ExecMainStatus").ok()?;
    Some((what, status))
}

/// A time as `Sun 2026-11-22 09:06:36 UTC`.
fn date(seconds: u64) -> String {
    // 1 January 1970 was a Thursday.
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let days = seconds / 86_400;
    let (year, month, day) = civil_date(days);
    let weekday = WEEKDAYS[usize::try_from(days % 7).unwrap_or_default()];
    format!(
        "{weekday} {year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC",
        seconds / 3_600 % 24,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// Bytes with one decimal in the largest fitting unit of 1024, as `systemctl` has them.
fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "K", "M", "G", "T"];
    let mut unit = 0;
    let mut rest = 0;
    let mut whole = bytes;
    while whole >= 1024 && unit + 1 < UNITS.len() {
        rest = whole % 1024;
        whole /= 1024;
        unit += 1;
    }
    match unit {
        0 => format!("{whole}B"),
        _ => format!("{whole}.{}{}", rest * 10 / 1024, UNITS[unit]),
    }
}

fn cpu_time(ns: u64) -> String {
    let time = Duration::from_nanos(ns);
    match time.as_secs() {
        0 => format!("{}ms", time.as_millis()),
        1..60 => format!("{}.{:03}s", time.as_secs(), time.subsec_millis()),
        seconds => format!(
            "{}min {}.{:03}s",
            seconds / 60,
            seconds % 60,
            time.subsec_millis()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_look_as_systemctl_has_them() {
        assert_eq!(date(1_795_309_246), "Sun 2026-11-22 01:00:46 UTC");
        assert_eq!(date(0), "Thu 1970-01-01 00:00:00 UTC");
        for (value, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.0K"),
            (5_347_738, "5.0M"),
            (1536 * 1024 * 1024, "1.5G"),
            (u64::MAX, "16777215.9T"),
        ] {
            assert_eq!(bytes(value), text);
        }
        for (value, text) in [
            (0, "0ms"),
            (52_000_000, "52ms"),
            (1_234_000_000, "1.234s"),
            (61_500_000_000, "1min 1.500s"),
        ] {
            assert_eq!(cpu_time(value), text);
        }
    }
}
