//! `hirte-dashboard`: a web page of the nodes, units, jobs and events of the fleet, live.
//!
//! ```text
//! manager -> manager::Session -> model -> feed -> a follower for each page -> routes -> hyper -> io
//! page    -> io -> hyper -> routes -> guard -> manager::Session -> manager
//! ```
//!
//! It is one more client of the manager's API, with no right that group `hirte` does not have, unless an
//! administrator gives it more. Everything runs on one thread, on the reactor of the daemons; hyper
//! brings HTTP and nothing else.

mod arguments;
mod feed;
mod guard;
mod io;
mod manager;
mod model;
mod reply;
mod routes;
mod server;

use std::{env, fmt::Write, process::ExitCode, rc::Rc};

use log::{error, info, warn};
use rustix::rand::{GetRandomFlags, getrandom};

use self::{
    arguments::{Options, PROGRAM},
    feed::Feed,
    routes::Site,
};
use crate::{
    ctl::client::{Executor, block_on},
    daemon::{Notify, Signal, signals},
    limits,
    logging::{self, LogSettings, LogTarget},
    reactor::sleep,
    wire::{
        Inbox,
        listen::{self, Listener},
        tcp,
    },
};

/// Bytes of a number that nobody guesses.
const RANDOM: usize = 16;

/// Runs the dashboard. Returns the exit status: 0 when it was told to stop or only printed something,
/// 1 when it could not start.
#[must_use]
pub fn main() -> ExitCode {
    let options = match arguments::parse(env::args_os().skip(1)) {
        Ok(options) => options,
        Err(status) => return status,
    };
    // Whoever tries it by hand reads standard error.
    let target = match env::var_os("JOURNAL_STREAM") {
        Some(_) => LogTarget::Journald,
        None => LogTarget::Stderr,
    };
    logging::init(
        PROGRAM,
        LogSettings {
            target,
            ..LogSettings::default()
        },
    );
    let result = block_on(async |executor| run(executor, options).await);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            error!("{reason}");
            ExitCode::FAILURE
        }
    }
}

/// Serves until it is told to stop.
async fn run(executor: Executor, options: Options) -> Result<(), String> {
    let inbox = Inbox::new();
    signals(&executor, &inbox, |signal| signal)
        .map_err(|error| format!("Can't be told to stop: {error}"))?;
    let listeners = listeners(&options)?;
    let secret = || random().map_err(|error| format!("No random numbers: {error}"));
    let token = options.allow_control.then(secret).transpose()?;
    let feed = Feed::new(secret()?, token);
    let (jobs, requests) = smol::channel::bounded(limits::MAX_HTTP_JOBS);
    let site = Rc::new(Site {
        feed: feed.clone(),
        hosts: options.hosts,
        jobs,
    });
    let places = server::places();
    for listener in listeners {
        announce(&listener, options.allow_control);
        let serve = server::serve(
            Rc::clone(&executor),
            listener,
            Rc::clone(&site),
            places.clone(),
        );
        executor.spawn(serve).detach();
    }
    let follow = manager::follow(Rc::clone(&executor), feed, requests, options.allow_control);
    executor.spawn(follow).detach();
    executor.spawn(show_life()).detach();
    Notify.ready();
    // It has no configuration that could be read again.
    while inbox.next().await != Signal::Stop {}
    Notify.stopping();
    Ok(())
}

/// The sockets that systemd passed, or the one of the options.
fn listeners(options: &Options) -> Result<Vec<Listener>, String> {
    let passed = listen::activated().map_err(|error| format!("Socket activation: {error}"))?;
    if !passed.is_empty() {
        return Ok(passed);
    }
    let address = options.listen;
    let listener =
        tcp::listen_on(address).map_err(|error| format!("Can't listen on {address}: {error}"))?;
    Ok(vec![Listener::Tcp(listener)])
}

fn announce(listener: &Listener, allows_control: bool) {
    let may = if allows_control {
        ", also to start, stop and restart units"
    } else {
        ""
    };
    match listener.tcp_address() {
        Some(address) => info!("Listening on http://{address}/{may}"),
        None => info!("Listening on {listener}{may}"),
    }
    let is_open = listener
        .tcp_address()
        .is_some_and(|address| !address.ip().is_loopback());
    if is_open {
        warn!("Whoever reaches {listener} sees the page{may}: it asks for no password");
    }
}

/// Shows the service manager that this thread goes on, as often as it wants to know.
async fn show_life() {
    while let Some(interval) = Notify.watchdog_interval() {
        Notify.watchdog();
        sleep(interval / 2).await;
    }
}

/// Random hexadecimal digits.
fn random() -> rustix::io::Result<String> {
    let mut bytes = [0; RANDOM];
    let mut filled = 0;
    while filled < RANDOM {
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())?;
    }
    let mut text = String::with_capacity(2 * RANDOM);
    for byte in bytes {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}
