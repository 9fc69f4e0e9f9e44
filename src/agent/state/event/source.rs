//! What the source of a stream reports: the pipes by which the output of a unit comes.

use serde::{Deserialize, Serialize};

use crate::bus::Bytes;

/// What happened to a source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromSource {
    /// The pipes are there: the paths for standard output and standard error, or why they could
    /// not be made.
    Opened(Result<[String; 2], String>),
    /// Something was read.
    Data {
        /// 1 for standard output, 2 for standard error.
        channel: u32,
        /// What was read.
        data: Bytes,
    },
    /// Both pipes are at their end. Its last event.
    Drained,
}
