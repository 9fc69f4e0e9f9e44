//! Streams for the manager: the log of a unit, or the output of a command.
//!
//! Each is a transient unit whose standard output and error go to pipes of the agent, its source.
//! The source is read as far as the manager has granted bytes; when it is not read the kernel lets
//! the unit's processes wait. The unit ends with the stream, and the stream with its unit, once
//! all was read, or with the connection to the manager.

use std::collections::BTreeMap;

use super::{
    Action, FromSource, State, Turn,
    dispatch::unreadable,
    jobs::accepted_number,
    manager::Caller,
    requests::Purpose,
    transient::{Log, Program, is_of_stream, start_arguments, unit_name},
};
use crate::{
    bus::{
        Body, Bytes, CallError, JobKind, error_name,
        marshal::{Malformed, Reader},
        names::{SYSTEMD_SERVICE_INTERFACE, SYSTEMD_UNIT_INTERFACE},
    },
    core::Level,
    limits,
};

/// Result of a stream whose unit ended while systemd could not be watched.
const UNKNOWN: &str = "unknown";
/// Exit status of a stream that has none.
const NO_STATUS: i32 = -1;
/// What a shell adds to the number of the signal that ended a command.
const SIGNALED: i32 = 128;
/// `CLD_EXITED` of waitid(2), in `ExecMainCode`: the process ended by itself.
const EXITED: i32 = 1;

/// All streams, by the manager's numbers.
#[derive(Debug, Default)]
pub(super) struct Streams {
    by_id: BTreeMap<u32, Stream>,
    last_source: u64,
}

#[derive(Debug)]
struct Stream {
    /// Number of its source.
    source: u64,
    unit: String,
    /// For the log.
    name: String,
    phase: Phase,
    /// Bytes that were granted and not read.
    credit: u32,
    /// Whether all was read and nobody writes any more.
    is_drained: bool,
}

#[derive(Debug)]
enum Phase {
    /// The pipes are made.
    Opening(Caller, Program),
    /// systemd is asked to start the unit.
    Starting(Caller, Process),
    /// The unit runs, or is about to.
    Running(Process),
    /// The unit has ended.
    Ended { status: i32, result: String },
}

/// What systemd tells of the unit and its main process.
#[derive(Clone, Debug, Default)]
struct Process {
    /// systemd's job that starts the unit, until it has ended.
    job: Option<u32>,
    has_started: bool,
    active: String,
    code: i32,
    status: i32,
    result: String,
}

