//! `cargo xtask semver`: what the libraries offer still serves whoever uses the last tagged version.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::process;
use crate::tools;
use crate::workspace::{libraries, root};

pub(crate) fn run() -> Result<()> {
    let Some(tag) = last_tag(&root()) else {
        println!("no tag `v*` is reachable: nothing is released, so nothing is compared");
        return Ok(());
    };
    println!("compared with {tag}");
    let libraries = libraries()?;
    let names: Vec<_> = libraries.iter().map(|package| package.name.as_str()).collect();
    compare(&root(), &tag, &names)
}

/// The last release's tag; none in a checkout without tags
fn last_tag(checkout: &Path) -> Option<String> {
    let words = ["describe", "--tags", "--abbrev=0", "--match", "v[0-9]*"];
    let tag = process::output(Command::new("git").current_dir(checkout).args(words)).ok()?;
    Some(tag.trim().to_owned()).filter(|tag| !tag.is_empty())
}

fn compare(checkout: &Path, tag: &str, packages: &[&str]) -> Result<()> {
    let mut check = Command::new(tools::SEMVER_CHECKS.locate()?);
    check.current_dir(checkout).args(["semver-checks", "--all-features", "--baseline-rev", tag]);
    for package in packages {
        check.args(["--package", package]);
    }
    process::run(&mut check)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::TempFolder;

    #[test]
    fn last_version_tag_is_found_and_other_tags_are_not() {
        let folder = TempFolder::create().unwrap();
        let git = |words: &str| {
            let author = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"];
            let words = words.split(' ');
            process::output(Command::new("git").current_dir(folder.path()).args(author).args(words)).unwrap();
        };
        git("init --quiet");
        git("commit --quiet --allow-empty --message one");
        git("tag nightly");
        assert_eq!(last_tag(folder.path()), None);
        git("tag v0.1.0");
        git("commit --quiet --allow-empty --message two");
        assert_eq!(last_tag(folder.path()).unwrap(), "v0.1.0");
        git("tag v0.2.0");
        assert_eq!(last_tag(folder.path()).unwrap(), "v0.2.0");
    }
}
