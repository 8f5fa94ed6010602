//! The programs in other languages: how each is had and started (docs/peers.md).

mod talk;

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail};
use fs_err as fs;
use sha2::{Digest as _, Sha256};

pub(crate) use talk::Talk;

use crate::process;
use crate::servers::clean;
use crate::tools;
use crate::vectors::skips;
use crate::workspace::{built, entries, name_of, root};

/// Every peer, in the order of the matrix
///
/// `python` is the package of `clients/python`, the engine; `python-pure` shares no code with it.
pub(crate) const NAMES: [&str; 8] =
    ["rust", "python", "python-pure", "node", "browser", "micropython", "julia", "dart"];

/// A table that each language with Arrow reads
const PLAIN_TABLE: &str = "receive/valid/arrowtable_two_columns";

/// What goes into the package `clients/python` beside its own files
const ENGINE: [&str; 6] = [
    "Cargo.lock",
    "clients/python",
    "crates/natsbridge/src",
    "crates/natsbridge-core/src",
    "crates/natsbridge-fileserver/src",
    "crates/natsbridge-nats/src",
];

/// A peer that can be started
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    program: PathBuf,
    args: Vec<PathBuf>,
    folder: PathBuf,
    arrow: bool,
}

impl Peer {
    /// The command that starts it in a mode
    pub(crate) fn command(&self, mode: &[&str]) -> Command {
        let mut command = clean(&self.program);
        command.args(&self.args).args(mode).current_dir(&self.folder);
        command
    }

    /// The folder that its language's packages were installed into
    pub(crate) fn home(&self) -> &Path {
        self.args.last().map(PathBuf::as_path).unwrap_or(&self.folder)
    }

