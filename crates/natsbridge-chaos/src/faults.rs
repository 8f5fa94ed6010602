//! What goes wrong, drawn by the seed: one fault at a time, each mended before the next.

use std::time::Duration;

use fastrand::Rng;

use crate::Outcome;
use crate::proxy::Mode;
use crate::world::{Side, World};

/// One thing that goes wrong
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// A network holds its bytes back for a while
    Stall(Side, Mode, Duration),
    /// Every connection of a side is reset
    Reset(Side),
    /// Every connection of a side is forgotten, and nobody is told
    Forget(Side),
    /// A nats-server is killed
    Node(usize, Duration),
    /// The file server is killed, or asked to end
    Files { kill: bool, away: Duration },
    /// The file server's network holds its bytes back, or resets its connections
    FilesNetwork { reset: bool, stalled: Duration },
    /// A receiver is killed, or asked to end; the round starts its successor
    Receiver { kill: bool, number: usize },
}

/// Which faults a round can take
#[derive(Debug, Clone, Copy)]
pub(crate) struct Menu {
    /// Connections that vanish without a word; each takes some ten seconds to be noticed
    pub(crate) forget: bool,
    pub(crate) files: bool,
    pub(crate) receivers: bool,
}

impl Fault {
    pub(crate) fn draw(random: &mut Rng, menu: Menu) -> Self {
        let side = if random.bool() { Side::Sender } else { Side::Receiver };
        let short = Duration::from_millis(random.u64(100..1_500));
        loop {
            return match random.u8(0..10) {
                0 => Self::Stall(side, Mode::Stall, short),
                1 => Self::Stall(side, Mode::StallUp, short),
                2 => Self::Stall(side, Mode::StallDown, short),
                3 => Self::Reset(side),
                4 if menu.forget => Self::Forget(side),
                5 => Self::Node(random.usize(0..3), short / 3),
                6 if menu.files => Self::Files { kill: random.bool(), away: short / 3 },
                7 if menu.files => Self::FilesNetwork { reset: random.bool(), stalled: short },
                8 | 9 if menu.receivers => Self::Receiver { kill: random.bool(), number: random.usize(0..2) },
                _ => continue,
            };
        }
    }

    /// Makes it happen and mends it; a receiver's end is the round's own business
    pub(crate) async fn happen(self, world: &mut World) -> Outcome<()> {
        match self {
            Self::Stall(side, mode, time) => {
                world.networks(side).iter().for_each(|network| network.set(mode));
                tokio::time::sleep(time).await;
                world.networks(side).iter().for_each(|network| network.set(Mode::Pass));
            }
            Self::Reset(side) => world.networks(side).iter().for_each(crate::proxy::Proxy::reset),
            Self::Forget(side) => world.networks(side).iter().for_each(crate::proxy::Proxy::forget),
            Self::Node(number, away) => world.restart_node(number, away).await?,
            Self::Files { kill, away } => world.files.restart(kill, away).await?,
            Self::FilesNetwork { reset: true, .. } => world.files.network.reset(),
            Self::FilesNetwork { stalled, .. } => {
                world.files.network.set(Mode::Stall);
                tokio::time::sleep(stalled).await;
                world.files.network.set(Mode::Pass);
            }
            Self::Receiver { .. } => {}
        }
        Ok(())
    }
}