impl Process {
    /// Reads the properties that changed.
    fn learn(&mut self, interface: &str, changed: &Body) -> Result<(), Malformed> {
        let mut entries = changed.reader().array(8)?;
        while !entries.is_at_end() {
            entries.align(8)?;
            let name = entries.str()?;
            let (_, mut value) = entries.variant()?;
            match (interface, name) {
                (SYSTEMD_UNIT_INTERFACE, "ActiveState") => {
                    value.str()?.clone_into(&mut self.active);
                }
                (SYSTEMD_SERVICE_INTERFACE, "ExecMainCode") => self.code = value.i32()?,
                (SYSTEMD_SERVICE_INTERFACE, "ExecMainStatus") => self.status = value.i32()?,
                (SYSTEMD_SERVICE_INTERFACE, "Result") => {
                    value.str()?.clone_into(&mut self.result);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the unit has run and does no more. A unit that systemd has just made is inactive
    /// too.
    fn has_ended(&self) -> bool {
        let is_inactive = matches!(self.active.as_str(), "inactive" | "failed");
        is_inactive && (self.code != 0 || self.has_started)
    }

    /// Exit status as a shell would tell it, and systemd's word for the result.
    fn end(self) -> (i32, String) {
        let status = match self.code {
            0 => NO_STATUS,
            EXITED => self.status,
            _ => SIGNALED.saturating_add(self.status),
        };
        // A service that has not run is told to be a success until it fails.
        let is_unknown = self.result.is_empty() || (self.code == 0 && self.result == "success");
        let result = if is_unknown {
            UNKNOWN.to_owned()
        } else {
            self.result
        };
        (status, result)
    }
}

impl Streams {
    fn of_source(&mut self, source: u64) -> Option<(u32, &mut Stream)> {
        let mut all = self.by_id.iter_mut();
        all.find(|(_, stream)| stream.source == source)
            .map(|(id, stream)| (*id, stream))
    }

    fn of_unit(&mut self, unit: &str) -> Option<(u32, &mut Stream)> {
        let mut all = self.by_id.iter_mut();
        all.find(|(_, stream)| stream.unit == unit)
            .map(|(id, stream)| (*id, stream))
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.by_id.len()
    }
}

impl State {
    /// The manager wants the log of a unit.
    pub(super) fn open_log(
        &mut self,
        turn: &mut Turn<'_>,
        caller: Caller,
        arguments: &Body,
    ) -> Result<(), CallError> {
        let mut reader = arguments.reader();
        let log = Log::read(&mut reader)?;
        let (asked_by, id) = tail(&mut reader).map_err(|error| unreadable(&error))?;
        let program = Program::of_log(&log, self.settings.is_of_user);
        let name = format!("Log of {}", log.unit);
        self.open_stream(turn, caller, (id, name, &asked_by), program)
    }

    /// The manager wants a command to be run.
    pub(super) fn exec(
        &mut self,
        turn: &mut Turn<'_>,
        caller: Caller,
        arguments: &Body,
    ) -> Result<(), CallError> {
        let (command, asked_by, id): (Vec<String>, String, u32) =
            arguments.parse().map_err(|error| unreadable(&error))?;
        let name = format!("Exec {command:?}");
        if !self.settings.allow_exec {
            let line = format!("{name} refused: AllowExec is not set, asked by {asked_by:?}");
            turn.log(Level::Warn, line);
            let text = "Commands are not allowed on this node: its agent's configuration has no \
                        AllowExec=yes";
            return Err(CallError::new(error_name::ACCESS_DENIED, text));
        }
        let program = Program::of_command(command)?;
        self.open_stream(turn, caller, (id, name, &asked_by), program)
    }

    fn open_stream(
        &mut self,
        turn: &mut Turn<'_>,
        caller: Caller,
        (id, name, asked_by): (u32, String, &str),
        program: Program,
    ) -> Result<(), CallError> {
        if self.streams.by_id.contains_key(&id) {
            let text = format!("Stream {id} exists already");
            return Err(CallError::new(error_name::INVALID_ARGS, text));
        }
        if self.streams.by_id.len() >= limits::MAX_STREAMS_PER_NODE {
            let text = format!("There are {} streams", limits::MAX_STREAMS_PER_NODE);
            return Err(CallError::new(error_name::LIMITS_EXCEEDED, text));
        }
        // By the clock, because units of an agent before this one may still be there.
        let source = turn.at().0.max(self.streams.last_source + 1);
        self.streams.last_source = source;
        let unit = unit_name(source);
        turn.log(
            Level::Info,
            format!("Stream {id}: {name} as {unit}, asked by {asked_by:?}"),
        );
        let stream = Stream {
            source,
            unit,
            name,
            phase: Phase::Opening(caller, program),
            credit: 0,
            is_drained: false,
        };
        self.streams.by_id.insert(id, stream);
        turn.act(Action::OpenSource { number: source });
        Ok(())
    }

    /// The edge has made the pipes of a source, read from them, or come to their end.
    pub(super) fn source_reported(&mut self, turn: &mut Turn<'_>, number: u64, event: FromSource) {
        let Some((id, stream)) = self.streams.of_source(number) else {
            return;
        };
        match event {
            FromSource::Opened(Ok(pipes)) => self.start_stream_unit(turn, id, &pipes),
            FromSource::Opened(Err(reason)) => {
                let text = format!("No pipe for the output: {reason}");
                let error = CallError::new(error_name::FAILED, text);
                self.refuse_stream(turn, id, error);
            }
            FromSource::Data { channel, data } => {
                let read = u32::try_from(data.0.len()).unwrap_or(u32::MAX);
                stream.credit = stream.credit.saturating_sub(read);
                self.signal_data(turn, id, channel, data);
            }
            FromSource::Drained => {
                stream.is_drained = true;
                self.end_stream_if_done(turn, id);
            }
        }
    }

    fn signal_data(&mut self, turn: &mut Turn<'_>, id: u32, channel: u32, data: Bytes) {
        self.signal(turn, "StreamData", Body::of(&(id, channel, data)));
    }

    fn start_stream_unit(&mut self, turn: &mut Turn<'_>, id: u32, pipes: &[String; 2]) {
        let Some(stream) = self.streams.by_id.get_mut(&id) else {
            return;
        };
        let Phase::Opening(caller, program) = &stream.phase else {
            return;
        };
        let arguments = start_arguments(&stream.unit, program, pipes);
        stream.phase = Phase::Starting(*caller, Process::default());
        let purpose = Purpose::Stream {
            number: stream.source,
        };
        let asked = self.call_systemd_manager(turn, "StartTransientUnit", arguments, purpose);
        if let Err(error) = asked {
            self.refuse_stream(turn, id, error);
        }
    }

    /// systemd accepted the start of a unit, refused it, or did not answer: then the unit is
    /// stopped, should it come to be.
    pub(super) fn stream_unit_answered(
        &mut self,
        turn: &mut Turn<'_>,
        number: u64,
        result: Result<Body, CallError>,
    ) {
        let Some((id, stream)) = self.streams.of_source(number) else {
            return;
        };
        let Phase::Starting(caller, process) = &stream.phase else {
            return;
        };
        match result.and_then(|body| accepted_number(&body)) {
            Ok(job) => {
                let (caller, mut process) = (*caller, process.clone());
                process.job = Some(job);
                stream.phase = Phase::Running(process);
                self.reply(turn, caller, Ok(Body::default()));
            }
            Err(error) => self.refuse_stream(turn, id, error),
        }
    }

    fn refuse_stream(&mut self, turn: &mut Turn<'_>, id: u32, error: CallError) {
        let Some(stream) = self.streams.by_id.get(&id) else {
            return;
        };
        turn.log(Level::Warn, format!("{} failed: {error}", stream.name));
        if let Phase::Opening(caller, _) | Phase::Starting(caller, _) = stream.phase {
            self.reply(turn, caller, Err(error));
        }
        self.close_stream(turn, id);
    }

    /// The manager's reader takes so many bytes more.
    pub(super) fn grant_stream(&mut self, turn: &mut Turn<'_>, id: u32, bytes: u32) {
        if let Some(stream) = self.streams.by_id.get_mut(&id) {
            let room = limits::MAX_STREAM_CREDIT - stream.credit;
            let bytes = bytes.min(room);
            stream.credit += bytes;
            turn.act(Action::ReadSource {
                number: stream.source,
                bytes,
            });
        }
    }

    // The unit

    pub(super) fn stream_job_ended(&mut self, turn: &mut Turn<'_>, job: u32, result: &str) {
        let mut all = self.streams.by_id.iter_mut();
        let found = all.find_map(|(id, stream)| match &mut stream.phase {
            Phase::Running(process) if process.job == Some(job) => Some((*id, process)),
            _ => None,
        });
        let Some((id, process)) = found else {
            return;
        };
        process.job = None;
        process.has_started = true;
        if result != "done" && process.result.is_empty() {
            result.clone_into(&mut process.result);
        }
        self.look_at_stream_unit(turn, id);
    }

    pub(super) fn stream_unit_changed(
        &mut self,
        turn: &mut Turn<'_>,
        unit: &str,
        interface: &str,
        changed: &Body,
    ) {
        if !is_of_stream(unit) {
            return;
        }
        let Some((id, stream)) = self.streams.of_unit(unit) else {
            return;
        };
        if let Phase::Starting(_, process) | Phase::Running(process) = &mut stream.phase {
            if let Err(reason) = process.learn(interface, changed) {
                let line = format!("The properties of {unit} can not be read: {reason}");
                turn.log(Level::Warn, line);
            }
            self.look_at_stream_unit(turn, id);
        }
    }

    fn look_at_stream_unit(&mut self, turn: &mut Turn<'_>, id: u32) {
        let stream = self.streams.by_id.get(&id);
        if let Some(Phase::Running(process)) = stream.map(|stream| &stream.phase)
            && process.has_ended()
        {
            self.stream_unit_ended(turn, id);
        }
    }

    /// systemd has unloaded a unit, which it does at once when one of ours has ended.
    pub(super) fn stream_unit_gone(&mut self, turn: &mut Turn<'_>, unit: &str) {
        if is_of_stream(unit)
            && let Some((id, _)) = self.streams.of_unit(unit)
        {
            self.stream_unit_ended(turn, id);
        }
    }

    fn stream_unit_ended(&mut self, turn: &mut Turn<'_>, id: u32) {
        let Some(stream) = self.streams.by_id.get_mut(&id) else {
            return;
        };
        let Phase::Running(process) = &stream.phase else {
            return;
        };
        let (status, result) = process.clone().end();
        turn.log(
            Level::Info,
            format!(
                "{} of {} ended: {result}, status {status}",
                stream.name, stream.unit
            ),
        );
        stream.phase = Phase::Ended { status, result };
        if !stream.is_drained {
            turn.act(Action::DrainSource {
                number: stream.source,
            });
        }
        self.end_stream_if_done(turn, id);
    }

    fn end_stream_if_done(&mut self, turn: &mut Turn<'_>, id: u32) {
        let Some(stream) = self.streams.by_id.get(&id).filter(|one| one.is_drained) else {
            return;
        };
        if let Phase::Ended { status, result } = &stream.phase {
            let end = Body::of(&(id, *status, result.as_str()));
            self.signal(turn, "StreamEnd", end);
            self.close_stream(turn, id);
        }
    }

    /// systemd could not be watched: units that are no more have ended.
    pub(super) fn check_stream_units(&mut self, turn: &mut Turn<'_>) {
        let is_over = |stream: &Stream| {
            let states = self.units.get(&stream.unit).map(super::units::Unit::states);
            match (states, &stream.phase) {
                (None, _) => true,
                // It may still be about to start.
                (Some(Some((active, _))), Phase::Running(process)) => {
                    process.has_started && matches!(active, "inactive" | "failed")
                }
                (Some(_), _) => false,
            }
        };
        let over: Vec<u32> = self
            .streams
            .by_id
            .iter()
            .filter(|(_, stream)| is_over(stream))
            .map(|(id, _)| *id)
            .collect();
        for id in over {
            self.stream_unit_ended(turn, id);
        }
    }

    /// Units of streams that another agent process has left are of no use to anybody.
    pub(super) fn stop_forgotten_streams(&mut self, turn: &mut Turn<'_>) {
        let forgotten: Vec<String> = self
            .units
            .names()
            .filter(|unit| is_of_stream(unit))
            .cloned()
            .collect();
        for unit in forgotten {
            turn.log(Level::Info, format!("Stopping {unit}, which nobody reads"));
            self.order(turn, &unit, JobKind::Stop);
        }
    }

    // The end

    /// Ends a stream, and its unit if it has not ended.
    pub(super) fn close_stream(&mut self, turn: &mut Turn<'_>, id: u32) {
        let Some(stream) = self.streams.by_id.remove(&id) else {
            return;
        };
        turn.act(Action::CloseSource {
            number: stream.source,
        });
        match stream.phase {
            Phase::Opening(..) | Phase::Ended { .. } => {}
            Phase::Starting(..) | Phase::Running(_) => {
                let line = format!("{} is stopped with its stream", stream.name);
                turn.log(Level::Info, line);
                self.order(turn, &stream.unit, JobKind::Stop);
            }
        }
    }

    /// The manager is gone, and with it all readers.
    pub(super) fn close_streams(&mut self, turn: &mut Turn<'_>) {
        for id in self.streams.by_id.keys().copied().collect::<Vec<_>>() {
            self.close_stream(turn, id);
        }
    }
}

/// What stands behind the arguments of every request for a stream: who asks, and its number.
fn tail(reader: &mut Reader<'_>) -> Result<(String, u32), Malformed> {
    Ok((reader.str()?.to_owned(), reader.u32()?))
}
