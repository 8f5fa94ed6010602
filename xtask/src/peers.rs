//! The programs in other languages: how each is had and started (docs/peers.md).

mod talk;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest as _, Sha256};

pub(crate) use talk::Talk;

use crate::failure::{Context, Failure, Outcome};
use crate::process;
use crate::servers::clean;
use crate::tools;
use crate::workspace::{built, root};

/// Every peer, in the order of the matrix
pub(crate) const NAMES: [&str; 7] = ["rust", "python", "node", "browser", "micropython", "julia", "dart"];

/// A peer that can be started
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    program: PathBuf,
    args: Vec<PathBuf>,
    folder: PathBuf,
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

    /// Whether it reads and writes `arrowtable`
    pub(crate) fn has_arrow(&self) -> bool {
        matches!(self.name, "rust" | "python" | "node" | "dart")
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
pub(crate) fn find(list: &[&'static str]) -> Vec<(&'static str, Outcome<Peer>)> {
    list.iter().map(|name| (*name, locate(name))).collect()
}

/// The peer names in `a,b,c`
///
/// # Errors
/// Says which word is no peer.
pub(crate) fn named(list: &str) -> Outcome<Vec<&'static str>> {
    let words = list.split(',').map(str::trim).filter(|word| !word.is_empty());
    let name = |word: &str| {
        let known = NAMES.iter().copied().find(|name| *name == word);
        known.ok_or_else(|| Failure::new(format!("no peer `{word}`; there are {}", NAMES.join(", "))))
    };
    words.map(name).collect()
}

/// Finds a peer, and installs what it needs
pub(crate) fn locate(name: &'static str) -> Outcome<Peer> {
    // Scripts and home of a language; Node and the browser share one library and its packages.
    let (folder, home, sources): (_, _, &[&str]) = match name {
        "rust" => return rust(),
        "node" => ("javascript", "javascript", &["package-lock.json", "package.json"]),
        "browser" => ("javascript/browser", "javascript", &["../package-lock.json", "../package.json"]),
        "python" => ("python", "python", &["requirements.txt"]),
        other => (other, other, &[]),
    };
    let folder = root().join("testdata/peers").join(folder);
    let [install, run] = ["install.sh", "run.sh"].map(|script| folder.join(script));
    for script in [&install, &run] {
        if !script.is_file() {
            return Err(Failure::new(format!("there is no {}", script.display())));
        }
    }
    if name == "browser" {
        // Its packages may be there by Node's installation; a browser is not.
        chromium()?;
    }
    let home = if sources.is_empty() {
        installed(&format!("peer-{home}"), std::slice::from_ref(&install), &install)?
    } else {
        let sources: Vec<_> = sources.iter().map(|source| folder.join(source)).collect();
        installed(&format!("peer-{home}"), &sources, &install)?
    };
    Ok(Peer { name, program: PathBuf::from("bash"), args: vec![run, home], folder })
}

/// Makes sure that there is a browser: it is the one thing that only the system's own packages bring
fn chromium() -> Outcome<()> {
    let usual = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
    let there = || env::var_os("CHROMIUM").is_some() || usual.iter().any(|path| Path::new(path).is_file());
    if there() {
        return Ok(());
    }
    tools::apt_install("chromium")?;
    if there() {
        return Ok(());
    }
    Err(Failure::new("no Chromium; install it (apt-get install chromium) or name it in CHROMIUM"))
}

fn rust() -> Outcome<Peer> {
    let program = built("--bin", "natsbridge-peer")?;
    Ok(Peer { name: "rust", program, args: Vec::new(), folder: root() })
}

/// A folder of the cache, filled by the script when what it is made from has changed
///
/// The stamp is written last, so that half an installation is none.
fn installed(name: &str, sources: &[PathBuf], install: &Path) -> Outcome<PathBuf> {
    let mut digest = Sha256::new();
    for source in sources {
        digest.update(fs::read(source).context(|| format!("cannot read {}", source.display()))?);
    }
    let stamp = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let home = tools::cache()?.join(name);
    let mark = home.join(".natsbridge-stamp");
    if fs::read_to_string(&mark).is_ok_and(|found| found == stamp) {
        return Ok(home);
    }
    println!("installing {name} into {}", home.display());
    if home.exists() {
        fs::remove_dir_all(&home).context(|| format!("cannot replace {}", home.display()))?;
    }
    process::output(Command::new("bash").arg(install).arg(&home)).context(|| format!("cannot install {name}"))?;
    fs::write(&mark, stamp).context(|| format!("cannot write {}", mark.display()))?;
    Ok(home)
}
