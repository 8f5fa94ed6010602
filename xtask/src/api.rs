//! `cargo xtask api`: what the published libraries offer, as text in `docs/api.txt`, so that no name changes by accident.
//!
//! rustdoc describes a library as JSON, which is an unstable output whose format changes with Rust's versions. So the
//! list is made with one version of Rust, which writes a format that the reader (`examples/api.rs`) knows; rustdoc alone
//! is told to write it although it is no nightly (`api/rustdoc.sh`).

use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow, bail};
use fs_err as fs;
use serde_json::Value;

use crate::process;
use crate::workspace::{cargo, libraries, root};

/// Where the list is kept
const FILE: &str = "docs/api.txt";

/// The format of rustdoc's JSON that `public-api` reads in the version that Cargo.toml names, and a Rust that writes it
const FORMAT: u64 = 57;
const RUST: &str = "1.95";

const HEAD: &str = "\
Everything public in the published libraries with all features, derived implementations left out.
Each item is there once: methods of traits stand at the trait, and the traits of a type at the end of its library.
Written by `cargo xtask api`; CI compares. A line that changes here changes programs of users.
";

/// Lines shown of a difference
const SHOWN: usize = 40;

/// `cargo xtask api`
pub(crate) fn write() -> Result<()> {
    let path = root().join(FILE);
    fs::write(&path, list()?)?;
    println!("{FILE} is written");
    Ok(())
}

/// `cargo xtask api --check`
pub(crate) fn check() -> Result<()> {
    let path = root().join(FILE);
    let kept = fs::read_to_string(&path)?;
    let differences = differences(&kept, &list()?);
    if differences.is_empty() {
        println!("{FILE} is what the libraries offer");
        return Ok(());
    }
    Err(anyhow!(
        "{FILE} is not what the libraries offer; if that is meant, run `cargo xtask api` and commit it:\n{}",
        differences.join("\n")
    ))
}

/// The libraries' lists, one after the other
fn list() -> Result<String> {
    let libraries = libraries()?;
    let mut rustdoc = cargo();
    // The whole workspace, as the step `doc` does: what that compiled serves here too.
    rustdoc
        .args(["doc", "--quiet", "--locked", "--workspace", "--all-features", "--no-deps", "--lib"])
        .env("RUSTDOC", root().join("xtask/src/api/rustdoc.sh"))
        .env("RUSTDOCFLAGS", "-Zunstable-options --output-format=json");
    process::run(&mut rustdoc)?;

    let files: Vec<_> = libraries
        .iter()
        .map(|library| library.target.join("doc").join(library.name.replace('-', "_")).with_extension("json"))
        .collect();
    check_format(&files)?;
    let mut reader = cargo();
    reader.args(["run", "--quiet", "--locked", "-p", "xtask", "--example", "api", "--"]).args(files);
    Ok(format!("{HEAD}{}", process::output(&mut reader)?))
}

/// Says which Rust it takes, where the one that ran is another
fn check_format(files: &[PathBuf]) -> Result<()> {
    for file in files {
        let failed = || format!("cannot read {}", file.display());
        let json: Value = serde_json::from_slice(&fs::read(file)?).with_context(failed)?;
        let format = json["format_version"].as_u64();
        if format != Some(FORMAT) {
            bail!(
                "this Rust describes libraries in format {}, and {FILE} is made from format {FORMAT}, that of Rust \
                 {RUST}: run `cargo +{RUST} xtask api`, or move to another `public-api` (Cargo.toml) and FORMAT (api.rs)",
                format.map_or_else(|| "unknown".to_owned(), |format| format.to_string())
            );
        }
    }
    Ok(())
}

/// Lines that only one of them has, marked as a diff marks them
fn differences(kept: &str, offered: &str) -> Vec<String> {
    let only = |a: &str, b: &str, mark: char| {
        let others: std::collections::HashSet<&str> = b.lines().collect();
        a.lines().filter(|line| !others.contains(line)).map(|line| format!("{mark} {line}")).collect::<Vec<_>>()
    };
    let mut all = only(kept, offered, '-');
    all.extend(only(offered, kept, '+'));
    // Lines in another order, or one of two equal ones gone
    if all.is_empty() && kept != offered {
        all.push("the same lines in another order or number".to_owned());
    }
    let more = all.len().saturating_sub(SHOWN);
    all.truncate(SHOWN);
    if more > 0 {
        all.push(format!("and {more} more"));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_lines_are_shown() {
        assert!(differences("a\nb\n", "a\nb\n").is_empty());
        assert_eq!(differences("a\nb\n", "a\nc\n"), ["- b", "+ c"]);
        assert_eq!(differences("a\nb\n", "b\na\n"), ["the same lines in another order or number"]);
        let many: String = (0..50).map(|n| format!("{n}\n")).collect();
        assert_eq!(differences(&many, "").last().unwrap(), "and 10 more");
    }
}
