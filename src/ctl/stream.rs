//! A stream from a node: its bytes as they come, and how it ended.

use serde::Serialize;
use zbus::{DynamicType, OwnedObjectPath};

use super::{
    client::{Call, Client, Signal, decode},
    error::{Error, Subject},
};
use crate::limits;

/// A stream of ours.
#[derive(Debug)]
pub(super) struct Stream<'c> {
    client: &'c mut Client,
    path: OwnedObjectPath,
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
    pub async fn open<B: Serialize + DynamicType>(
        client: &'c mut Client,
        node: &str,
        method: &'static str,
        arguments: &B,
    ) -> Result<Self, Error> {
        client.watch_manager().await?;
        let object = client.node(node).await?;
        let call = Call::node(&object, method, arguments);
        let body = client.call(call, Subject::Node(node)).await?;
        let path = decode::<OwnedObjectPath>(method, &body)?;
        client
            .tell(Call::grant(&path, limits::MAX_STREAM_CREDIT))
            .await?;
        Ok(Self {
            client,
            path,
            taken: 0,
        })
    }

    /// The next piece. What came before is taken as used, and as much is asked for.
    pub async fn next(&mut self) -> Result<Piece, Error> {
        if self.taken >= limits::MAX_STREAM_CREDIT / 2 {
            let grant = Call::grant(&self.path, self.taken);
            self.taken = 0;
            self.client.tell(grant).await?;
        }
        loop {
            match self.client.next_signal().await? {
                Signal::ManagerLeft => return Err(Error::ManagerLeft),
                Signal::StreamData {
                    path,
                    channel,
                    data,
                } if path == self.path.as_str() => {
                    let came = u32::try_from(data.len()).unwrap_or(u32::MAX);
                    self.taken = self.taken.saturating_add(came);
                    return Ok(if channel == 2 {
                        Piece::Errors(data)
                    } else {
                        Piece::Output(data)
                    });
                }
                Signal::StreamEnd {
                    path,
                    status,
                    result,
                } if path == self.path.as_str() => return Ok(Piece::End { status, result }),
                Signal::StreamData { .. }
                | Signal::StreamEnd { .. }
                | Signal::JobRemoved { .. } => {}
            }
        }
    }
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
