//! Prints what libraries offer, from rustdoc's JSON; `cargo xtask api` runs it.
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::env;
use std::error::Error;
use std::path::PathBuf;

use public_api::Builder;

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
        for item in offered.items() {
            println!("{item}");
        }
    }
    Ok(())
}
