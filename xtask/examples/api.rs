//! Prints what libraries offer, from rustdoc's JSON; `cargo xtask api` runs it.
//!
//! Each item is one line, and there once: a trait's methods stand at the trait and not at each type that implements it, all
//! traits of a type are one line at the end, what a module re-exports from another crate is one line, and of an item with
//! two paths the second is a `pub use`.
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::env;
use std::error::Error;
use std::path::PathBuf;

use public_api::{Builder, PublicItem};

fn main() -> Result<(), Box<dyn Error>> {
    for path in env::args_os().skip(1).map(PathBuf::from) {
        let name = path.file_stem().map(|stem| stem.to_string_lossy().replace('_', "-")).unwrap_or_default();
        // What the compiler adds says little about a library and much about the compiler.
        let offered = Builder::from_rustdoc_json(&path)
            .omit_blanket_impls(true)
            .omit_auto_trait_impls(true)
            .omit_auto_derived_impls(true)
            .build()
            .map_err(|error| format!("{}: {error}", path.display()))?;
        println!("\n# {name}\n");
        for line in lines(&offered.items().collect::<Vec<_>>()) {
            println!("{line}");
        }
    }
    Ok(())
}

fn lines(items: &[&PublicItem]) -> Vec<String> {
    let texts: HashMap<_, _> = items.iter().map(|item| (item.id(), item.to_string())).collect();
    let mut types: HashMap<_, Vec<String>> = HashMap::new();
    for item in items {
        let text = item.to_string();
        let named = text.strip_prefix("pub type ").and_then(|text| text.split_once(" = "));
        if let (Some(parent), Some((path, is))) = (item.parent_id(), named) {
            types.entry(parent).or_default().push(format!("{} = {is}", path.rsplit("::").next().unwrap_or(path)));
        }
    }
    let mut lines = Vec::new();
    let mut exported: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut implemented: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut generic = BTreeSet::new();
    let mut seen = HashSet::new();
    for item in items {
        let text = item.to_string();
        let parent = item.parent_id().and_then(|parent| texts.get(&parent)).map_or("", String::as_str);
        if is_of_trait(parent) {
            continue;
        }
        if !seen.insert(item.id()) {
            if let Some(path) =
                text.split(' ').find(|word| word.contains("::")).filter(|_| parent.starts_with("pub mod"))
            {
                lines.push(format!("pub use {path}"));
            }
        } else if let Some((what, of)) = text.strip_prefix("impl ").and_then(|text| text.split_once(" for ")) {
            let types = types.remove(&item.id()).map_or_else(String::new, |types| format!("<{}>", types.join(", ")));
            implemented.entry(of.to_owned()).or_default().insert(format!("{what}{types}"));
        } else if is_of_trait(&text) {
            generic.insert(text);
        } else if let Some((module, name)) = text.strip_prefix("pub use ").and_then(|path| path.rsplit_once("::")) {
            exported.entry(module.to_owned()).or_default().insert(name.to_owned());
        } else if !text.starts_with("impl ") {
            // Of a type's own `impl` each method has the type's path.
            lines.push(text);
        }
    }
    let list = |names: BTreeSet<String>| names.into_iter().collect::<Vec<_>>().join(", ");
    lines.extend(exported.into_iter().map(|(module, names)| format!("pub use {module}::{{{}}}", list(names))));
    lines.extend(generic);
    lines.extend(implemented.into_iter().map(|(of, traits)| format!("impl {} for {of}", list(traits))));
    lines
}

/// Whether a text is the head of a trait's implementation
fn is_of_trait(text: &str) -> bool {
    text.starts_with("impl") && text.split(" where ").next().is_some_and(|head| head.contains(" for "))
}
