//! The bytes that a link still has to send.

use std::io;

/// Bytes that wait until the kernel takes them.
#[derive(Default)]
pub(super) struct Outbound {
    bytes: Vec<u8>,
    /// How many of `bytes` the kernel has taken.
    sent: usize,
}

impl Outbound {
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends bytes; a lone message keeps the memory it was encoded in.
    pub(super) fn append(&mut self, bytes: Vec<u8>) {
        if self.is_empty() {
            self.bytes = bytes;
            self.sent = 0;
            return;
        }
        // What was sent goes when it is more than half, so that each byte is moved once at most.
        if self.sent > self.bytes.len() / 2 {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        self.bytes.extend_from_slice(&bytes);
    }

    /// Hands bytes to `write` until all are taken, an error comes, or fewer are taken than were
    /// offered, which means that the socket is full. Returns whether all are taken.
    pub(super) fn write_to(
        &mut self,
        mut write: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<bool> {
        while !self.is_empty() {
            let offered = self.len();
            match write(&self.bytes[self.sent..]) {
                Ok(taken) => {
                    self.sent += taken;
                    if taken < offered {
                        return Ok(false);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        *self = Self::default();
        Ok(true)
    }
}
