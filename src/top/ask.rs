//! Calls that the view makes. Each runs beside it, over a connection of its own.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use smol::lock::Semaphore;

use super::{
    run::Happened,
    state::{Action, Event, File, Listed, Target},
};
use crate::{
    bus::{Body, JobKind},
    ctl::{
        Error, ExitStatus,
        call::{Call, decode},
        client::{Client, Executor},
        error::Subject,
        list_units, status,
    },
    limits,
    reactor::sleep,
    wire::Inbox,
};

/// What a job does to those that are queued, as `hirtectl start` has it.
const MODE: &str = "replace";

/// Nodes whose lists are asked for or will be, and what is wanted of each from here on, if anything:
/// whether with its unit files.
type Lists = BTreeMap<String, Option<bool>>;

/// Makes calls, and puts what comes of them into an inbox.
#[derive(Clone)]
pub(super) struct Asker {
    executor: Executor,
    inbox: Inbox<Happened>,
    /// Calls that wait, but for lists.
    waiting: Rc<Cell<usize>>,
    lists: Rc<RefCell<Lists>>,
    /// How many more nodes may be asked for their lists.
    places: Rc<Semaphore>,
}

impl Asker {
    pub fn new(executor: &Executor, inbox: &Inbox<Happened>) -> Self {
        Self {
            executor: Rc::clone(executor),
            inbox: inbox.clone(),
            waiting: Rc::default(),
            lists: Rc::default(),
            places: Rc::new(Semaphore::new(limits::TOP_LISTS)),
        }
    }

    /// Begins what an action asks for; one that asks nobody is left to others.
    pub fn carry_out(&self, action: Action) {
        let executor = Rc::clone(&self.executor);
        match action {
            Action::List { node, with_files } => self.list(node, with_files),
            Action::Look(of) => self.begin(of.clone(), async move {
                let lines = look(&executor, &of).await;
                let lines = lines.map_err(|error| error.to_string());
                Some(Event::Page { of, lines })
            }),
            Action::Request(kind, of) => self.begin(of.clone(), async move {
                let error = request(&executor, kind, &of).await.err()?;
                let reason = error.to_string();
                Some(Event::Refused { of, reason })
            }),
            Action::Redraw | Action::Suspend | Action::Quit => {}
        }
    }

    fn tell(&self, event: Event) {
        self.inbox.push(Happened::Told(event));
    }

    /// Runs a call about a unit beside the view.
    fn begin(&self, of: Target, call: impl Future<Output = Option<Event>> + 'static) {
        let waiting = self.waiting.get();
        if waiting >= limits::TOP_REQUESTS {
            let reason = "Too many calls wait for an answer".to_owned();
            return self.tell(Event::Refused { of, reason });
        }
        self.waiting.set(waiting + 1);
        let asker = self.clone();
        let run = async move {
            let event = call.await;
            asker.waiting.set(asker.waiting.get() - 1);
            if let Some(event) = event {
                asker.tell(event);
            }
        };
        self.executor.spawn(run).detach();
    }

    /// Has a node be asked for its list soon: once, whatever else of it is wanted by then.
    fn list(&self, node: String, with_files: bool) {
        let mut lists = self.lists.borrow_mut();
        if let Some(wanted) = lists.get_mut(&node) {
            *wanted = Some(with_files || *wanted == Some(true));
            return;
        }
        lists.insert(node.clone(), Some(with_files));
        let asker = self.clone();
        let run = async move { asker.ask_for_lists(node).await };
        self.executor.spawn(run).detach();
    }

    /// Asks a node for its list as long as it is wanted, beside some other nodes.
    async fn ask_for_lists(&self, node: String) {
        loop {
            sleep(limits::TOP_SETTLE).await;
            let _place = self.places.acquire().await;
            let wanted = self
                .lists
                .borrow_mut()
                .get_mut(&node)
                .and_then(Option::take);
            let Some(with_files) = wanted else {
                break;
            };
            if let Some(event) = self.ask_for_list(&node, with_files).await {
                self.tell(event);
            }
        }
        self.lists.borrow_mut().remove(&node);
    }

    /// What comes of asking a node for its list. Where the manager or the node is lost, others tell.
    async fn ask_for_list(&self, node: &str, with_files: bool) -> Option<Event> {
        let mut client = Client::connect(&self.executor).await.ok()?;
        let node = node.to_owned();
        match list(&mut client, &node, with_files).await {
            Ok((units, files)) => Some(Event::Listed { node, units, files }),
            Err(error) => match error.status() {
                ExitStatus::NoManager | ExitStatus::NodeOffline => None,
                _ => {
                    let unit = String::new();
                    let reason = error.to_string();
                    Some(Event::Refused {
                        of: Target { node, unit },
                        reason,
                    })
                }
            },
        }
    }
}

type Told = (Vec<Listed>, Option<Vec<File>>);

async fn list(client: &mut Client, node: &str, with_files: bool) -> Result<Told, Error> {
    let path = client.node(node).await?;
    let call = Call::node(&path, "ListUnits", &());
    let body = client.call(call, Subject::Node(node)).await?;
    let units = list_units::units_of_node(node, &body)?.into_iter();
    let units = units.map(|unit| Listed {
        name: unit.name.to_owned(),
        description: unit.description.to_owned(),
        load: unit.load.to_owned(),
        active: unit.active.to_owned(),
        sub: unit.sub.to_owned(),
    });
    let units = units.collect();
    let files = if with_files {
        let answer = client.ask(Call::node(&path, "ListUnitFiles", &())).await?;
        // An agent may be too old to know them.
        answer.ok().map(|body| files(&body)).transpose()?
    } else {
        None
    };
    Ok((units, files))
}

/// The unit files that have a unit of their own: no templates, and no further names of others.
fn files(body: &Body) -> Result<Vec<File>, Error> {
    let (files,): (Vec<(&str, &str)>,) = decode("ListUnitFiles", body)?;
    let files = files.into_iter().filter_map(|(path, state)| {
        let name = path.rsplit('/').next().unwrap_or_default();
        let is_own = !name.contains("@.") && !state.starts_with("alias");
        is_own.then(|| File {
            name: name.to_owned(),
            is_masked: state.starts_with("masked"),
        })
    });
    Ok(files.collect())
}

async fn look(executor: &Executor, of: &Target) -> Result<Vec<String>, Error> {
    let mut client = Client::connect(executor).await?;
    status::page(&mut client, &of.node, &of.unit).await
}

async fn request(executor: &Executor, kind: JobKind, of: &Target) -> Result<(), Error> {
    let mut client = Client::connect(executor).await?;
    let path = client.node(&of.node).await?;
    let call = Call::node(&path, kind.method(), &(of.unit.as_str(), MODE));
    client.call(call, Subject::Units(&of.node)).await.map(drop)
}
