//! What the benchmarks share: CPU time and memory of processes, and the tables they print.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

use std::{
    fs,
    time::{Duration, Instant},
};

/// Processes whose CPU time is reported as one sum.
pub struct Group {
    name: &'static str,
    pids: Vec<u32>,
}

impl Group {
    pub fn new(name: &'static str, pids: impl Into<Vec<u32>>) -> Self {
        Self {
            name,
            pids: pids.into(),
        }
    }

    /// CPU time since the start of the processes.
    pub fn cpu(&self) -> Duration {
        self.pids.iter().map(|pid| cpu(*pid)).sum()
    }
}

/// CPU time of all threads of a process, to the nanosecond ("Documentation/scheduler/sched-stats").
fn cpu(pid: u32) -> Duration {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Duration::ZERO;
    };
    tasks
        .flatten()
        .filter_map(|task| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            let nanos = text.split(' ').next()?.parse().ok()?;
            Some(Duration::from_nanos(nanos))
        })
        .sum()
}

/// Resident and private memory of a process in kB.
pub fn memory(pid: u32) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let field = |name: &str| {
        text.lines()
            .filter_map(|line| line.strip_prefix(name)?.split_whitespace().next())
            .filter_map(|kilobytes| kilobytes.parse::<u64>().ok())
            .sum::<u64>()
    };
    (
        field("Rss:"),
        field("Private_Clean:") + field("Private_Dirty:"),
    )
}

/// What a run of operations took, or several runs of the same.
#[derive(Default)]
pub struct Measured {
    /// Of each operation, sorted.
    times: Vec<u64>,
    wall: Duration,
    cpu: Vec<(&'static str, Duration)>,
}

impl Measured {
    /// Adds another run.
    pub fn add(&mut self, other: Self) {
        self.times.extend(other.times);
        self.times.sort_unstable();
        self.wall += other.wall;
        if self.cpu.is_empty() {
            self.cpu = other.cpu;
            return;
        }
        for (own, other) in self.cpu.iter_mut().zip(other.cpu) {
            own.1 += other.1;
        }
    }

    pub fn median(&self) -> Duration {
        self.quantile(50)
    }

    fn quantile(&self, percent: usize) -> Duration {
        let index = self.times.len() * percent / 100;
        let last = self.times.len().saturating_sub(1);
        Duration::from_nanos(self.times.get(index.min(last)).copied().unwrap_or_default())
    }

    pub fn per_second(&self) -> f64 {
        self.times.len() as f64 / self.wall.as_secs_f64()
    }

    /// A row of the table that [`print_head`] starts.
    pub fn print(&self, what: &str) {
        let operations = self.times.len().max(1) as f64;
        let cpu: Vec<String> = self
            .cpu
            .iter()
            .map(|(name, time)| format!("{name} {:.1}", time.as_secs_f64() * 1e6 / operations))
            .collect();
        println!(
            "| {what} | {} | {:.3} | {:.3} | {:.0} | {} |",
            self.times.len(),
            millis(self.quantile(50)),
            millis(self.quantile(99)),
            self.per_second(),
            cpu.join(", ")
        );
    }
}

pub fn print_head() {
    println!("| what | operations | median ms | p99 ms | per second | CPU µs per operation |");
    println!("|---|---|---|---|---|---|");
}

/// Measures operations; `run` returns the time of each.
pub async fn measure<F: Future<Output = Vec<u64>>>(groups: &[Group], run: F) -> Measured {
    let before: Vec<Duration> = groups.iter().map(Group::cpu).collect();
    let started = Instant::now();
    let mut times = run.await;
    let wall = started.elapsed();
    let cpu = groups
        .iter()
        .zip(before)
        .map(|(group, before)| (group.name, group.cpu().saturating_sub(before)))
        .collect();
    times.sort_unstable();
    Measured { times, wall, cpu }
}

pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The machine, as far as it matters.
pub fn print_machine() {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_once(':'));
        value.map_or_else(String::new, |value| value.1.trim().to_owned())
    };
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "{processors} processors ({}), {}, Linux {}, load at the start {}",
        field("/proc/cpuinfo", "model name"),
        field("/proc/meminfo", "MemTotal"),
        kernel.trim(),
        load.split(' ').next().unwrap_or_default()
    );
}
