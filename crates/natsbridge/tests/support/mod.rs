//! Numbered messages, and the ledger that tells whether each was handled, how often, and unharmed.

use std::time::Duration;

use futures_util::StreamExt as _;
use natsbridge::{Bridge, DeliverOptions, Message};
use tokio::sync::watch;

/// Acknowledged deliveries under way at once
pub(crate) const IN_FLIGHT: usize = 256;

/// Bytes of a message: its number, then what can be told from the number alone
const LEN: usize = 64;

/// Repeats soon, gives up late: a server or a receiver that was killed is back within a second
pub(crate) fn patient() -> DeliverOptions {
    DeliverOptions::default()
        .deadline(Duration::from_secs(60))
        .pauses(Duration::from_millis(200), Duration::from_secs(1))
}

/// The body of message `number`
pub(crate) fn body(number: u64) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    let mut word = number;
    while bytes.len() < LEN {
        word = mixed(word);
        bytes.extend(word.to_le_bytes());
    }
    bytes
}

/// One round of `SplitMix64`: neighbours become strangers
pub(crate) fn mixed(word: u64) -> u64 {
    let mut word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// A checksum in which every byte and its place count (FNV-1a)
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The number and the checksum of a message as it arrived
pub(crate) fn read(message: &Message) -> (u64, u64) {
    let bytes = message.bytes("body").expect("the message has its body");
    let number = bytes.first_chunk().expect("the body begins with the number");
    (u64::from_le_bytes(*number), checksum(&bytes))
}

/// What was handled: how often each number, and the sum of the first checksum of each
#[derive(Debug)]
pub(crate) struct Ledger {
    times: Vec<u32>,
    sum: u64,
}

impl Ledger {
    pub(crate) fn new(messages: u64) -> Self {
        Self { times: vec![0; usize::try_from(messages).unwrap()], sum: 0 }
    }

    /// Enters one message that was handled
    pub(crate) fn enter(&mut self, (number, checksum): (u64, u64)) {
        let times = &mut self.times[usize::try_from(number).unwrap()];
        *times += 1;
        if *times == 1 {
            self.sum = self.sum.wrapping_add(checksum);
        }
    }

    /// Every message was handled at least once, and the sum of their checksums is exact
    pub(crate) fn check_complete(&self) {
        let missing: Vec<_> = (0..self.times.len()).filter(|number| self.times[*number] == 0).take(10).collect();
        assert!(missing.is_empty(), "never handled, though acknowledged: {missing:?} …");
        let numbers = 0..u64::try_from(self.times.len()).unwrap();
        let expected = numbers.fold(0, |sum: u64, number| sum.wrapping_add(checksum(&body(number))));
        assert_eq!(self.sum, expected, "a message was changed on its way");
    }

    /// No message was handled a second time
    pub(crate) fn check_once(&self) {
        let twice: Vec<_> = (0..self.times.len()).filter(|number| self.times[*number] > 1).take(10).collect();
        assert!(twice.is_empty(), "handled more than once within the window: {twice:?} …");
    }
}

/// Delivers all messages, `IN_FLIGHT` at once, tells how many are acknowledged, and returns how often one was repeated
pub(crate) async fn deliver_all(
    sender: &Bridge,
    subject: &str,
    messages: u64,
    acknowledged: &watch::Sender<u64>,
) -> u64 {
    let deliveries = futures_util::stream::iter(0..messages).map(|number| async move {
        let delivered = sender.message(subject).binary("body", body(number)).deliver(&patient()).await;
        u64::from(delivered.unwrap_or_else(|error| panic!("message {number}: {error:?}")).repeats)
    });
    let mut deliveries = deliveries.buffer_unordered(IN_FLIGHT);
    let mut repeats = 0;
    while let Some(more) = deliveries.next().await {
        repeats += more;
        acknowledged.send_modify(|count| *count += 1);
    }
    repeats
}
