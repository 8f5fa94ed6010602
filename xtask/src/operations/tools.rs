//! The operators' programs: found on `PATH`, else unpacked from Debian's packages into the cache, else left out.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use fs_err as fs;

use crate::process;
use crate::tools;
use crate::workspace::unique;

/// What could be had here
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) nats_server: PathBuf,
    pub(super) nginx: Option<PathBuf>,
    pub(super) promtool: Option<PathBuf>,
    pub(super) prometheus: Option<PathBuf>,
    pub(super) systemd_analyze: Option<PathBuf>,
}

impl Tools {
    pub(super) fn find() -> Result<Self> {
        let found = Self {
            nats_server: tools::NATS_SERVER.locate()?,
            nginx: program("nginx", "nginx", "-v")?,
            promtool: program("prometheus", "promtool", "--version")?,
            prometheus: program("prometheus", "prometheus", "--version")?,
            systemd_analyze: program("systemd", "systemd-analyze", "--version")?,
        };
        for (name, tool, what) in [
            ("nginx", &found.nginx, "nginx.conf; programs use the file server directly"),
            ("promtool", &found.promtool, "the rules' own tests"),
            ("prometheus", &found.prometheus, "alerts of the faults"),
            ("systemd-analyze", &found.systemd_analyze, "the units' syntax and sandbox"),
        ] {
            if tool.is_none() {
                println!("skipped: {what}, because {name} is not here and can't be had from Debian");
            }
        }
        Ok(found)
    }
}

/// A program of Debian's; nothing where it can't be had
fn program(package: &str, name: &str, version: &str) -> Result<Option<PathBuf>> {
    let runs = |path: &Path| path.is_file() && process::output(Command::new(path).arg(version)).is_ok();
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    if let Some(found) = folders.map(|folder| folder.join(name)).find(|path| runs(path)) {
        return Ok(Some(found));
    }
    // Without installing it: that would start a service, and needs more rights than a test has.
    let home = tools::cache()?.join("debian").join(package);
    let inside =
        || ["usr/sbin", "usr/bin"].map(|folder| home.join(folder).join(name)).into_iter().find(|path| runs(path));
    if inside().is_none()
        && package != "systemd"
        && let Err(failure) = unpack(package, &home)
    {
        println!("note: {package}: {failure:#}");
    }
    Ok(inside())
}

fn unpack(package: &str, home: &Path) -> Result<()> {
    let fresh = home.with_file_name(unique(".new"));
    fs::create_dir_all(&fresh)?;
    println!("unpacking {package} from Debian");
    let unpacked = process::output(Command::new("apt-get").current_dir(&fresh).args(["-qq", "download", package]))
        .and_then(|_| {
            let script = "dpkg-deb -x ./*.deb . && rm ./*.deb";
            process::output(Command::new("sh").current_dir(&fresh).args(["-c", script]))
        });
    if unpacked.is_ok() {
        let _ = fs::remove_dir_all(home);
        let _ = fs::rename(&fresh, home);
    }
    let _ = fs::remove_dir_all(&fresh);
    unpacked.map(drop)
}
