//! `cargo xtask clients`: the package of each language in `clients/`, checked by its own script against real servers.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result, bail};
use fs_err::{self as fs, File};

use crate::interrupt;
use crate::process::Deadline;
use crate::servers::{self, Port, Server};
use crate::tools;
use crate::workspace::{self, TempFolder, entries, forget_cargo, name_of, root};

/// The exit code of a script whose language can't be had on this machine; its last line says why
const SKIPPED: i32 = 77;

/// How long one script may take, with everything that it installs on a fresh machine
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// How long the servers may take to start
const START: Duration = Duration::from_secs(30);

/// How often a wait looks up
const GLANCE: Duration = Duration::from_millis(50);

/// Lines of a failed script that are shown; the end of it, where the failure is
const SHOWN: usize = 400;

/// What was asked for on the command line
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The languages to check; all of them where none is named
    languages: Vec<String>,
    /// Fail where one of these can't be had
    #[arg(long, value_delimiter = ',')]
    require: Vec<String>,
}

/// What became of a language's script
#[derive(Debug, PartialEq)]
enum Verdict {
    Checked,
    Skipped,
    Failed,
}

/// One line of the table
#[derive(Debug)]
struct Row {
    language: String,
    verdict: Verdict,
    took: Duration,
    /// The last line that the script printed
    said: String,
}

/// Checks the languages, prints a table, and fails where one failed or a required one was skipped
pub(crate) fn run(options: &Options) -> Result<()> {
    let there = languages(&root().join("clients"))?;
    let asked = if options.languages.is_empty() { &there } else { &options.languages };
    if let Some(name) = options.require.iter().find(|name| !asked.contains(name)) {
        bail!("{name} is required and not among the languages to check");
    }
    if let Some(name) = asked.iter().find(|name| !there.contains(name)) {
        let known = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        bail!("there is no clients/{name}/check.sh; there is {known}");
    }
    if asked.is_empty() {
        println!("clients/ has no check.sh: nothing to check");
        return Ok(());
    }
    let stage = Stage::set()?;
    let mut rows = Vec::new();
    for language in asked {
        interrupt::check()?;
        println!("\n== {language}: clients/{language}/check.sh");
        let work = TempFolder::create()?;
        let log = TempFolder::create()?;
        let script = root().join("clients").join(language).join("check.sh");
        let mut command = stage.command(&script, work.path());
        let row = check(language, &mut command, &log.path().join("log"), LIMIT)?;
        println!("{}", row.said);
        rows.push(row);
    }
    print_table(&rows);
    judge(&rows, &options.require)
}

/// The folders that have a script
fn languages(clients: &Path) -> Result<Vec<String>> {
    if !clients.is_dir() {
        return Ok(Vec::new());
    }
    let with_script = entries(clients)?.into_iter().filter(|folder| folder.join("check.sh").is_file());
    Ok(with_script.map(|folder| name_of(&folder)).collect())
}

/// The servers and programs that every script is told of
struct Stage {
    natsbridge: PathBuf,
    nats_server: PathBuf,
    tools: PathBuf,
    websocket: String,
    nats: Server,
    files: Server,
    s3: Server,
    _folder: TempFolder,
}

impl Stage {
    fn set() -> Result<Self> {
        let natsbridge = workspace::natsbridge()?;
        let folder = TempFolder::create()?;
        let deadline = Deadline::after(START);
        let (nats, websocket) = servers::start_nats_with_websocket(folder.path(), deadline)?;
        let files = servers::start_public_files(&natsbridge, &folder.path().join("files"), Port::Any, deadline)?;
        let s3 = servers::start_s3(&folder.path().join("s3"), deadline)?;
        println!("nats-server  {}  {websocket}\nfile server  {}\nS3 server    {}", nats.url, files.url, s3.url);
        let natsbridge = plain(&natsbridge, folder.path())?;
        Ok(Self {
            natsbridge,
            nats_server: tools::NATS_SERVER.locate()?,
            tools: tools::cache()?,
            websocket,
            nats,
            files,
            s3,
            _folder: folder,
        })
    }

