//! The loop: what happens goes to the state, what the state wants is done, and a picture is drawn when
//! there is something to see.

use std::{
    env, io,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ratatui_core::terminal::Terminal;
use rustix::process::{Signal, kill_current_process_group};
use smol::future::or;

use super::{
    ask::Asker,
    input::{self, Input},
    layout::Places,
    screen::{self, Screen},
    state::{Action, Event, State},
    view::{self, Look},
    watch::{self, Watch},
};
use crate::{
    ctl::{
        Error,
        client::{Client, Executor},
        local_time::Zone,
    },
    limits,
    reactor::sleep,
    wire::Inbox,
};

/// What a shell tells of a process that a signal has ended, less the signal's number.
const BY_SIGNAL: u8 = 128;

/// Whatever happens.
#[derive(Debug)]
pub(super) enum Happened {
    Told(Event),
    Input(Input),
}

/// Shows the view until it is quit, or a signal ends it; the exit status. That there is no manager, or
/// no such node, at the start is an error.
pub(super) async fn run(executor: &Executor, node: Option<String>) -> Result<u8, Error> {
    let mut client = Client::connect(executor).await?;
    // Told only before the terminal is taken over.
    client.waiting_for("Waiting for the manager".to_owned());
    if let Some(node) = &node {
        client.node(node).await?;
    }
    let (watch, first) = Watch::begin(client).await?;
    let inbox = Inbox::new();
    inbox.push(Happened::Told(first));
    input::watch(executor, &inbox, Happened::Input).map_err(Error::Output)?;
    let mut view = View::begin(node).map_err(Error::Output)?;
    let watching = watch::run(executor.clone(), watch, inbox.clone());
    executor.spawn(watching).detach();
    let asker = Asker::new(executor, &inbox);
    let ended = view.run(&inbox, &asker).await;
    screen::leave();
    ended.map_err(Error::Output)
}

struct View {
    terminal: Terminal<Screen>,
    state: State,
    zone: Zone,
    look: Look,
    /// When the last picture was drawn.
    drawn: Option<Instant>,
    /// A picture is due at once.
    is_urgent: bool,
}

impl View {
    /// Takes the terminal over.
    fn begin(node: Option<String>) -> io::Result<Self> {
        let declined = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let begun = screen::enter().and_then(|()| Terminal::new(Screen::default()));
        let terminal = begun.inspect_err(|_| screen::leave())?;
        Ok(Self {
            terminal,
            state: State::new(now_s(), node),
            zone: Zone::of_this_computer(),
            look: Look::new(!declined),
            drawn: None,
            is_urgent: true,
        })
    }

    async fn run(&mut self, inbox: &Inbox<Happened>, asker: &Asker) -> io::Result<u8> {
        loop {
            let mut happened = Some(inbox.next().await);
            loop {
                while let Some(this) = happened {
                    if let Some(status) = self.handle(this, asker)? {
                        return Ok(status);
                    }
                    happened = inbox.try_next();
                }
                let Some(left) = self.until_picture() else {
                    break;
                };
                let late = async {
                    sleep(left).await;
                    None
                };
                happened = or(async { Some(inbox.next().await) }, late).await;
            }
            self.draw()?;
        }
    }

    /// How long the next picture has to wait, so that many events make one.
    fn until_picture(&self) -> Option<Duration> {
        let drawn = self.drawn.filter(|_| !self.is_urgent)?;
        let left = limits::TOP_PICTURE.saturating_sub(drawn.elapsed());
        Some(left).filter(|left| !left.is_zero())
    }

    /// The exit status, once the view is to end.
    fn handle(&mut self, happened: Happened, asker: &Asker) -> io::Result<Option<u8>> {
        let event = match happened {
            Happened::Told(event) => event,
            Happened::Input(Input::Key(key)) => {
                self.is_urgent = true;
                // Lists that have changed since the last picture are brought in order first.
                self.settle()?;
                Event::Key(key)
            }
            Happened::Input(Input::Redraw) => {
                self.is_urgent = true;
                return Ok(None);
            }
            Happened::Input(Input::Continued) => return self.resume().map(|()| None),
            Happened::Input(Input::End(signal)) => {
                let signal = u8::try_from(signal).unwrap_or_default();
                return Ok(Some(BY_SIGNAL.saturating_add(signal)));
            }
        };
        let mut actions = Vec::new();
        self.state.handle(now_s(), event, &mut actions);
        for action in actions {
            match action {
                Action::Quit => return Ok(Some(0)),
                Action::Redraw => self.terminal.clear()?,
                Action::Suspend => self.suspend()?,
                action => asker.carry_out(action),
            }
        }
        Ok(None)
    }

    /// Stops until the shell has us go on.
    fn suspend(&mut self) -> io::Result<()> {
        screen::leave();
        kill_current_process_group(Signal::TSTP)?;
        self.resume()
    }

    /// Takes over a terminal that others have had.
    fn resume(&mut self) -> io::Result<()> {
        screen::enter()?;
        self.is_urgent = true;
        self.terminal.clear()
    }

    fn settle(&mut self) -> io::Result<Places> {
        let places = Places::of(self.terminal.size()?.into(), self.state.focus);
        self.state.settle(places.heights());
        Ok(places)
    }

    fn draw(&mut self) -> io::Result<()> {
        let state = &mut self.state;
        let (zone, look) = (&self.zone, self.look);
        self.terminal.draw(|frame| {
            let places = Places::of(frame.area(), state.focus);
            state.settle(places.heights());
            view::draw(frame.buffer_mut(), state, &places, zone, look);
        })?;
        self.drawn = Some(Instant::now());
        self.is_urgent = false;
        Ok(())
    }
}

fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}
