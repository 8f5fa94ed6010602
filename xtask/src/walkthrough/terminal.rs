//! A terminal: a shell that is typed into, whose output is read, ended with everything that was started in it.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{ChildStdin, Command};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::page;
use crate::process::{Deadline, Process, output};

/// How long a block may run: one of them compiles the program
const TYPED: Duration = Duration::from_secs(20 * 60);

/// How long a program may take to print what the page promises
const PRINTED: Duration = Duration::from_secs(60);

/// What the shell prints when a block has ended
const END: &str = "end of the block:";

/// A running shell
#[derive(Debug)]
pub(super) struct Terminal {
    shell: Process,
    stdin: ChildStdin,
}

impl Terminal {
    /// Opens one
    pub(super) fn open(mut command: Command) -> Result<Self> {
        // A group of its own, so that what runs in it can be ended with it.
        command.arg("-s").process_group(0);
        let (shell, stdin) = Process::spawn_fed("bash", &mut command)?;
        let mut this = Self { shell, stdin };
        // One stream, in the order in which a person sees the lines; the first command that fails ends it.
        this.feed("exec 2>&1\nset -e -o pipefail")?;
        Ok(this)
    }

    fn feed(&mut self, text: &str) -> Result<()> {
        writeln!(self.stdin, "{text}").context("cannot type into the shell")
    }

    /// Types a block and waits until it has ended well; returns what it printed
    pub(super) fn run(&mut self, block: &str) -> Result<Vec<String>> {
        // Programs must not read the blocks that come after.
        self.feed(&format!("{{\n{block}\n}} </dev/null\nprintf '\\n%s\\n' '{END}'"))?;
        let mut printed = Vec::new();
        let deadline = Deadline::after(TYPED);
        while let Some(line) = self.shell.wait_for(deadline, |line| {
            let text = line.text.clone();
            Some((text != END).then_some(text))
        })? {
            printed.push(line);
        }
        while printed.last().is_some_and(String::is_empty) {
            printed.pop();
        }
        Ok(printed)
    }

    /// Types a block and leaves it running
    pub(super) fn leave(&mut self, block: &str) -> Result<()> {
        self.feed(&format!("{{\n{block}\n}} </dev/null"))
    }

    /// Waits until the next lines are as the page has them
    pub(super) fn expect(&mut self, lines: &[&str]) -> Result<()> {
        let deadline = Deadline::after(PRINTED);
        let mut gap = false;
        for expected in lines {
            if page::is_gap(expected) {
                gap = true;
                continue;
            }
            loop {
                let found = self.shell.wait_for(deadline, |line| Some(line.text.clone()));
                let found = found.with_context(|| format!("`{expected}` was not printed"))?;
                if page::is_line(expected, &found) {
                    break;
                }
                if !gap {
                    bail!("the page says `{expected}`, printed was `{found}`");
                }
            }
            gap = false;
        }
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Politely, so that servers clear up; the shell itself is killed when its owner is dropped.
        let _ = output(Command::new("kill").args(["-TERM", "--", &format!("-{}", self.shell.id())]));
    }
}
