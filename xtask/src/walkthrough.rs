//! `cargo xtask walkthrough`: does what docs/walkthrough.md and README.md say, word for word, and compares what is printed.

mod page;
mod terminal;

use std::collections::BTreeMap;
use std::env;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use fs_err as fs;

use crate::peers;
use crate::process::{self, Deadline};
use crate::servers::{self, Port};
use crate::workspace::{self, TempFolder, root};
use page::{Block, Kind};
use terminal::Terminal;

/// Where the page clones from; a walk clones this checkout
const REPOSITORY: &str = "https://github.com/natsbridge/natsbridge";

/// Where the pages have their servers; where somebody else listens there, another address stands in for it
const ADDRESSES: [&str; 2] = ["127.0.0.1:4222", "127.0.0.1:8080"];

/// Variables that say how this machine reaches the world; nothing else of the caller's is seen
const KEPT: [&str; 14] = [
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "TMPDIR",
    "CARGO_HOME",
    "RUSTUP_",
    "PIP_",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_SOURCE_",
    "CARGO_REGISTRY",
    "CARGO_REGISTRIES",
    "SSL_CERT_",
];

/// Walks through both pages
pub(crate) fn run() -> Result<()> {
    note_uncommitted()?;
    walk("docs/walkthrough.md", &TempFolder::create()?, &free_addresses()?, &[])?;
    readme()
}

/// README's commands, in a folder that looks like the checkout, with servers as `cargo xtask up` has them
pub(crate) fn readme() -> Result<()> {
    let natsbridge = workspace::natsbridge()?;
    let python = peers::locate("python")?;
    let folder = TempFolder::create()?;
    for name in ["testdata", "Cargo.lock"] {
        let link = folder.path().join(name);
        std::os::unix::fs::symlink(root().join(name), &link)
            .with_context(|| format!("cannot link {}", link.display()))?;
    }
    let deadline = Deadline::after(Duration::from_secs(30));
    let nats = servers::start_nats(Port::Any, deadline)?;
    let files = servers::start_files(&natsbridge, &folder.path().join("files"), Port::Any, deadline)?;
    let bin = natsbridge.parent().map(Path::to_path_buf).unwrap_or_default();
    let path = env::var_os("PATH").unwrap_or_default();
    let search = env::join_paths([bin, python.home().join("bin")].into_iter().chain(env::split_paths(&path)));
    let search = search.context("PATH can't be extended")?.to_string_lossy().into_owned();
    let addresses = [&nats, &files].map(|server| server.url.rsplit('/').next().unwrap_or_default().to_owned());
    let variables = [("NATS_URL", &*nats.url), ("FILESERVER_URL", &*files.url), ("PATH", &*search)];
    walk("README.md", &folder, &addresses, &variables)
}

/// Walks through a page, whose servers listen at these addresses
fn walk(name: &str, folder: &TempFolder, servers: &[String; 2], variables: &[(&str, &str)]) -> Result<()> {
    println!("\n{name}, in {}", folder.path().display());
    let mut text = fs::read_to_string(root().join(name))?;
    for (named, actual) in ADDRESSES.iter().zip(servers) {
        text = text.replace(named, actual);
    }
    let blocks = page::blocks(&text).with_context(|| name.to_owned())?;
    let compiled = compiled();
    let terminals = BTreeMap::new();
    let mut walk = Walk { folder: folder.path(), variables, compiled: &compiled, terminals, printed: Vec::new() };
    let started = Instant::now();
    for block in &blocks {
        let began = Instant::now();
        walk.step(block).with_context(|| format!("{name}, line {}", block.line))?;
        if block.kind == Kind::Typed {
            println!("{:>7.1} s  {}", began.elapsed().as_secs_f64(), block.text.lines().next().unwrap_or_default());
        }
    }
    println!("{:>7.1} s  in all", started.elapsed().as_secs_f64());
    Ok(())
}

/// A page under way
struct Walk<'a> {
    folder: &'a Path,
    variables: &'a [(&'a str, &'a str)],
    compiled: &'a Path,
    terminals: BTreeMap<String, Terminal>,
    /// What the last block in the first terminal printed
    printed: Vec<String>,
}

impl Walk<'_> {
    fn step(&mut self, block: &Block) -> Result<()> {
        let text = block.text.as_str();
        match &block.kind {
            // These are steps of CI by themselves.
            Kind::Typed if text.lines().all(|line| line.starts_with("cargo xtask ")) => {}
            Kind::Typed => self.printed = self.terminal("")?.run(text)?,
            Kind::Left(name) => self.terminal(name)?.leave(text)?,
            Kind::PrintedBy(name) => self.terminal(name)?.expect(&text.lines().collect::<Vec<_>>())?,
            Kind::Printed => {
                let printed: Vec<&str> = self.printed.iter().map(String::as_str).collect();
                if !page::are_lines(&text.lines().collect::<Vec<_>>(), &printed) {
                    bail!("printed was\n{}", printed.join("\n"));
                }
            }
            Kind::File(path) => {
                let path = self.folder.join(path);
                fs::write(&path, format!("{text}\n"))?;
            }
        }
        Ok(())
    }

    fn terminal(&mut self, name: &str) -> Result<&mut Terminal> {
        if !self.terminals.contains_key(name) {
            let terminal = Terminal::open(self.shell())?;
            self.terminals.insert(name.to_owned(), terminal);
        }
        self.terminals.get_mut(name).ok_or_else(|| anyhow!("no terminal {name}"))
    }

    /// A shell as on a machine where nothing was set up for this project
    fn shell(&self) -> Command {
        let mut shell = Command::new("bash");
        shell.env_clear().current_dir(self.folder);
        let kept =
            |name: &str| KEPT.iter().any(|start| name.starts_with(start)) || name.to_lowercase().ends_with("_proxy");
        shell.envs(env::vars().filter(|(name, _)| kept(name)));
        shell.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1");
        let clone = format!("url.file://{}.insteadOf", root().display());
        shell.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", clone).env("GIT_CONFIG_VALUE_0", REPOSITORY);
        // What was compiled for an earlier walk is compiled again only where it differs.
        shell.env("CARGO_TARGET_DIR", self.compiled).env("CARGO_PROFILE_DEV_DEBUG", "0");
        shell.envs(self.variables.iter().copied());
        shell
    }
}

/// Dependencies compiled by earlier walks, without what came from a clone that is gone
fn compiled() -> PathBuf {
    let folder = root().join("target/walkthrough");
    for inner in ["deps", ".fingerprint", "incremental", "build"] {
        let Ok(entries) = fs::read_dir(folder.join("debug").join(inner)) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let ours = ["natsbridge", "libnatsbridge", "lab-"].iter().any(|start| name.starts_with(start));
            // What can't be removed only takes room.
            let _ = match ours.then(|| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
                Some(true) => fs::remove_dir_all(entry.path()),
                Some(false) => fs::remove_file(entry.path()),
                None => Ok(()),
            };
        }
    }
    folder
}

/// The addresses that the pages name, or others where somebody has them
fn free_addresses() -> Result<[String; 2]> {
    let [nats, files] = ADDRESSES.map(|address| match TcpListener::bind(address) {
        Ok(_) => Ok(address.to_owned()),
        Err(_) => servers::free_address(),
    });
    Ok([nats?, files?])
}

/// Says when the walk is not that of the files at hand
fn note_uncommitted() -> Result<()> {
    let changed = process::output(Command::new("git").args(["status", "--porcelain"]).current_dir(root()))?;
    if !changed.is_empty() {
        println!("note: the walk clones what is committed; these files differ from it:\n{}", changed.trim_end());
    }
    Ok(())
}
