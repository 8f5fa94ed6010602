//! A receiver with all its lives: ended, killed, started again, and read at the end.

use std::time::Duration;

use tokio::sync::watch;

use crate::program::{Ended, Program};
use crate::world::{Side, World};
use crate::{Outcome, Settings};

/// How long a receiver may handle what has arrived when it is asked to end
const GRACE: &str = "10s";

/// How long its end may take in all
const END: Duration = Duration::from_secs(20);

/// The exit code of a receiver that left arrived messages unhandled, and says how many
const UNHANDLED: i32 = 9;

/// The exit code of a receiver that could not read a message, and has told its sender
const UNREADABLE: i32 = 6;

pub(crate) struct Receiver {
    words: Vec<&'static str>,
    variables: Vec<(&'static str, String)>,
    running: Option<Program>,
    ended: Vec<Life>,
}

/// One life that is over
pub(crate) struct Life {
    pub(crate) killed: bool,
    pub(crate) ended: Ended,
}

impl Life {
    /// Why its end was wrong, if it was
    pub(crate) fn wrong(&self) -> Option<String> {
        let ended = &self.ended;
        let (code, unhandled) = (ended.status.code(), ended.number("unhandled").unwrap_or(0));
        match code {
            _ if self.killed => None,
            Some(0 | UNREADABLE) if unhandled == 0 => None,
            Some(UNHANDLED) if unhandled > 0 => None,
            _ => Some(format!("a receiver ended with {} and {unhandled} unhandled{}", ended.status, ended.quoted())),
        }
    }
}

impl Receiver {
    pub(crate) async fn start(world: &World, settings: &Settings, words: &[&'static str]) -> Outcome<Self> {
        let mut all = vec!["receive", "chaos.lines", "--json", "--grace", GRACE];
        all.extend(words);
        let mut variables = world.settings(Side::Receiver);
        variables.extend(settings.clock.clone());
        let mut receiver = Self { words: all, variables, running: None, ended: Vec::new() };
        receiver.launch(world).await?;
        Ok(receiver)
    }

    async fn launch(&mut self, world: &World) -> Outcome<()> {
        let running = Program::start(&world.program, &self.words, &self.variables)?;
        running.ready("subscribed to").await?;
        self.running = Some(running);
        Ok(())
    }

    pub(crate) fn lines(&self) -> Option<watch::Receiver<Vec<String>>> {
        self.running.as_ref().map(Program::lines)
    }

    /// Ends this life and starts the next
    pub(crate) async fn restart(&mut self, world: &World, kill: bool) -> Outcome<()> {
        self.stop(kill).await?;
        self.launch(world).await
    }

    async fn stop(&mut self, kill: bool) -> Outcome<()> {
        let Some(running) = self.running.take() else { return Ok(()) };
        let ended = if kill {
            running.kill().await?
        } else {
            running.terminate()?;
            running.end(END).await?
        };
        self.ended.push(Life { killed: kill, ended });
        Ok(())
    }

    /// Asks the last life to end; gives all of them
    pub(crate) async fn end(mut self) -> Outcome<Vec<Life>> {
        self.stop(false).await?;
        Ok(self.ended)
    }
}
