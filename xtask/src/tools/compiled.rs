//! Cargo's subcommands that are not part of Rust: pinned, compiled into the cache on first use.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};

use super::{apt_install, cache};
use crate::process;
use crate::workspace::{cargo, rustc};

/// A program on crates.io
pub(crate) struct Compiled {
    program: &'static str,
    version: &'static str,
    /// Minutes that compiling it takes on two cores, so that nobody thinks it hangs
    minutes: u8,
}

/// Licences, sources, and who may depend on what
pub(crate) const DENY: Compiled = Compiled { program: "cargo-deny", version: "0.20.2", minutes: 5 };
/// Random input, steered by what it reaches
pub(crate) const FUZZ: Compiled = Compiled { program: "cargo-fuzz", version: "0.13.2", minutes: 1 };
/// Features one by one
pub(crate) const HACK: Compiled = Compiled { program: "cargo-hack", version: "0.6.46", minutes: 1 };
/// Coverage
pub(crate) const LLVM_COV: Compiled = Compiled { program: "cargo-llvm-cov", version: "0.9.1", minutes: 2 };
/// Dependencies that nothing uses
pub(crate) const MACHETE: Compiled = Compiled { program: "cargo-machete", version: "0.9.2", minutes: 1 };
/// What a change to a library breaks
pub(crate) const SEMVER_CHECKS: Compiled = Compiled { program: "cargo-semver-checks", version: "0.51.0", minutes: 8 };

impl Compiled {
    pub(crate) fn locate(&self) -> Result<PathBuf> {
        let Self { program, version, minutes } = self;
        let folder = cache()?.join("cargo");
        let file = folder.join("bin").join(program);
        if !(file.is_file() && lists(&installed(&folder)?, program, version)) {
            println!("installing {program} {version} into {} (about {minutes} min)", folder.display());
            let began = Instant::now();
            let package = format!("{program}@{version}");
            process::run(cargo().args(["install", "--quiet", "--locked", "--root"]).arg(&folder).arg(package))?;
            println!("{program} {version} is there after {:.0} s", began.elapsed().as_secs_f64());
        }
        Ok(file)
    }
}

/// What cargo has installed into a folder; asks no registry
fn installed(folder: &Path) -> Result<String> {
    process::output(cargo().args(["install", "--list", "--root"]).arg(folder))
}

fn lists(installed: &str, program: &str, version: &str) -> bool {
    installed.lines().any(|line| line.trim_end_matches(':') == format!("{program} v{version}"))
}

/// LLVM's programs for reading what instrumented programs wrote: `llvm-cov` and `llvm-profdata`
///
/// They must be of the compiler's LLVM. Nothing is named where rustup's component `llvm-tools` is there, which
/// cargo-llvm-cov finds by itself.
pub(crate) fn llvm() -> Result<Option<[(&'static str, PathBuf); 2]>> {
    const VARIABLES: [(&str, &str); 2] = [("LLVM_COV", "llvm-cov"), ("LLVM_PROFDATA", "llvm-profdata")];
    if VARIABLES.iter().all(|(variable, _)| std::env::var_os(variable).is_some()) {
        return Ok(None);
    }
    let sysroot = process::output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let component = Path::new(sysroot.trim()).join("lib/rustlib").join(rustc("host:")?).join("bin");
    if VARIABLES.iter().all(|(_, program)| component.join(program).is_file()) {
        return Ok(None);
    }
    let version = rustc("LLVM version:")?;
    let package = format!("llvm-{}", version.split('.').next().unwrap_or_default());
    let programs =
        VARIABLES.map(|(variable, program)| (variable, Path::new("/usr/lib").join(&package).join("bin").join(program)));
    let there = || programs.iter().all(|(_, program)| program.is_file());
    if !there() {
        apt_install(&package)?;
    }
    if !there() {
        bail!(
            "no llvm-cov for LLVM {version}: `rustup component add llvm-tools`, or install {package} \
             (apt-get install {package}), or name its programs in LLVM_COV and LLVM_PROFDATA"
        );
    }
    Ok(Some(programs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_is_there_in_the_wanted_version_or_not_at_all() {
        let said = "cargo-deny v0.20.2:\n    cargo-deny\ncargo-hack v0.6.46:\n    cargo-hack\n";
        assert!(lists(said, "cargo-deny", "0.20.2"));
        assert!(!lists(said, "cargo-deny", "0.20") && !lists(said, "deny", "0.20.2") && !lists("", "cargo-hack", "1"));
    }
}
