//! `cargo xtask dist`: what a release has for this machine's own target, with checksums, each tried before it counts.

use std::env;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, anyhow, bail};
use fs_err as fs;

use crate::process;
use crate::tools;
use crate::workspace::{TempFolder, build, entries, forget_cargo, members, name_of, path_with, root, rustc, sha256};

/// Where everything goes
const FOLDER: &str = "target/dist";

/// Lists each file of the folder with its digest, as `sha256sum --check` reads it
const SUMS: &str = "SHA256SUMS";

/// Shells that get completions, and the name of the file each looks for
const SHELLS: [(&str, &str); 4] = [
    ("bash", "natsbridge.bash"),
    ("zsh", "_natsbridge"),
    ("fish", "natsbridge.fish"),
    ("powershell", "natsbridge.ps1"),
];

/// Licences and pages at the archive's top
const PAGES: [&str; 4] = ["LICENSE-APACHE", "LICENSE-MIT", "README.md", "CHANGELOG.md"];

/// What a release has
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Kind {
    Archive,
    Wheel,
    Npm,
    Image,
}

/// Makes what is asked for
pub(crate) fn run(what: &[Kind]) -> Result<()> {
    let folder = root().join(FOLDER);
    fs::create_dir_all(&folder)?;
    for kind in what {
        match kind {
            Kind::Archive => archive(&folder)?,
            Kind::Wheel => wheel(&folder)?,
            Kind::Npm => npm(&folder)?,
            Kind::Image => image(&folder)?,
        }
    }
    let listed = sums(&folder)?;
    let path = folder.join(SUMS);
    fs::write(&path, &listed)?;
    println!("\n{}:", folder.display());
    for line in listed.lines() {
        let (digest, name) = line.split_once("  ").unwrap_or_default();
        let size = fs::metadata(folder.join(name)).map_or(0, |file| file.len());
        println!("  {name:<58}{:>7} MB  sha256 {}…", megabytes(size), digest.get(..12).unwrap_or_default());
    }
    Ok(())
}

/// The version that everything of the workspace has
fn version() -> Result<String> {
    let members = members()?;
    let cli = members.iter().find(|package| package.name == "natsbridge-cli");
    let version = cli.and_then(|package| package.manifest["version"].as_str().map(str::to_owned));
    version.ok_or_else(|| anyhow!("natsbridge-cli has no version"))
}

/// The program with completions, manual pages and licences
fn archive(folder: &Path) -> Result<()> {
    println!("building natsbridge as it is installed (some minutes)");
    let program = build(&["--release", "--bin", "natsbridge", "--package", "natsbridge-cli"], "natsbridge")?;
    let name = format!("natsbridge-{}-{}", version()?, rustc("host:")?);
    let work = TempFolder::create()?;
    let top = work.path().join(&name);
    fill(&top, &program)?;

    // Every tar that is on a system for which we build packs these; Windows' own writes zip files too.
    let ending = if cfg!(windows) { "zip" } else { "tar.gz" };
    let file = folder.join(format!("{name}.{ending}"));
    let how = if cfg!(windows) { "-acf" } else { "-czf" };
    let mut tar = Command::new("tar");
    tar.arg(how).arg(&file).arg("-C").arg(work.path()).arg(&name);
    process::output(&mut tar)?;
    let size = try_archive(&file, &name)?;
    println!("{}: runs after unpacking; the program has {} MB", file.display(), megabytes(size));
    Ok(())
}

/// Puts everything that the archive has under its top folder
fn fill(top: &Path, program: &Path) -> Result<()> {
    let completions = top.join("completions");
    let manual = top.join("man");
    fs::create_dir_all(&completions)?;
    fs::copy(program, top.join(program.file_name().unwrap_or_else(|| OsStr::new("natsbridge"))))?;
    for page in PAGES {
        fs::copy(root().join(page), top.join(page))?;
    }
    for (shell, file) in SHELLS {
        let script = process::output(Command::new(program).args(["completions", shell]))?;
        fs::write(completions.join(file), script)?;
    }
    process::output(Command::new(program).args(["man", "--dir"]).arg(&manual)).map(drop)
}

/// Unpacks an archive as a user does, and runs what is in it; returns the program's size
fn try_archive(file: &Path, name: &str) -> Result<u64> {
    let folder = TempFolder::create()?;
    process::output(Command::new("tar").arg("-xf").arg(file).arg("-C").arg(folder.path()))?;
    let top = folder.path().join(name);
    let program = top.join(format!("natsbridge{}", env::consts::EXE_SUFFIX));
    let said = process::output(Command::new(&program).arg("--version"))?;
    if !said.contains(&version()?) {
        bail!("the program in {} says it is {}", file.display(), said.trim());
    }
    let files = SHELLS.map(|(_, file)| format!("completions/{file}")).into_iter();
    let files = files.chain(["man/natsbridge.1".to_owned(), "man/natsbridge-send.1".to_owned()]);
    for wanted in files.chain(PAGES.map(str::to_owned)) {
        let length = fs::metadata(top.join(&wanted)).map_or(0, |file| file.len());
        if length < 100 {
            bail!("{} has no {wanted}", file.display());
        }
    }
    Ok(fs::metadata(&program).map_or(0, |file| file.len()))
}

/// Ends while a thread waits for a message, as programs do; the interpreter ends that thread
const ENDING: &str = "
import threading
from natsbridge import testing
with testing.sync_bridge() as bridge:
    assert bridge.serve('double', lambda message: [('n', message['n'] * 2, 'dictionary')])
    assert bridge.request('double', [('n', 21, 'dictionary')], timeout=10)['n'] == 42
