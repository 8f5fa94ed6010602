//! Purity, third fence: what the pure crate pulls in. The others are core's `clippy.toml` and `deny.toml`.

use std::collections::BTreeSet;
use std::env;
use std::process::Command;

/// Crates that perform: runtimes, clients, sockets, sources of random numbers
const PERFORMERS: [&str; 10] =
    ["tokio", "async-std", "reqwest", "hyper", "async-nats", "rustls", "mio", "socket2", "rand", "rand_core"];

/// Names of the crates that `natsbridge-core` is built from, itself included
fn crates(extra: &[&str]) -> BTreeSet<String> {
    let names = tree("natsbridge-core", extra);
    assert!(names.contains("serde_json"), "cargo tree printed something else: {names:?}");
    names
}

/// Names of the crates that a package is built from, itself included
fn tree(package: &str, extra: &[&str]) -> BTreeSet<String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--locked", "--package", package, "--edges", "normal", "--prefix", "none"])
        .args(extra)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect()
}

fn check_absent(names: &BTreeSet<String>, banned: &[&str]) {
    let found: Vec<_> = banned.iter().filter(|name| names.contains(**name)).collect();
    assert!(found.is_empty(), "natsbridge-core decides and never performs, but is built from {found:?}");
}

#[test]
fn core_has_no_runtime_no_client_and_no_random_source() {
    check_absent(&crates(&[]), &PERFORMERS);
}

#[test]
fn core_without_arrow_is_small_and_has_no_random_source() {
    let names = crates(&["--no-default-features"]);
    check_absent(&names, &PERFORMERS);
    check_absent(&names, &["getrandom", "arrow-ipc"]);
    assert!(names.len() <= 45, "{} crates: {names:?}", names.len());
}

#[test]
fn facade_reaches_async_nats_through_the_nats_crate_alone() {
    let direct = tree("natsbridge", &["--depth", "1", "--all-features"]);
    assert!(direct.contains("natsbridge-nats"), "cargo tree printed something else: {direct:?}");
    assert!(!direct.contains("async-nats"), "only tests of the façade may use async-nats directly");
}
