//! `cargo xtask vectors regenerate`: the producers of `producers.json`, in their versions, make their vectors again.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail};
use fs_err as fs;
use serde_json::Value;

use super::{load, testdata};
use crate::process;
use crate::tools;
use crate::workspace::{entries, name_of};

/// Makes the vectors of one producer, or of all, and removes blobs that nobody uses any more
pub(crate) fn regenerate(producer: Option<&str>) -> Result<()> {
    let path = testdata().join("producers.json");
    let text = fs::read_to_string(&path)?;
    let producers: Value = serde_json::from_str(&text).context("producers.json is not JSON")?;
    let known: Vec<_> = producers.as_object().into_iter().flatten().collect();
    let chosen: Vec<_> = known.iter().filter(|(name, _)| producer.is_none_or(|wanted| wanted == *name)).collect();
    if chosen.is_empty() {
        let names = known.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
        bail!("no such producer; there are {names}");
    }
    for (name, entry) in chosen {
        let word = |key: &str| entry[key].as_str().ok_or_else(|| anyhow!("producer {name}: no {key}"));
        let (version, script) = (word("version")?, word("script")?);
        println!("{name} {version}: {script}");
        let mut command = match name.as_str() {
            "hand" => Command::new("python3"),
            "pyarrow" => python(name, version)?,
            _ => node(name, version)?,
        };
        process::run(command.arg(script).current_dir(testdata()))?;
    }
    sweep()
}

/// Python with one package, in the cache
fn python(package: &str, version: &str) -> Result<Command> {
    let home = tools::cache()?.join(format!("producer-{package}-{version}"));
    let program = home.join("bin/python");
    if process::output(Command::new(&program).args(["-c", &format!("import {package}")])).is_err() {
        process::output(Command::new("python3").args(["-m", "venv"]).arg(&home))?;
        let mut pip = Command::new(&program);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        process::output(pip.arg(format!("{package}=={version}")))?;
    }
    Ok(Command::new(program))
}

/// Node with one package, in the cache; the script looks for it in `NATSBRIDGE_MODULES`
fn node(package: &str, version: &str) -> Result<Command> {
    let home = tools::cache()?.join(format!("producer-{package}-{version}"));
    if !home.join("node_modules").join(package).is_dir() {
        fs::create_dir_all(&home)?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]).arg(&home);
        process::output(npm.arg(format!("{package}@{version}")))?;
    }
    let mut command = Command::new("node");
    command.env("NATSBRIDGE_MODULES", home.join("node_modules"));
    Ok(command)
}

fn sweep() -> Result<()> {
    let texts: BTreeSet<String> = load()?.into_iter().map(|vector| vector.text).collect();
    for path in entries(&testdata().join("blobs"))? {
        let name = name_of(&path);
        if !texts.iter().any(|text| text.contains(&name)) {
            fs::remove_file(&path)?;
            println!("removed blobs/{name}, which no vector uses");
        }
    }
    Ok(())
}
