//! `hirtectl metrics enable|disable|listen`: how long jobs take.

use std::time::Duration;

use serde::Serialize;

use super::{
    call::{Call, decode},
    client::{Client, Signal, rule},
    error::{Error, Subject},
    exit_status::ExitStatus,
    output::Output,
};
use crate::bus::names::METRICS_PATH;

/// A measurement as JSON, by the name of its signal.
#[derive(Serialize)]
#[serde(tag = "event")]
enum Record<'b> {
    StartUnitJobMetrics {
        node: &'b str,
        job: &'b str,
        unit: &'b str,
        job_us: u64,
        /// None when the unit did not become active.
        unit_start_us: Option<u64>,
    },
    AgentJobMetrics {
        node: &'b str,
        unit: &'b str,
        method: &'b str,
        systemd_job_us: u64,
    },
}

/// Switches measuring on or off.
pub(super) async fn switch(
    client: &mut Client,
    output: &mut Output,
    on: bool,
) -> Result<ExitStatus, Error> {
    let method = if on {
        "EnableMetrics"
    } else {
        "DisableMetrics"
    };
    client
        .call(Call::manager(method, &()), Subject::Fleet)
        .await?;
    output.line("Done");
    Ok(ExitStatus::Done)
}

/// Prints what is measured, until the manager leaves.
pub(super) async fn listen(client: &mut Client, output: &mut Output) -> Result<ExitStatus, Error> {
    client.watch(&[rule(METRICS_PATH, None)]).await?;
    output.line("Waiting for metrics signals...");
    output.flush();
    client.waiting_for(None);
    loop {
        match client.next_signal().await? {
            Signal::ManagerLeft => return Err(Error::WatchEnded),
            Signal::Told(message) if message.path != METRICS_PATH => {}
            Signal::Told(message) => {
                let body = &message.body;
                match message.member.as_str() {
                    "StartUnitJobMetrics" => {
                        let (node, job, unit, job_us, unit_us) =
                            decode("StartUnitJobMetrics", body)?;
                        print_start(output, (node, job, unit), job_us, unit_us);
                    }
                    "AgentJobMetrics" => {
                        let (node, unit, method, us) = decode("AgentJobMetrics", body)?;
                        print_agent(output, node, unit, method, us);
                    }
                    _ => {}
                }
                output.flush();
            }
        }
    }
}

fn print_start(
    output: &mut Output,
    (node, job, unit): (&str, &str, &str),
    job_us: u64,
    unit_us: u64,
) {
    output.line(&format!("[{node}] Job {job} to start unit {unit}:"));
    for (what, us) in [
        ("Hirte job gross measured time", job_us),
        ("Unit net start time (from properties)", unit_us),
    ] {
        output.line_in(&format!("{what}: {}", milliseconds(us)));
    }
    output.record(&Record::StartUnitJobMetrics {
        node,
        job,
        unit,
        job_us,
        unit_start_us: Some(unit_us).filter(|us| *us != 0),
    });
}

fn print_agent(output: &mut Output, node: &str, unit: &str, method: &str, us: u64) {
    output.line(&format!(
        "[{node}] Agent systemd {method} job on {unit} net measured time: {}",
        milliseconds(us)
    ));
    output.record(&Record::AgentJobMetrics {
        node,
        unit,
        method,
        systemd_job_us: us,
    });
}

fn milliseconds(us: u64) -> String {
    format!("{:.1}ms", Duration::from_micros(us).as_secs_f64() * 1e3)
}
