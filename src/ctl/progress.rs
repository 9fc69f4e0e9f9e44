//! A line on the terminal that tells what is waited for, once it takes longer than people like.

use std::{
    future::Future,
    io::{self, IsTerminal, Write},
    pin::pin,
    time::{Duration, Instant},
};

use smol::future::or;

use super::output::escape;
use crate::reactor::sleep;

/// How long a wait goes without a word, and how often the line is written anew.
const STEP: Duration = Duration::from_secs(1);

/// What is waited for; tells it on standard error if that is a terminal.
#[derive(Debug)]
pub(super) struct Progress {
    is_terminal: bool,
    /// Without one nothing is told.
    label: Option<String>,
    started: Instant,
}

impl Progress {
    /// Tells nothing before [`wait_for`](Self::wait_for).
    pub fn new() -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self {
            is_terminal: io::stderr().is_terminal() && !is_dumb,
            label: None,
            started: Instant::now(),
        }
    }

    /// From here on this is waited for; `None` for what may take as long as it likes.
    pub fn wait_for(&mut self, label: Option<String>) {
        self.label = label;
        self.started = Instant::now();
    }

    /// Waits for `future`; the line is gone when that ends or is dropped.
    pub async fn during<F: Future>(&self, future: F) -> F::Output {
        let Some(label) = self.label.as_ref().filter(|_| self.is_terminal) else {
            return future.await;
        };
        let mut future = pin!(future);
        let mut line = Line { is_shown: false };
        loop {
            let elapsed = self.started.elapsed();
            let steps = u32::try_from(elapsed.as_secs()).unwrap_or(u32::MAX);
            let next = self.started + STEP * steps.saturating_add(1);
            let step = async {
                sleep(next.saturating_duration_since(Instant::now())).await;
                None
            };
            let output = or(async { Some(future.as_mut().await) }, step);
            match output.await {
                Some(output) => return output,
                None => line.show(label, self.started.elapsed()),
            }
        }
    }
}

/// The line, which is erased when this is dropped.
struct Line {
    is_shown: bool,
}

impl Line {
    fn show(&mut self, label: &str, elapsed: Duration) {
        // `\x1b[K` erases to the end of the line (ECMA-48, EL).
        let label = escape(label);
        let _ = write!(io::stderr(), "\r{label} ({} s)\x1b[K", elapsed.as_secs());
        self.is_shown = true;
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
