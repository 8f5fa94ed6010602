//! Messages on their way to being printed: several load at once, and order is kept as far as was asked for.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::Instant;

use crate::session::until;

/// Messages that are held at once; more wait in the subscription
const HELD: usize = 512;

/// Bytes of what came inside messages that are held at once
const HELD_BYTES: u64 = 4 * 1024 * 1024;

/// How long a message that still loads holds up later ones that are whole
const PATIENCE: Duration = Duration::from_secs(5);

/// In which order messages are handed out
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// As they came, but none waits longer than [`PATIENCE`] for an earlier one
    Patient,
    /// As they came
    Strict,
    /// As they are whole
    Free,
}

/// What is made of messages, each in its own time
pub(super) struct Ahead<T> {
    order: Order,
    slots: VecDeque<Slot<T>>,
    running: FuturesUnordered<BoxFuture<'static, (u64, T)>>,
    number: u64,
    bytes: u64,
}

struct Slot<T> {
    number: u64,
    since: Instant,
    bytes: u64,
    done: Option<T>,
}

impl<T: Send + 'static> Ahead<T> {
    pub(super) fn new(order: Order) -> Self {
        Self { order, slots: VecDeque::new(), running: FuturesUnordered::new(), number: 0, bytes: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        self.slots.len() < HELD && self.bytes < HELD_BYTES
    }

    /// Adds what is made of the next message, which holds so many bytes
    pub(super) fn push(&mut self, bytes: u64, work: impl Future<Output = T> + Send + 'static) {
        let number = self.number;
        self.number += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        self.slots.push_back(Slot { number, since: Instant::now(), bytes, done: None });
        self.running.push(Box::pin(async move { (number, work.await) }));
    }

    /// The next that may be handed out now
    pub(super) fn take(&mut self) -> Option<T> {
        let at = self.slots.iter().position(|slot| slot.done.is_some() || !self.may_be_passed(slot))?;
        self.slots.get(at)?.done.as_ref()?;
        let slot = self.slots.remove(at)?;
        self.bytes = self.bytes.saturating_sub(slot.bytes);
        slot.done
    }

    fn may_be_passed(&self, slot: &Slot<T>) -> bool {
        match self.order {
            Order::Patient => slot.since.elapsed() >= PATIENCE,
            Order::Strict => false,
            Order::Free => true,
        }
    }

    /// Goes on with all of them, until [`Self::take`] may have something new; at once where nothing is held
    pub(super) async fn progress(&mut self) {
        if self.running.is_empty() {
            return;
        }
        let holding = self.slots.iter().find(|slot| slot.done.is_none() && !self.may_be_passed(slot));
        let patience = holding.filter(|_| self.order == Order::Patient).map(|slot| slot.since + PATIENCE);
        tokio::select! {
            biased;
            Some((number, done)) = self.running.next() => {
                if let Some(slot) = self.slots.iter_mut().find(|slot| slot.number == number) {
                    slot.done = Some(done);
                }
            }
            () = until(patience) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The order and the seconds in which messages that take this long are handed out
    async fn order_of(order: Order, seconds: &[u64]) -> Vec<(usize, u64)> {
        let start = Instant::now();
        let mut ahead = Ahead::new(order);
        for (n, seconds) in seconds.iter().copied().enumerate() {
            ahead.push(0, async move {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                n
            });
        }
        let mut taken = Vec::new();
        while !ahead.is_empty() {
            while let Some(n) = ahead.take() {
                taken.push((n, start.elapsed().as_secs()));
            }
            ahead.progress().await;
        }
        taken
    }

    #[tokio::test(start_paused = true)]
    async fn slow_message_holds_up_others_for_seconds_only() {
        assert_eq!(order_of(Order::Patient, &[2, 0, 1]).await, [(0, 2), (1, 2), (2, 2)]);
        assert_eq!(order_of(Order::Patient, &[60, 0, 1, 8]).await, [(1, 5), (2, 5), (3, 8), (0, 60)]);
    }

    #[tokio::test(start_paused = true)]
    async fn order_is_kept_or_given_up_as_asked() {
        assert_eq!(order_of(Order::Strict, &[60, 0, 1]).await, [(0, 60), (1, 60), (2, 60)]);
        assert_eq!(order_of(Order::Free, &[60, 0, 1]).await, [(1, 0), (2, 1), (0, 60)]);
    }

    #[tokio::test(start_paused = true)]
    async fn room_is_bounded_by_messages_and_bytes() {
        let mut ahead = Ahead::new(Order::Patient);
        ahead.push(HELD_BYTES, async {});
        assert!(!ahead.has_room());
        ahead.progress().await;
        assert!(ahead.take().is_some() && ahead.has_room());
        for _ in 0..HELD {
            ahead.push(0, async {});
        }
        assert!(!ahead.has_room());
    }
}
