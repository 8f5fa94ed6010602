//! Each file of docs/operations alone: its own program reads it, and what it starts has the options that it gives.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Error, Result, anyhow, bail};
use fs_err as fs;

use crate::dist;
use crate::operations::tools::Tools;
use crate::process;
use crate::workspace::{TempFolder, root};

/// How open a unit may be by `systemd-analyze security`: 0 is closed, 10 is open; nginx's own has 8.8
const EXPOSURE: &str = "20";

/// The folder of all these files
pub(super) fn folder() -> PathBuf {
    root().join("docs/operations")
}

pub(super) fn read(name: &str) -> Result<String> {
    Ok(fs::read_to_string(folder().join(name))?)
}

pub(super) fn run(natsbridge: &Path, tools: &Tools) -> Result<()> {
    if let Some(promtool) = &tools.promtool {
        process::output(Command::new(promtool).args(["check", "rules"]).arg(folder().join("alerts.yml")))?;
        process::output(Command::new(promtool).args(["test", "rules"]).arg(folder().join("alerts.test.yml")))?;
        println!("ok  alerts.yml, alerts.test.yml by promtool");
        let together = TempFolder::create()?;
        for name in ["prometheus.yml", "compose/prometheus.yml"] {
            let path = together.path().join("prometheus.yml");
            fs::write(&path, read(name)?)?;
            fs::write(together.path().join("alerts.yml"), read("alerts.yml")?).context("cannot write alerts.yml")?;
            process::output(Command::new(promtool).args(["check", "config"]).arg(path))?;
            println!("ok  {name} by promtool");
        }
    }
    units(natsbridge, tools)?;
    compose(natsbridge)
}

/// The units: their syntax, their sandbox, and the options that they give
fn units(natsbridge: &Path, tools: &Tools) -> Result<()> {
    let copies = TempFolder::create()?;
    let mut paths = Vec::new();
    for unit in ["serve", "receive", "reply", "probe"] {
        let name = format!("natsbridge-{unit}.service");
        let text = read(&format!("systemd/{name}"))?;
        if !text.contains("\nStartLimitIntervalSec=0\n") {
            bail!("{name}: a server that is down for minutes would end its restarts");
        }
        let words = command(&text)?;
        takes(natsbridge, words.get(1..).unwrap_or_default()).map_err(|failure| in_file(&name, &failure))?;
        let there = natsbridge.display().to_string();
        let text = text.replace("/usr/bin/natsbridge", &there).replace("/usr/local/libexec/lab-reply", "/bin/true");
        let path = copies.path().join(&name);
        fs::write(&path, text)?;
        paths.push(path);
    }
    let Some(analyze) = &tools.systemd_analyze else { return Ok(()) };
    process::output(Command::new(analyze).args(["verify", "--man=no"]).args(&paths))?;
    for path in &paths {
        let threshold = format!("--threshold={EXPOSURE}");
        process::output(
            Command::new(analyze).args(["security", "--offline=true", "--no-pager", &threshold]).arg(path),
        )?;
    }
    println!("ok  {} units by systemd-analyze: syntax and sandbox", paths.len());
    Ok(())
}

/// The command line of a unit, in words
pub(super) fn command(unit: &str) -> Result<Vec<String>> {
    let joined = unit.replace("\\\n", " ");
    let line = joined.lines().find_map(|line| line.strip_prefix("ExecStart="));
    let line = line.ok_or_else(|| anyhow!("a unit has no ExecStart"))?;
    Ok(line.split_whitespace().map(|word| word.trim_matches('\'').to_owned()).collect())
}

/// Whether the program takes these words: behind valid ones `--help` prints help, behind wrong ones an error
fn takes(natsbridge: &Path, words: &[String]) -> Result<()> {
    let end = words.iter().position(|word| word == "--exec").unwrap_or(words.len());
    let words = words.get(..end).unwrap_or_default();
    process::output(Command::new(natsbridge).args(words).arg("--help")).map(drop)
}

