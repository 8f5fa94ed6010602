//! The rounds: programs at work while something breaks, and the sum that has to come out.
#![allow(clippy::print_stdout, reason = "a command speaks to its caller by printing")]

use std::time::Duration;

use fastrand::Rng;
use tokio::process::ChildStdin;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::faults::{Fault, Menu};
use crate::feed::{Feed, THRESHOLD};
use crate::ledger::{Ledger, Read, number};
use crate::program::{Ended, Program};
use crate::receiver::{Life, Receiver};
use crate::world::{Side, World};
use crate::{Outcome, Settings};

/// How long the sender repeats what is not acknowledged: longer than all faults of a round together
const TIMEOUT: &str = "90s";

/// How long its end may take in all
const SENDER_END: Duration = Duration::from_secs(120);

/// How long the last message may take to arrive once everything is mended
const CALM: Duration = Duration::from_secs(40);

/// What a round counted
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) faults: usize,
    pub(crate) sent: u64,
    pub(crate) handled: u64,
    pub(crate) again: u64,
    pub(crate) twice: u64,
    pub(crate) lost: u64,
    pub(crate) reported: u64,
    /// What should not have been, in words
    pub(crate) wrong: Vec<String>,
}

impl Counted {
    pub(crate) fn check(&mut self, right: bool, wrong: impl FnOnce() -> String) {
        if !right {
            self.wrong.push(wrong());
        }
    }

    /// Takes over what all lives of all receivers printed; gives how many messages they said they left unhandled
    fn read(&mut self, lives: &[Life]) -> (Ledger, u64) {
        let mut ledger = Ledger::default();
        for life in lives {
            ledger.enter(&life.ended.output);
            self.wrong.extend(life.wrong());
        }
        (self.handled, self.again, self.twice) = (ledger.handled(), ledger.again, ledger.twice);
        let twice = ledger.twice;
        self.check(twice == 0, || format!("{twice} messages were handled twice by one life of a receiver"));
        if let Some(line) = ledger.strange.first() {
            self.wrong.push(format!("a receiver printed what was not sent: {line}"));
        }
        let unhandled =
            lives.iter().filter(|life| !life.killed).filter_map(|life| life.ended.number("unhandled")).sum();
        (ledger, unhandled)
    }
}

fn start_sender(world: &World, settings: &Settings, words: &[&str]) -> Outcome<Program> {
    let mut all = vec!["send", "chaos.lines", "--lines", "--threshold", THRESHOLD];
    all.extend(words);
    let mut variables = world.settings(Side::Sender);
    variables.extend(settings.clock.clone());
    Program::start(&world.program, &all, &variables)
}

/// Lines on their way into a sender, written by a task of their own
struct Feeding {
    stop: watch::Sender<bool>,
    task: JoinHandle<(ChildStdin, u64)>,
}

impl Feeding {
    /// Goes on behind line number `from`
    fn start(mut stdin: ChildStdin, feed: Feed, from: u64) -> Self {
        let stop = watch::Sender::new(false);
        let stopped = stop.subscribe();
        let task = tokio::spawn(async move {
            let last = feed.write(&mut stdin, from, stopped).await;
            (stdin, last)
        });
        Self { stop, task }
    }

    /// Stops; gives the input back, and the number of the last line
    async fn end(self) -> Outcome<(ChildStdin, u64)> {
        self.stop.send_replace(true);
        Ok(timeout(SENDER_END, self.task).await??)
    }
}

/// Faults one after the other until the time is over
async fn break_things(
    world: &mut World,
    receivers: &mut [Receiver],
    random: &mut Rng,
    menu: Menu,
    settings: &Settings,
) -> Outcome<usize> {
    let began = Instant::now();
    let mut faults = 0;
    while began.elapsed() < settings.lasting {
        sleep(Duration::from_millis(random.u64(300..900))).await;
        let fault = Fault::draw(random, menu);
        if settings.verbose {
            println!("      after {:.1} s: {fault:?}", began.elapsed().as_secs_f64());
        }
        match fault {
            Fault::Receiver { kill, number } => {
                let index = number % receivers.len();
                receivers[index].restart(world, kill).await?;
            }
            _ => fault.happen(world).await?,
        }
        faults += 1;
    }
    world.mend();
    Ok(faults)
}

/// Acknowledged messages to a group of two: every acknowledged one was handled, and what was not is reported
pub(crate) async fn acknowledged(world: &mut World, settings: &Settings, random: &mut Rng) -> Outcome<Counted> {
    let group = ["--queue", "workers", "--ack"];
    let mut receivers =
        [Receiver::start(world, settings, &group).await?, Receiver::start(world, settings, &group).await?];
    let mut sender = start_sender(world, settings, &["--ack", "1", "--timeout", TIMEOUT])?;
    let stdin = sender.stdin().ok_or("a sender without input")?;
    let feeding = Feeding::start(stdin, Feed { per_second: 400, links: true }, 0);
    let menu = Menu { forget: true, files: true, receivers: true };
    let faults = break_things(world, &mut receivers, random, menu, settings).await?;
    drop(feeding.end().await?);
    let sent = sender.end(SENDER_END).await?;
    let mut counted = Counted { faults, ..Counted::default() };
    settle(&mut counted, &sent, receivers).await?;
    Ok(counted)
}

/// The same while the sender itself is asked to end in the middle
pub(crate) async fn ended_sender(world: &mut World, settings: &Settings, random: &mut Rng) -> Outcome<Counted> {
    let mut receivers = [Receiver::start(world, settings, &["--ack"]).await?];
    let mut sender = start_sender(world, settings, &["--ack", "1", "--timeout", TIMEOUT])?;
    let stdin = sender.stdin().ok_or("a sender without input")?;
    let feeding = Feeding::start(stdin, Feed { per_second: 1_000, links: true }, 0);
    let menu = Menu { forget: false, files: true, receivers: false };
    let faults = break_things(world, &mut receivers, random, menu, settings).await?;
    sender.terminate()?;
    let sent = sender.end(SENDER_END).await?;
    feeding.end().await?;
    let mut counted = Counted { faults: faults + 1, ..Counted::default() };
    settle(&mut counted, &sent, receivers).await?;
    Ok(counted)
}