bridge = testing.sync_bridge()
threading.Thread(target=bridge.subscribe('nothing').next, daemon=True).start()
";

/// `cargo xtask wheel`, or a part of `dist`: the Python package with the engine inside
fn wheel(folder: &Path) -> Result<()> {
    let manifest = "clients/python/Cargo.toml";
    if !root().join(manifest).is_file() {
        bail!("there is no {manifest}");
    }
    let maturin = tools::MATURIN.locate()?;
    // On Linux through zig, whose C library is old enough for every system that pip serves.
    let mut command = Command::new(&maturin);
    forget_cargo(command.current_dir(root()));
    let folders = TempFolder::create()?;
    let built = folders.path().join("wheel");
    command.args(["build", "--release", "--locked", "--manifest-path", manifest, "--out"]).arg(&built);
    if cfg!(target_os = "linux") {
        // maturin looks for zig as the module of a Python that it finds on PATH.
        command.args(["--zig", "--compatibility", "manylinux2014"]).env("PATH", path_with(maturin.parent())?);
        // zig would link an unwinder of its own into it. The C library ends a thread by libgcc's, which crashes in frames of
        // another one; every Linux has libgcc's.
        let library = process::output(Command::new("cc").arg("-print-file-name=libgcc_s.so.1"))?;
        fs::copy(library.trim(), folders.path().join("libgcc_s.so.1"))?;
        let search = format!("native={}", folders.path().display());
        command.args(["--", "-L", &search, "-l", "dylib:+verbatim=libgcc_s.so.1"]);
    }
    process::run(&mut command)?;
    for entry in fs::read_dir(&built)? {
        let wheel = entry?.path();
        try_wheel(&wheel, &folders.path().join("venv"))?;
        let place = folder.join(name_of(&wheel));
        fs::copy(&wheel, &place)?;
        println!("{}: for Python 3.8 and newer; runs after it was installed", place.display());
    }
    Ok(())
}

/// Installs a wheel as a user does, and runs a program with it, which ends in the middle of its work
fn try_wheel(wheel: &Path, venv: &Path) -> Result<()> {
    process::output(Command::new(tools::PYTHON).args(["-m", "venv"]).arg(venv))?;
    let python = venv.join(tools::BIN).join("python");
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"];
    process::output(Command::new(&python).args(pip).arg(wheel))?;
    for _ in 0..20 {
        process::output(Command::new(&python).args(["-c", ENDING]))?;
    }
    Ok(())
}

/// The JavaScript package as npm packs it
fn npm(folder: &Path) -> Result<()> {
    let package = root().join("clients/javascript");
    if !package.join("package.json").is_file() {
        bail!("there is no clients/javascript/package.json");
    }
    let program = if cfg!(windows) { "npm.cmd" } else { "npm" };
    let mut pack = Command::new(program);
    pack.args(["pack", "--pack-destination"]).arg(folder).current_dir(package);
    process::output(&mut pack).map(drop)
}

/// What the image is called, besides `natsbridge:latest`
pub(crate) fn image_name() -> Result<String> {
    Ok(format!("natsbridge:{}", version()?))
}

/// The container image, from the archive's program and this checkout's Dockerfile
fn image(folder: &Path) -> Result<()> {
    let docker =
        ["docker", "podman"].into_iter().find(|tool| process::output(Command::new(tool).arg("version")).is_ok());
    let Some(docker) = docker else {
        println!("skipped: image: neither docker nor podman runs here");
        return Ok(());
    };
    let name = format!("natsbridge-{}-{}", version()?, rustc("host:")?);
    let file = folder.join(format!("{name}.tar.gz"));
    if !file.is_file() {
        archive(folder)?;
    }
    let context = TempFolder::create()?;
    process::output(Command::new("tar").arg("-xf").arg(&file).arg("-C").arg(context.path()))?;
    let tag = image_name()?;
    let mut command = Command::new(docker);
    command
        .args(["build", "--tag", &tag, "--tag", "natsbridge:latest", "--file"])
        .arg(root().join("Dockerfile"))
        .arg(context.path().join(&name));
    process::run(&mut command)?;
    let said = process::output(Command::new(docker).args(["run", "--rm", &tag, "--version"]))?;
    println!("image {tag}, natsbridge:latest: {}", said.trim());
    Ok(())
}

/// Digests of the folder's files, by name
fn sums(folder: &Path) -> Result<String> {
    let files = entries(folder)?.into_iter().filter(|path| path.is_file() && name_of(path) != SUMS);
    files.map(|path| Ok(format!("{}  {}\n", sha256(&fs::read(&path)?), name_of(&path)))).collect()
}

/// With one digit after the point
fn megabytes(bytes: u64) -> String {
    format!("{}.{}", bytes / 1_000_000, bytes / 100_000 % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_what_sha256sum_reads_and_leave_themselves_out() {
        let folder = TempFolder::create().unwrap();
        for (name, text) in [("b.whl", "hello"), ("a.tar.gz", ""), (SUMS, "old")] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        assert_eq!(
            sums(folder.path()).unwrap(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  a.tar.gz\n\
             2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824  b.whl\n"
        );
    }

    #[test]
    fn pages_of_the_archive_exist_and_sizes_have_one_digit() {
        assert_eq!([megabytes(0), megabytes(1_949_999), megabytes(21_000_000)], ["0.0", "1.9", "21.0"]);
        assert!(PAGES.iter().all(|page| root().join(page).is_file()));
    }
}
