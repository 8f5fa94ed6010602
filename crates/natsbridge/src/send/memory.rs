//! Memory that small messages share: saves an allocation that another thread would give back ("publish 1 KB").

use std::sync::Mutex;

use bytes::{Bytes, BytesMut};
use natsbridge_core::{Envelope, Payload};

/// The most bytes in the payloads of a small message
const SMALL: u64 = 4_096;
/// Bytes that small messages share
const SHARED: usize = 32 * 1024;

/// Where a bridge writes its small messages, one behind the other
#[derive(Debug, Default)]
pub(crate) struct SharedMemory(Mutex<BytesMut>);

impl SharedMemory {
    /// The JSON of a message: in the shared memory if it is small and no other task writes there, else in its own
    pub(crate) fn json(&self, envelope: &Envelope) -> Bytes {
        if envelope.payloads().iter().map(Payload::size).sum::<u64>() > SMALL {
            return envelope.to_json();
        }
        match self.0.try_lock() {
            Ok(mut memory) => {
                if memory.capacity() == 0 {
                    *memory = BytesMut::with_capacity(SHARED);
                }
                envelope.write_json(&mut memory);
                memory.split().freeze()
            }
            Err(_) => envelope.to_json(),
        }
    }
}