/// Holds an acknowledged run's own sum against what the receivers printed
async fn settle(counted: &mut Counted, sent: &Ended, receivers: impl IntoIterator<Item = Receiver>) -> Outcome<()> {
    let mut lives = Vec::new();
    for receiver in receivers {
        lives.extend(receiver.end().await?);
    }
    let (ledger, _) = counted.read(&lives);
    let said = |word| sent.number(word).ok_or_else(|| format!("the sender did not say `{word}`{}", sent.quoted()));
    let (lines, acknowledged) = (said("read")?, said("acknowledged")?);
    counted.sent = lines;
    counted.lost = ledger.missing(lines);
    counted.reported = lines.saturating_sub(acknowledged);
    let (lost, reported, handled) = (counted.lost, counted.reported, counted.handled);
    counted.check(lost <= reported, || {
        format!("{lost} of {lines} lines were handled by nobody, {reported} are reported{}", sent.quoted())
    });
    counted.check(acknowledged <= handled, || format!("{acknowledged} are said acknowledged, {handled} were handled"));
    counted.check((reported == 0) == sent.status.success(), || {
        format!("the sender reports {reported} and ended with {}{}", sent.status, sent.quoted())
    });
    // Every fault was mended long before a message's time was over.
    counted.check(reported == 0, || format!("{reported} lines were given up{}", sent.quoted()));
    Ok(())
}

/// Messages nobody acknowledges, to one receiver: what it did not get, it counts
pub(crate) async fn counted(world: &mut World, settings: &Settings, random: &mut Rng) -> Outcome<Counted> {
    let receiver = Receiver::start(world, settings, &[]).await?;
    let lines = receiver.lines().ok_or("a receiver without output")?;
    let seen = move |wanted: u64| {
        lines.borrow().iter().rev().take(20).any(|line| matches!(number(line), Read::Number(found) if found >= wanted))
    };
    let mut sender = start_sender(world, settings, &[])?;
    let mut stdin = sender.stdin().ok_or("a sender without input")?;
    let feed = Feed { per_second: 1_000, links: false };
    // Both know each other's numbers before anything breaks.
    let mut last = 0;
    if !feed.write_until_seen(&mut stdin, &mut last, CALM, &seen).await {
        return Err("the first message did not arrive".into());
    }
    let feeding = Feeding::start(stdin, feed, last);
    let menu = Menu { forget: true, files: false, receivers: false };
    let mut receivers = [receiver];
    let faults = break_things(world, &mut receivers, random, menu, settings).await?;
    let (mut stdin, mut last) = feeding.end().await?;
    let arrived = feed.write_until_seen(&mut stdin, &mut last, CALM, &seen).await;
    drop(stdin);
    let sent = sender.end(SENDER_END).await?;
    let mut counted = Counted { faults, ..Counted::default() };
    counted.check(arrived, || "the last message did not arrive after everything was mended".to_owned());
    let [receiver] = receivers;
    let lives = receiver.end().await?;
    let (ledger, unhandled) = counted.read(&lives);
    counted.sent = sent.number("sent").ok_or_else(|| format!("the sender did not say `sent`{}", sent.quoted()))?;
    counted.lost = ledger.missing(last);
    let told = lives.first().and_then(|life| life.ended.number("lost")).unwrap_or(0);
    counted.reported = told + unhandled;
    let (lost, reported) = (counted.lost, counted.reported);
    let said = lives.first().map(|life| life.ended.quoted()).unwrap_or_default();
    counted.check(lost == reported, || format!("{lost} messages were lost, the receiver reports {reported}{said}"));
    Ok(counted)
}

/// A group of two at 1,000 messages a second, each asked to end in turn and started again: nothing is lost
pub(crate) async fn rolling(world: &World, settings: &Settings) -> Outcome<Counted> {
    let group = ["--queue", "workers"];
    let mut receivers =
        [Receiver::start(world, settings, &group).await?, Receiver::start(world, settings, &group).await?];
    let mut sender = start_sender(world, settings, &[])?;
    let stdin = sender.stdin().ok_or("a sender without input")?;
    let feeding = Feeding::start(stdin, Feed { per_second: 1_000, links: false }, 0);
    let mut counted = Counted::default();
    for _ in 0..5 {
        for receiver in &mut receivers {
            sleep(settings.lasting / 20).await;
            receiver.restart(world, false).await?;
            counted.faults += 1;
        }
    }
    let (stdin, last) = feeding.end().await?;
    drop(stdin);
    let sent = sender.end(SENDER_END).await?;
    // What the sender has confirmed has reached the servers; the receivers are asked to end after that.
    let mut lives = Vec::new();
    for receiver in receivers {
        lives.extend(receiver.end().await?);
    }
    let (ledger, unhandled) = counted.read(&lives);
    counted.sent = sent.number("sent").ok_or_else(|| format!("the sender did not say `sent`{}", sent.quoted()))?;
    counted.lost = ledger.missing(last);
    counted.reported = unhandled;
    let (lost, all) = (counted.lost, counted.sent);
    counted.check(all == last, || format!("{last} lines were written, {all} were sent"));
    counted.check(lost == unhandled, || format!("{lost} messages were lost, {unhandled} are reported as unhandled"));
    counted.check(unhandled == 0, || format!("{unhandled} messages were left unhandled within the grace"));
    Ok(counted)
}