fn in_file(name: &str, failure: &Error) -> Error {
    anyhow!("{name}: {failure:#}")
}

/// Compose's file: what it mounts exists, and the programs take the options that it gives
fn compose(natsbridge: &Path) -> Result<()> {
    let text = read("compose/compose.yaml")?;
    for line in text.lines().map(str::trim) {
        let Some(source) = line.strip_prefix("- .").and_then(|rest| rest.split_once(':')).map(|(path, _)| path) else {
            continue;
        };
        if source == "/tls" {
            bail!("compose.yaml shows a service the keys of all");
        }
        // Certificates are the operator's.
        let path = folder().join("compose").join(format!(".{source}"));
        if !source.starts_with("/tls") && !path.exists() {
            bail!("compose.yaml mounts {}, which is not there", path.display());
        }
    }
    image(&text)?;
    let serve: Vec<String> = text
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "- serve")
        .map_while(|line| line.strip_prefix("- "))
        .map(str::to_owned)
        .collect();
    let probe = text.lines().find_map(|line| line.trim().strip_prefix("command: [probe,"));
    let probe = probe.ok_or_else(|| anyhow!("compose.yaml starts no probe"))?;
    let probe = probe.trim_end_matches(']').split(',').map(|word| word.trim().trim_matches('"').to_owned());
    let probe: Vec<_> = std::iter::once("probe".to_owned()).chain(probe).collect();
    for words in [&serve, &probe] {
        if words.len() < 4 {
            bail!("compose.yaml gives a program too little: {words:?}");
        }
        takes(natsbridge, words).map_err(|failure| in_file("compose.yaml", &failure))?;
    }
    println!("ok  compose.yaml: what it mounts and what it starts");
    let config = ["compose", "--file"];
    let mut docker = Command::new("docker");
    docker.args(config).arg(folder().join("compose/compose.yaml")).args(["config", "--quiet", "--no-interpolate"]);
    match process::output(Command::new("docker").args(["compose", "version"])) {
        Ok(_) => {
            process::output(&mut docker)?;
            println!("ok  compose.yaml by docker compose");
        }
        Err(_) => println!("skipped: compose.yaml by docker compose, which is not here"),
    }
    Ok(())
}

/// Compose's file starts the image that `cargo xtask dist image` makes, and keeps what that writes
fn image(compose: &str) -> Result<()> {
    let made = dist::image_name()?;
    let lines = || compose.lines().map(str::trim);
    let images: Vec<_> = lines().filter_map(|line| line.strip_prefix("image: natsbridge")).collect();
    if images.is_empty() || images.iter().any(|image| format!("natsbridge{image}") != made) {
        bail!("compose.yaml starts {images:?}, and dist makes {made}");
    }
    let dockerfile = fs::read_to_string(root().join("Dockerfile"))?;
    let volume = dockerfile.lines().find_map(|line| line.strip_prefix("VOLUME "));
    let volume = volume.context("the image has no volume")?;
    let (mounted, written) = (format!("- files:{volume}"), format!("- --dir={volume}"));
    if !lines().any(|line| line == mounted) || !lines().any(|line| line == written) {
        bail!("compose.yaml does not keep uploads in the image's volume {volume}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_of_compose_is_the_one_that_dist_makes() {
        let compose = read("compose/compose.yaml").unwrap();
        image(&compose).unwrap();
        for (from, to) in
            [("image: natsbridge:", "image: natsbridge:9"), ("files:/data", "files:/srv"), ("=/data", "=/")]
        {
            assert!(image(&compose.replace(from, to)).is_err(), "{to}");
        }
    }

    #[test]
    fn command_of_a_unit_is_read_over_lines() {
        let words = command("[Service]\nExecStart=/bin/a b \\\n    'c.>' --d\nUser=x\n").unwrap();
        assert_eq!(words, ["/bin/a", "b", "c.>", "--d"]);
        assert!(command("[Service]\n").is_err());
    }
}