    /// A script with everything that the contract in docs/peers.md names
    fn command(&self, script: &Path, work: &Path) -> Command {
        let mut command = servers::clean(Path::new("bash"));
        command
            .arg(script)
            .current_dir(root())
            .env("NATS_URL", &self.nats.url)
            .env("NATS_WS_URL", &self.websocket)
            .env("FILESERVER_URL", &self.files.url)
            .env("S3_URL", &self.s3.url)
            .env("S3_BUCKET", servers::S3_BUCKET)
            .env("AWS_ACCESS_KEY_ID", servers::S3_ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", servers::S3_SECRET_KEY)
            .env("NATSBRIDGE", &self.natsbridge)
            .env("NATS_SERVER", &self.nats_server)
            .env("TOOLS", &self.tools)
            .env("WORK", work);
        forget_cargo(&mut command);
        command
    }
}

/// The program as scripts start it: `S3_URL` is an address for them, and the program would store everything there
fn plain(natsbridge: &Path, folder: &Path) -> Result<PathBuf> {
    let path = folder.join("natsbridge");
    let script = format!("#!/bin/sh\nunset S3_URL\nexec '{}' \"$@\"\n", natsbridge.display());
    fs::write(&path, script)?;
    fs::set_permissions(&path, Permissions::from_mode(0o755))?;
    Ok(path)
}

/// Runs a script to its end; shows what it printed where it failed
fn check(language: &str, command: &mut Command, log: &Path, limit: Duration) -> Result<Row> {
    let output = File::create(log)?.into_file();
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
    let began = Instant::now();
    let mut group = Group(command.spawn().with_context(|| format!("cannot start {language}'s check.sh"))?);
    let code = loop {
        if let Some(status) = group.0.try_wait().with_context(|| format!("cannot wait for {language}'s check.sh"))? {
            break status.code();
        }
        interrupt::check()?;
        if began.elapsed() > limit {
            break None;
        }
        thread::sleep(GLANCE);
    };
    let in_time = began.elapsed() <= limit;
    drop(group);
    let took = began.elapsed();
    let printed = fs::read(log)?;
    let printed = String::from_utf8_lossy(&printed);
    let said = printed.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned();
    let (verdict, said) = match code {
        Some(0) => (Verdict::Checked, said),
        Some(SKIPPED) => (Verdict::Skipped, said.strip_prefix("skipped:").map_or(said.as_str(), str::trim).to_owned()),
        _ => (Verdict::Failed, if in_time { said } else { format!("not done after {} s: {said}", limit.as_secs()) }),
    };
    if verdict == Verdict::Failed {
        let lines: Vec<_> = printed.lines().collect();
        let skipped = lines.len().saturating_sub(SHOWN);
        if skipped > 0 {
            println!("  | … {skipped} lines before");
        }
        lines.iter().skip(skipped).for_each(|line| println!("  | {line}"));
    }
    Ok(Row { language: language.to_owned(), verdict, took, said })
}

/// A script and whatever it started, all ended on drop
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // A server that the script left behind is in its group. There is none to end where all went well.
        let group = format!("-{}", self.0.id());
        let _ = Command::new("bash").args(["-c", "kill -KILL -- \"$0\"", &group]).stderr(Stdio::null()).status();
        let _ = self.0.wait();
    }
}

fn print_table(rows: &[Row]) {
    println!("\n{:<14}{:<9}{:>8}  last line", "client", "result", "seconds");
    for Row { language, verdict, took, said } in rows {
        let verdict = format!("{verdict:?}").to_lowercase();
        let said: String = said.chars().take(46).collect();
        println!("{language:<14}{verdict:<9}{:>8.1}  {said}", took.as_secs_f64());
    }
}

/// Whether what happened is good enough
fn judge(rows: &[Row], required: &[String]) -> Result<()> {
    let wrong = |row: &&Row| {
        row.verdict == Verdict::Failed || (row.verdict == Verdict::Skipped && required.contains(&row.language))
    };
    let said = |row: &Row| match row.verdict {
        Verdict::Skipped => format!("{} is required and was skipped: {}", row.language, row.said),
        _ => format!("{} failed: {}", row.language, row.said),
    };
    let wrong: Vec<_> = rows.iter().filter(wrong).map(said).collect();
    if wrong.is_empty() { Ok(()) } else { Err(Error::msg(wrong.join("\n"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(script: &str) -> Row {
        let folder = TempFolder::create().unwrap();
        let mut command = Command::new("bash");
        command.args(["-c", script]).env("LEFT", folder.path().join("left"));
        check("cobol", &mut command, &folder.path().join("log"), Duration::from_secs(5)).unwrap()
    }

    #[test]
    fn exit_code_decides_and_the_last_line_is_kept() {
        let row = checked("echo a; echo '12 tests, 3 checks' >&2; echo");
        assert_eq!((row.verdict, row.said.as_str()), (Verdict::Checked, "12 tests, 3 checks"));
        let row = checked("echo 'skipped: no cobol'; exit 77");
        assert_eq!((row.verdict, row.said.as_str()), (Verdict::Skipped, "no cobol"));
        for script in ["exit 1", "echo skipped: x; exit 76", "kill -9 $$"] {
            assert_eq!(checked(script).verdict, Verdict::Failed, "{script}");
        }
    }

    #[test]
    fn script_that_hangs_fails_and_what_it_started_ends_with_it() {
        let folder = TempFolder::create().unwrap();
        let mut command = Command::new("bash");
        command.args(["-c", "sleep 60 & echo $!; wait"]);
        let row = check("cobol", &mut command, &folder.path().join("log"), Duration::from_millis(500)).unwrap();
        assert_eq!(row.verdict, Verdict::Failed);
        let left = row.said.rsplit(' ').next().unwrap_or_default();
        // A killed process whose parent is gone stays for a moment.
        let gone = (0..100).any(|_| {
            thread::sleep(GLANCE);
            let state = fs::read_to_string(format!("/proc/{left}/stat")).unwrap_or_default();
            state.is_empty() || state.contains(") Z ")
        });
        assert!(gone, "process {left} is still there");
    }

    #[test]
    fn failure_and_a_required_language_that_was_skipped_fail() {
        let row = |language: &str, verdict| Row {
            language: language.to_owned(),
            verdict,
            took: Duration::ZERO,
            said: "why".to_owned(),
        };
        let required = ["python".to_owned()];
        assert!(judge(&[row("python", Verdict::Checked), row("dart", Verdict::Skipped)], &required).is_ok());
        let failure = judge(&[row("python", Verdict::Skipped)], &required).unwrap_err().to_string();
        assert_eq!(failure, "python is required and was skipped: why");
        assert!(judge(&[row("dart", Verdict::Failed)], &[]).is_err());
    }
}
