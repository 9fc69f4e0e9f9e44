//! `hirtectl exec NODE COMMAND…`: a command on a node, with its output and its exit status.
//!
//! Nothing is done about Ctrl-C: the end of this process ends the stream, and the end of the stream
//! stops the command.

use std::io::{self, Write};

use super::{
    client::Client,
    error::Error,
    exit_status::ExitStatus,
    output::Output,
    stream::{Piece, Stream, exit_status},
};

/// What a shell tells of a command that `SIGPIPE` has ended: nobody reads what it writes.
const BROKEN_PIPE: u8 = 128 + 13;

/// Runs the command and passes on what it writes, each to its own place, as it comes.
pub(super) async fn run(
    client: &mut Client,
    output: &mut Output,
    node: &str,
    command: &[String],
) -> Result<ExitStatus, Error> {
    output.flush();
    let mut stream = Stream::open(client, node, "Exec", &(command,)).await?;
    loop {
        match stream.next().await? {
            Piece::Output(bytes) => match pass_on(&mut io::stdout(), &bytes) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Ok(ExitStatus::OfCommand(BROKEN_PIPE));
                }
                written => written.map_err(Error::Output)?,
            },
            // Where errors can not be written there is nowhere to say so.
            Piece::Errors(bytes) => drop(pass_on(&mut io::stderr(), &bytes)),
            Piece::End { status, result } => {
                let status = exit_status(node, "the command", (status, result))?;
                return Ok(ExitStatus::OfCommand(status));
            }
        }
    }
}

fn pass_on(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes).and_then(|()| to.flush())
}
