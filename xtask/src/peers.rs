//! The programs in other languages: how each is had and started (docs/peers.md).

mod talk;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

pub(crate) use talk::Talk;

use crate::failure::{Context, Failure, Outcome};
use crate::process;
use crate::servers::clean;
use crate::tools;
use crate::workspace::{cargo, root};

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

    /// Whether it reads and writes `arrowtable`
    pub(crate) fn has_arrow(&self) -> bool {
        matches!(self.name, "rust" | "python" | "node")
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
    match name {
        "rust" => rust(),
        "python" => python(),
        "node" => javascript("node", "adapter.mjs"),
        "browser" => javascript("browser", "browser/driver.mjs"),
        language => scripted(language),
    }
}

fn rust() -> Outcome<Peer> {
    let output = process::output(cargo().args([
        "build",
        "--quiet",
        "-p",
        "natsbridge",
        "--example",
        "peer",
        "--message-format",
        "json-render-diagnostics",
    ]))?;
    let messages = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut built = messages.filter(|message| message["target"]["name"] == "peer");
    let program = built.find_map(|message| message["executable"].as_str().map(PathBuf::from));
    let program = program.ok_or_else(|| Failure::new("cargo built no example peer"))?;
    Ok(Peer { name: "rust", program, args: Vec::new(), folder: root() })
}

fn python() -> Outcome<Peer> {
    let folder = folder("python");
    let requirements = folder.join("requirements.txt");
    let home = installed("peer-python", &[&requirements], |home| {
        process::output(Command::new("python3").args(["-m", "venv"]).arg(home)).context(|| {
            "a Python virtual environment is needed (on Debian and Ubuntu: apt-get install python3-venv)".to_owned()
        })?;
        let mut pip = Command::new(home.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(&requirements);
        process::output(&mut pip).map(drop)
    })?;
    Ok(Peer { name: "python", program: home.join("bin/python"), args: vec![folder.join("adapter.py")], folder })
}

fn javascript(name: &'static str, adapter: &str) -> Outcome<Peer> {
    let folder = folder("javascript");
    let manifest = folder.join("package.json");
    let home = installed("peer-javascript", &[&manifest], |home| {
        fs::create_dir_all(home).context(|| format!("cannot create {}", home.display()))?;
        fs::copy(&manifest, home.join("package.json")).context(|| "cannot copy package.json".to_owned())?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-package-lock", "--no-audit", "--no-fund", "--prefix"]).arg(home);
        process::output(&mut npm).map(drop).context(|| "npm is needed".to_owned())
    })?;
    let chromium = Path::new("/usr/bin/chromium");
    if name == "browser" && env::var_os("CHROMIUM").is_none() && !chromium.is_file() {
        return Err(Failure::new("no Chromium (apt-get install chromium, or name it in CHROMIUM)"));
    }
    let program = home.join("run.sh");
    let _ = program;
    Ok(Peer { name, program: PathBuf::from("node"), args: vec![folder.join(adapter)], folder })
}

/// A language that brings `install.sh DIR` and `run.sh DIR …`
fn scripted(language: &'static str) -> Outcome<Peer> {
    let folder = folder(language);
    let [install, run] = ["install.sh", "run.sh"].map(|script| folder.join(script));
    for script in [&install, &run] {
        if !script.is_file() {
            return Err(Failure::new(format!("{} is missing", script.display())));
        }
    }
    let home = installed(&format!("peer-{language}"), &[&install], |home| {
        process::output(Command::new("bash").arg(&install).arg(home)).map(drop)
    })?;
    Ok(Peer { name: language, program: PathBuf::from("bash"), args: vec![run, home], folder })
}

fn folder(language: &str) -> PathBuf {
    root().join("testdata/peers").join(language)
}

/// A folder of the cache, filled by `install` when what it is made from has changed
///
/// The stamp is written last, so that half an installation is none.
fn installed(name: &str, sources: &[&PathBuf], install: impl Fn(&Path) -> Outcome<()>) -> Outcome<PathBuf> {
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
    install(&home).context(|| format!("cannot install {name}"))?;
    fs::write(&mark, stamp).context(|| format!("cannot write {}", mark.display()))?;
    Ok(home)
}
