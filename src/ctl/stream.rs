//! A stream from a node: its bytes as they come, and how it ended.

use super::{
    call::{Call, decode},
    client::{Client, Signal},
    error::{Error, Subject},
};
use crate::{
    bus::{
        Bytes, Message,
        body::{Arguments, PathRef},
        names::STREAM_INTERFACE,
    },
    limits,
};

/// A stream of ours.
pub(super) struct Stream<'c> {
    client: &'c mut Client,
    path: String,
    /// Who alone may send it: on a bus anyone can send us signals.
    sender: Option<String>,
    /// Bytes that came and were not granted again.
    taken: u32,
}

/// What comes by a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// From standard output.
    Output(Vec<u8>),
    /// From standard error.
    Errors(Vec<u8>),
    /// The last.
    End {
        /// Exit status as a shell tells it, or -1.
        status: i32,
        /// The word for how it ended.
        result: String,
    },
}

impl<'c> Stream<'c> {
    /// Opens a stream by a method of a node.
    pub async fn open<A: Arguments>(
        client: &'c mut Client,
        node: &str,
        method: &'static str,
        arguments: &A,
    ) -> Result<Self, Error> {
        // The manager's departure is told; its signals of a stream are for us alone.
        client.watch(&[]).await?;
        let sender = client.manager_name().await?;
        let object = client.node(node).await?;
        let call = Call::node(&object, method, arguments);
        let body = client.call(call, Subject::Node(node)).await?;
        let (PathRef(path),) = decode(method, &body)?;
        let path = path.to_owned();
        client.tell(Call::grant(&path, limits::MAX_STREAM_CREDIT));
        // A command may be silent for as long as it likes.
        client.waiting_for(None);
        Ok(Self {
            client,
            path,
            sender,
            taken: 0,
        })
    }

    /// The next piece. What came before is taken as used, and as much is asked for.
    pub async fn next(&mut self) -> Result<Piece, Error> {
        if self.taken >= limits::MAX_STREAM_CREDIT / 2 {
            self.client.tell(Call::grant(&self.path, self.taken));
            self.taken = 0;
        }
        loop {
            match self.client.next_signal().await? {
                Signal::ManagerLeft => return Err(Error::ManagerLeft),
                Signal::Told(message) if self.is_ours(&message) => {
                    if let Some(piece) = piece(&message)? {
                        if let Piece::Output(data) | Piece::Errors(data) = &piece {
                            let came = u32::try_from(data.len()).unwrap_or(u32::MAX);
                            self.taken = self.taken.saturating_add(came);
                        }
                        return Ok(piece);
                    }
                }
                Signal::Told(_) => {}
            }
        }
    }

    fn is_ours(&self, message: &Message) -> bool {
        let sender = self.sender.as_ref();
        message.path == self.path
            && message.interface == STREAM_INTERFACE
            && sender.is_none_or(|sender| message.sender == *sender)
    }
}

/// What a signal of a stream brings.
fn piece(message: &Message) -> Result<Option<Piece>, Error> {
    Ok(match message.member.as_str() {
        "Data" => {
            let (channel, Bytes(data)): (u32, Bytes) = decode("Data", &message.body)?;
            Some(if channel == 2 {
                Piece::Errors(data)
            } else {
                Piece::Output(data)
            })
        }
        "End" => {
            let (status, result): (i32, &str) = decode("End", &message.body)?;
            let result = result.to_owned();
            Some(Piece::End { status, result })
        }
        _ => None,
    })
}

/// The exit status that the end of a stream means; an error if it has none.
pub(super) fn exit_status(
    node: &str,
    what: &str,
    (status, result): (i32, String),
) -> Result<u8, Error> {
    u8::try_from(status).map_err(|_| Error::Stream {
        node: node.to_owned(),
        what: what.to_owned(),
        result,
    })
}
