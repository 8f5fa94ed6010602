//! Where things are: the checkout, cargo, the built program, folders that vanish.

use std::env;
use std::ffi::OsString;
use std::fs::DirBuilder;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::process as child;

/// The checkout's folder
pub(crate) fn root() -> PathBuf {
    // Cargo names it when it runs us; the folder of the build serves when the program is started by hand.
    let here =
        env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    here.parent().map_or_else(|| here.clone(), Path::to_path_buf)
}

/// The cargo that started us, at the checkout's root
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(root());
    command
}

/// A crate of the workspace
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// Whether others can depend on it: bench, test support and xtask are ours alone
    pub(crate) published: bool,
    pub(crate) library: bool,
    /// What cargo says about it
    pub(crate) manifest: Value,
    /// Where cargo puts what it builds
    pub(crate) target: PathBuf,
}

/// Every crate of the workspace, in the order in which Cargo.toml names them
pub(crate) fn members() -> Result<Vec<Package>> {
    let said = child::output(cargo().args(["metadata", "--locked", "--no-deps", "--format-version", "1"]))?;
    let said: Value = serde_json::from_str(&said).context("cargo metadata")?;
    let target = PathBuf::from(said["target_directory"].as_str().unwrap_or_default());
    let packages = said["packages"].as_array().cloned().unwrap_or_default();
    let members = packages.into_iter().map(|manifest| Package {
        name: manifest["name"].as_str().unwrap_or_default().to_owned(),
        published: manifest["publish"].is_null(),
        library: manifest["targets"]
            .as_array()
            .is_some_and(|targets| targets.iter().any(|target| target["kind"][0] == "lib")),
        target: target.clone(),
        manifest,
    });
    Ok(members.collect())
}

/// The crates that others can depend on or install
pub(crate) fn published() -> Result<Vec<Package>> {
    Ok(members()?.into_iter().filter(|package| package.published).collect())
}

/// The published crates that have a library
pub(crate) fn libraries() -> Result<Vec<Package>> {
    Ok(published()?.into_iter().filter(|package| package.library).collect())
}

/// What every build of a command asks for, so that dependencies are compiled with the same features and only once
pub(crate) const ALIKE: [&str; 2] = ["--workspace", "--all-features"];

/// Builds the program `natsbridge` and says where it is
pub(crate) fn natsbridge() -> Result<PathBuf> {
    println!("building natsbridge (the first time takes a few minutes)");
    built("--bin", "natsbridge")
}

/// As [`natsbridge`], but nothing else, and without its features (buckets, Parquet, metrics …): what a newcomer waits for
pub(crate) fn natsbridge_alone() -> Result<PathBuf> {
    println!("building natsbridge alone, with what a first message needs (the first time takes a minute or two)");
    build(&["--bin", "natsbridge", "--package", "natsbridge-cli", "--no-default-features"], "natsbridge")
}

/// Builds one of the workspace's programs (`--bin`) or examples (`--example`) and says where it is
pub(crate) fn built(kind: &str, program: &str) -> Result<PathBuf> {
    build(&[&[kind, program], &ALIKE[..]].concat(), program)
}

/// Runs `cargo build` and says where the program is that it made
pub(crate) fn build(words: &[&str], program: &str) -> Result<PathBuf> {
    let output = cargo()
        .args(["build", "--locked", "--message-format", "json-render-diagnostics"])
        .args(words)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("{program} does not build: see above");
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == program)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .ok_or_else(|| anyhow!("cargo built no program {program}"))
}

/// A new folder for this user only, removed with everything in it on drop
#[derive(Debug)]
pub(crate) struct TempFolder(PathBuf);

impl TempFolder {
    pub(crate) fn create() -> Result<Self> {
        let path = env::temp_dir().join(unique("natsbridge"));
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        // Left-overs in the temporary folder are the system's to sweep.
        let _ = fs_err::remove_dir_all(&self.0);
    }
}

/// What is in a folder, by name
pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs_err::read_dir(folder)?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// A file's name without its folder
pub(crate) fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The digest in hexadecimal
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the compiler says about itself after these words, such as `host:`
pub(crate) fn rustc(field: &str) -> Result<String> {
    let said = child::output(Command::new("rustc").args(["--version", "--verbose"]))?;
    let found = said.lines().find_map(|line| line.strip_prefix(field)).map(|found| found.trim().to_owned());
    found.ok_or_else(|| anyhow!("rustc does not name its {field}"))
}

/// `PATH` with a folder before the others
pub(crate) fn path_with(folder: Option<&Path>) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = folder.map(Path::to_path_buf).into_iter().chain(env::split_paths(&path));
    env::join_paths(folders).context("PATH can't be extended")
}

/// A command that asks cargo itself must not take what cargo says to us for its own
pub(crate) fn forget_cargo(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_MANIFEST_") || text.starts_with("CARGO_PKG_") {
            command.env_remove(&name);
        }
    }
}

/// A text with other content between these two marks, if it has them
pub(crate) fn between(text: &str, begin: &str, end: &str, content: &str) -> Option<String> {
    let (before, rest) = text.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some([before, begin, content, end, after].concat())
}

/// A name that no other run uses now
pub(crate) fn unique(stem: &str) -> String {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    format!("{stem}-{}-{nanos}", process::id())
}
