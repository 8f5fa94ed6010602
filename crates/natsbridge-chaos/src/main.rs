//! Breaks servers, networks and programs on purpose, and fails where what is lost is not what was reported.
//!
//! `natsbridge-chaos PROGRAM MINUTES SEED ROUND [LIBFAKETIME]`, which `cargo xtask chaos` calls; ROUND 0 means all.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command speaks to its caller by printing")]

mod clock;
mod disk;
mod faults;
mod feed;
mod ledger;
mod program;
mod proxy;
mod receiver;
mod rounds;
mod world;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::clock::Clock;
use crate::rounds::Counted;
use crate::world::World;

/// What stops a round; the text is for people
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What a round is told
pub(crate) struct Settings {
    /// How long things break
    pub(crate) lasting: Duration,
    /// Variables that give programs another clock
    pub(crate) clock: Vec<(&'static str, String)>,
    /// A folder of the round's own
    pub(crate) folder: PathBuf,
    /// Whether each fault is told as it happens
    pub(crate) verbose: bool,
}

/// How long things break in a round; starting, settling and counting come on top
const LASTING: Duration = Duration::from_secs(8);

/// What can be tried
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Acknowledged,
    Counted,
    Rolling,
    EndedSender,
    FullDisk,
    ClockJumps,
}

/// The order of a short run; a long one goes round
const ORDER: [(Kind, bool); 8] = [
    (Kind::Rolling, false),
    (Kind::Acknowledged, false),
    (Kind::Counted, false),
    (Kind::FullDisk, false),
    (Kind::Acknowledged, true),
    (Kind::ClockJumps, false),
    (Kind::EndedSender, false),
    (Kind::Counted, true),
];

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Acknowledged => "acknowledged",
            Self::Counted => "counted",
            Self::Rolling => "rolling restart",
            Self::EndedSender => "sender ended",
            Self::FullDisk => "full disk",
            Self::ClockJumps => "clock jumps",
        }
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (program, numbers, library) = match words.as_slice() {
        [program, minutes, seed, round] => (program, [minutes, seed, round], None),
        [program, minutes, seed, round, library] => (program, [minutes, seed, round], Some(Path::new(library))),
        _ => {
            eprintln!("natsbridge-chaos PROGRAM MINUTES SEED ROUND [LIBFAKETIME]");
            return ExitCode::from(2);
        }
    };
    let [Ok(minutes), Ok(seed), Ok(only)] = numbers.map(|number| number.parse::<u64>()) else {
        eprintln!("MINUTES, SEED and ROUND are whole numbers");
        return ExitCode::from(2);
    };
    let lasting = Duration::from_secs(60 * minutes);
    match run(Path::new(program), lasting, seed, usize::try_from(only).unwrap_or(0), library).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Goes round until the time is over, and at least once through every kind; whether all was right
///
/// With `only`, that one round alone: each draws from its own number, so it is the same one again.
async fn run(program: &Path, lasting: Duration, seed: u64, only: usize, library: Option<&Path>) -> Outcome<bool> {
    println!("seed {seed}");
    println!(
        "{:<6}{:<17}{:>8}{:>8}{:>9}{:>9}{:>8}{:>7}{:>6}{:>10}{:>7}",
        "round", "what", "servers", "faults", "sent", "handled", "again", "twice", "lost", "reported", "s"
    );
    let began = Instant::now();
    let mut all = Counted::default();
    let mut round = only.saturating_sub(1);
    while if only > 0 { round < only } else { round < ORDER.len() || began.elapsed() < lasting } {
        let (kind, clustered) = ORDER[round % ORDER.len()];
        round += 1;
        let mut random = Rng::with_seed(seed.wrapping_mul(1_000_003).wrapping_add(u64::try_from(round)?));
        let folder = tempfile::tempdir()?;
        let started = Instant::now();
        let counted = match play(kind, clustered, program, library, folder.path(), &mut random, only > 0).await {
            Ok(Played::Counted(counted)) => counted,
            Ok(Played::Skipped(why)) => {
                println!("{round:<6}{:<17} skipped: {why}", kind.name());
                continue;
            }
            Err(error) => Counted { wrong: vec![error.to_string()], ..Counted::default() },
        };
        println!(
            "{round:<6}{:<17}{:>8}{:>8}{:>9}{:>9}{:>8}{:>7}{:>6}{:>10}{:>7.1}",
            kind.name(),
            if clustered { 3 } else { 1 },
            counted.faults,
            counted.sent,
            counted.handled,
            counted.again,
            counted.twice,
            counted.lost,
            counted.reported,
            started.elapsed().as_secs_f64()
        );
        for wrong in &counted.wrong {
            println!("      WRONG: {wrong}");
        }
        all.faults += counted.faults;
        all.sent += counted.sent;
        all.handled += counted.handled;
        all.again += counted.again;
        all.twice += counted.twice;
        all.lost += counted.lost;
        all.reported += counted.reported;
        all.wrong.extend(counted.wrong);
    }
    println!(
        "{} in {:.0} s: {} faults, {} sent, {} handled, {} again, {} twice, {} lost, {} reported, {} wrong",
        if only > 0 { format!("round {only}") } else { format!("{round} rounds") },
        began.elapsed().as_secs_f64(),
        all.faults,
        all.sent,
        all.handled,
        all.again,
        all.twice,
        all.lost,
        all.reported,
        all.wrong.len()
    );
    Ok(all.wrong.is_empty())
}

enum Played {
    Counted(Counted),
    Skipped(String),
}

async fn play(
    kind: Kind,
    clustered: bool,
    program: &Path,
    library: Option<&Path>,
    folder: &Path,
    random: &mut Rng,
    verbose: bool,
) -> Outcome<Played> {
    let mut settings = Settings { lasting: LASTING, clock: Vec::new(), folder: folder.to_owned(), verbose };
    let disk = if kind == Kind::FullDisk {
        let at = folder.join("disk");
        std::fs::create_dir(&at)?;
        match disk::Disk::mount(&at) {
            Ok(disk) => Some(disk),
            Err(why) => return Ok(Played::Skipped(format!("no small disk can be mounted here ({why})"))),
        }
    } else {
        None
    };
    let clock = match (kind, library) {
        (Kind::ClockJumps, None) => return Ok(Played::Skipped("libfaketime is not at hand".to_owned())),
        (Kind::ClockJumps, Some(library)) => Some(Clock::new(library, folder)?),
        _ => None,
    };
    let mut world = World::start(program.to_owned(), clustered).await?;
    let counted = match (kind, &disk, &clock) {
        (Kind::FullDisk, Some(disk), _) => disk::full(&mut world, &settings, disk).await?,
        (Kind::ClockJumps, _, Some(clock)) => {
            settings.clock = clock.variables();
            let jumps = clock.jump(random.fork());
            tokio::select! {
                counted = rounds::acknowledged(&mut world, &settings, random) => counted?,
                () = jumps => return Err("the clock could not be set".into()),
            }
        }
        (Kind::Counted, ..) => rounds::counted(&mut world, &settings, random).await?,
        (Kind::Rolling, ..) => rounds::rolling(&world, &settings).await?,
        (Kind::EndedSender, ..) => rounds::ended_sender(&mut world, &settings, random).await?,
        _ => rounds::acknowledged(&mut world, &settings, random).await?,
    };
    Ok(Played::Counted(counted))
}