    /// The command that runs another script in Python's environment
    pub(crate) fn script(&self, script: &Path) -> Command {
        let mut command = clean(&self.home().join("bin/python"));
        command.arg(script).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// Whether it reads and writes `arrowtable`: `skips.json` does not except it from plain tables
    pub(crate) fn has_arrow(&self) -> bool {
        self.arrow
    }

    /// Whether it follows and makes links
    pub(crate) fn has_links(&self) -> bool {
        self.name != "micropython"
    }

    /// The most bytes in one of its payloads
    pub(crate) fn max_payload(&self) -> u64 {
        if self.has_links() { u64::MAX } else { 50_000 }
    }
}

/// The peers of this list, or all of them, with the reason for each that can't be had
pub(crate) fn find(list: &[&'static str]) -> Vec<(&'static str, Result<Peer>)> {
    list.iter().map(|name| (*name, locate(name))).collect()
}

/// The peer of this name
///
/// # Errors
/// Says which there are.
pub(crate) fn named(word: &str) -> Result<&'static str> {
    let known = NAMES.into_iter().find(|name| *name == word);
    known.ok_or_else(|| anyhow!("no peer `{word}`; there are {}", NAMES.join(", ")))
}

/// Finds a peer, and installs what it needs
pub(crate) fn locate(name: &'static str) -> Result<Peer> {
    if name == "rust" {
        let program = built("--bin", "natsbridge-peer")?;
        return Ok(Peer { name, program, args: Vec::new(), folder: root(), arrow: true });
    }
    // Scripts and home of a language; Node and the browser share one library and its packages.
    let (folder, home) = match name {
        "node" => ("javascript", "javascript"),
        "browser" => ("javascript/browser", "javascript"),
        "python" => ("python/package", "python-package"),
        "python-pure" => ("python", "python"),
        other => (other, other),
    };
    let folder = root().join("testdata/peers").join(folder);
    let [install, run] = ["install.sh", "run.sh"].map(|script| folder.join(script));
    for script in [&install, &run] {
        if !script.is_file() {
            bail!("there is no {}", script.display());
        }
    }
    // What is installed is made from these; a change of them installs it again.
    let sources = match name {
        "node" => ["package-lock.json", "package.json"].map(|file| folder.join(file)).to_vec(),
        "browser" => ["../package-lock.json", "../package.json"].map(|file| folder.join(file)).to_vec(),
        "python" => engine(&install),
        "python-pure" => vec![folder.join("requirements.txt")],
        _ => vec![install.clone(), root().join("testdata/peers/debian.sh")],
    };
    if name == "browser" {
        // Its packages may be there by Node's installation; a browser is not.
        chromium()?;
    }
    let home = installed(&format!("peer-{home}"), &sources, Command::new("bash").arg(&install))?;
    let arrow = !skips::load()?.iter().any(|skip| skip.covers(name, PLAIN_TABLE));
    Ok(Peer { name, program: PathBuf::from("bash"), args: vec![run, home], folder, arrow })
}

/// An interpreter with the Python package, built with this profile of cargo's, and with pandas
pub(crate) fn optimised_python(profile: &str) -> Result<PathBuf> {
    let install = root().join("testdata/peers/python/package/install.sh");
    installed("bench-python", &engine(&install), Command::new("bash").env("PROFILE", profile).arg(&install))
        .map(|home| home.join("bin/python"))
}

/// What the Python package is made from, and the script that installs it
fn engine(install: &Path) -> Vec<PathBuf> {
    ENGINE.iter().map(|path| root().join(path)).chain([install.to_owned()]).collect()
}

/// Makes sure that there is a browser: it is the one thing that only the system's own packages bring
fn chromium() -> Result<()> {
    let usual = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
    let there = || env::var_os("CHROMIUM").is_some() || usual.iter().any(|path| Path::new(path).is_file());
    if there() {
        return Ok(());
    }
    tools::apt_install("chromium")?;
    if there() {
        return Ok(());
    }
    Err(anyhow!("no Chromium; install it (apt-get install chromium) or name it in CHROMIUM"))
}

/// A folder of the cache, filled by the command, which takes it as its last argument, when what it is made from has changed
///
/// The stamp is written last, so that half an installation is none.
fn installed(name: &str, sources: &[PathBuf], install: &mut Command) -> Result<PathBuf> {
    let mut digest = Sha256::new();
    for source in sources {
        add(&mut digest, source)?;
    }
    let stamp = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let home = tools::cache()?.join(name);
    let mark = home.join(".natsbridge-stamp");
    if fs::read_to_string(&mark).is_ok_and(|found| found == stamp) {
        return Ok(home);
    }
    println!("installing {name} into {}", home.display());
    if home.exists() {
        fs::remove_dir_all(&home)?;
    }
    process::output(install.arg(&home)).with_context(|| format!("cannot install {name}"))?;
    fs::write(&mark, stamp)?;
    Ok(home)
}

/// Adds a file, or the files of a folder and of those below, in an order that is always the same
fn add(digest: &mut Sha256, source: &Path) -> Result<()> {
    if !source.is_dir() {
        digest.update(fs::read(source)?);
        return Ok(());
    }
    // What builds and tests leave behind is no source.
    let left = |path: &Path| {
        let name = name_of(path);
        name.starts_with('.') || name.ends_with(".so") || ["target", "__pycache__", "dist"].contains(&&*name)
    };
    entries(source)?.iter().filter(|path| !left(path)).try_for_each(|path| add(digest, path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::TempFolder;

    #[test]
    fn changed_source_in_a_folder_changes_the_stamp_and_a_cache_does_not() {
        let folder = TempFolder::create().unwrap();
        let stamp = || {
            let mut digest = Sha256::new();
            add(&mut digest, folder.path()).unwrap();
            digest.finalize()
        };
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("src/lib.rs", "a");
        let first = stamp();
        write("__pycache__/x.pyc", "b");
        write(".pytest_cache/x", "b");
        assert_eq!(stamp(), first);
        write("src/lib.rs", "c");
        assert_ne!(stamp(), first);
    }
}
