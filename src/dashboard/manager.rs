//! The connection to the manager: what it tells becomes changes of the model, and requests for jobs
//! become calls.

mod session;

use std::{cell::Cell, rc::Rc};

use log::{info, warn};
use rustix::process::geteuid;
use smol::{
    channel::{Receiver, Sender},
    future::or,
};

use self::session::Session;
use super::feed::Feed;
use crate::{
    bus::JobKind,
    core::retry_delay,
    ctl::{
        Error,
        client::{Client, Executor},
    },
    daemon::Notify,
    limits,
    reactor::{clock, sleep},
};

/// A request for a job.
#[derive(Debug)]
pub(super) struct JobRequest {
    pub kind: JobKind,
    pub node: String,
    pub unit: String,
    /// Takes the number of the job, or why there is none.
    pub answer: Sender<Result<u32, Refused>>,
}

/// Why a job was not accepted.
#[derive(Debug)]
pub(super) enum Refused {
    /// There is nobody to ask.
    NoManager(String),
    /// The manager, a node or the bus refused.
    ByManager(String),
    /// Nobody answered.
    Late,
}

impl JobRequest {
    /// Whether whoever asked was told that nobody answered, or is gone: it must not be carried out late.
    pub fn is_given_up(&self) -> bool {
        self.answer.is_closed()
    }

    /// Tells how it ended. Whoever asked may be gone.
    pub fn answer(&self, answer: Result<u32, Refused>) {
        let _ = self.answer.try_send(answer);
    }
}

/// What the service manager is told, once for each change.
#[derive(Default)]
struct Status(Cell<Option<String>>);

impl Status {
    fn tell(&self, status: String) {
        let told = self.0.take();
        if told.as_ref() != Some(&status) {
            Notify.status(&status);
        }
        self.0.set(Some(status));
    }
}

/// Follows the manager for ever: connects, tells the feed, and connects again.
pub(super) async fn follow(
    executor: Executor,
    feed: Feed,
    jobs: Receiver<JobRequest>,
    allows_control: bool,
) {
    let status = Rc::new(Status::default());
    let mut failures = 0;
    loop {
        let ended = match connect(&executor, allows_control).await {
            Ok(client) => {
                let mut session =
                    Session::new(client, feed.clone(), Rc::clone(&status), allows_control);
                let ended = session.run(&jobs).await;
                if session.has_begun() {
                    failures = 0;
                }
                ended
            }
            Err(error) => error,
        };
        let reason = ended.to_string();
        if feed.read(|model| model.manager().reason.as_ref() != Some(&reason)) {
            warn!("{reason}; trying again");
        }
        let now = clock::now().realtime_us / 1000;
        feed.change(|model| model.lost(now, &reason));
        feed.tell(now);
        status.tell(format!("No manager: {reason}"));
        failures += 1;
        let pause = retry_delay(failures, limits::BUS_FIRST_RETRY, limits::BUS_LONGEST_RETRY);
        or(sleep(pause), refuse(&jobs, &reason)).await;
    }
}

/// Refuses requests for jobs while there is no manager.
async fn refuse(jobs: &Receiver<JobRequest>, reason: &str) {
    while let Ok(request) = jobs.recv().await {
        request.answer(Err(Refused::NoManager(reason.to_owned())));
    }
}

/// Connects by the private socket or by the bus. Jobs are not for members of group `hirte` on the
/// private socket, while the policy of the bus can let a user request them.
async fn connect(executor: &Executor, allows_control: bool) -> Result<Client, Error> {
    let client = if allows_control && !geteuid().is_root() {
        Client::connect_to_bus(executor).await?
    } else {
        Client::connect(executor).await?
    };
    info!("Connected");
    Ok(client)
}
