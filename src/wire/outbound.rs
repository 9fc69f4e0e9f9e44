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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_order_through_a_narrow_socket() {
        let mut outbound = Outbound::default();
        let mut expected = Vec::new();
        let mut taken = Vec::new();
        for round in 0..200_u8 {
            let bytes = vec![round; usize::from(round % 7) + 1];
            expected.extend_from_slice(&bytes);
            outbound.append(bytes);
            let mut room = usize::from(round % 5);
            let all = outbound.write_to(|bytes| {
                if room == 0 {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                let fits = bytes.len().min(room);
                room -= fits;
                taken.extend_from_slice(&bytes[..fits]);
                Ok(fits)
            });
            assert_eq!(all.unwrap(), outbound.is_empty());
            assert_eq!(outbound.len(), expected.len() - taken.len());
            assert!(outbound.bytes.len() <= 2 * outbound.len() + 8);
        }
        let rest = outbound.write_to(|bytes| {
            taken.extend_from_slice(bytes);
            Ok(bytes.len())
        });
        assert!(rest.unwrap());
        assert_eq!(taken, expected);
        assert_eq!(outbound.bytes.capacity(), 0, "an idle link keeps no memory");
    }

    #[test]
    fn an_interrupted_write_is_repeated_and_an_error_is_reported() {
        let mut outbound = Outbound::default();
        outbound.append(vec![1, 2, 3]);
        let mut errors = vec![io::ErrorKind::BrokenPipe, io::ErrorKind::Interrupted];
        let result = outbound.write_to(|_| Err(errors.pop().unwrap().into()));
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(outbound.len(), 3);
    }
}
