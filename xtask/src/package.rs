//! `cargo xtask package`: every published crate is packed as it would be for publishing, with what a registry shows.

use anyhow::{Error, Result};
use serde_json::Value;

use crate::process;
use crate::workspace::{cargo, members, published};

/// Fields of the manifest that a registry shows or searches
const FIELDS: [&str; 5] = ["description", "license", "repository", "readme", "rust_version"];

/// Files that every package holds
const FILES: [&str; 3] = ["README.md", "LICENSE-APACHE", "LICENSE-MIT"];

pub(crate) fn run() -> Result<()> {
    let mut faults = Vec::new();
    for package in published()? {
        faults.extend(
            lacks(&package.manifest, package.library).into_iter().map(|lack| format!("{}: no {lack}", package.name)),
        );
        let words = ["package", "--locked", "--allow-dirty", "--list", "-p", &package.name];
        let listed = process::output(cargo().args(words))?;
        for file in FILES {
            if !listed.lines().any(|line| line == file) {
                faults.push(format!("{}: {file} is not packed", package.name));
            }
        }
    }
    if !faults.is_empty() {
        return Err(Error::msg(faults.join("\n")));
    }
    // All at once, since they depend on each other and none is published yet.
    let mut pack = cargo();
    // Quietly, or it warns of each file of tests that is left out on purpose.
    pack.args(["package", "--quiet", "--locked", "--allow-dirty", "--no-verify", "--workspace"]);
    for package in members()?.iter().filter(|package| !package.published) {
        pack.args(["--exclude", &package.name]);
    }
    process::run(&mut pack)?;
    println!("packed: {}", published()?.into_iter().map(|package| package.name).collect::<Vec<_>>().join(", "));
    Ok(())
}

/// What a package's manifest does not say
fn lacks(manifest: &Value, library: bool) -> Vec<&'static str> {
    let mut lacks: Vec<_> = FIELDS.into_iter().filter(|field| manifest[*field].is_null()).collect();
    for list in ["keywords", "categories"] {
        if manifest[list].as_array().is_none_or(Vec::is_empty) {
            lacks.push(list);
        }
    }
    // Without it, docs.rs shows what the default features give.
    if library && manifest["metadata"]["docs"]["rs"]["all-features"] != true {
        lacks.push("package.metadata.docs.rs.all-features");
    }
    lacks
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn missing_manifest_fields_are_named() {
        let whole = json!({
            "description": "d", "license": "MIT", "repository": "r", "readme": "README.md", "rust_version": "1.89",
            "keywords": ["nats"], "categories": ["encoding"], "metadata": null,
        });
        assert!(lacks(&whole, false).is_empty());
        assert_eq!(lacks(&whole, true), ["package.metadata.docs.rs.all-features"]);
        let mut bare = whole;
        bare["readme"] = Value::Null;
        bare["keywords"] = json!([]);
        assert_eq!(lacks(&bare, false), ["readme", "keywords"]);
    }
}
