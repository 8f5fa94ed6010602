//! Any text as a payload's name: saved in the chosen folder, as one plain visible file.
#![no_main]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use natsbridge::{ReceiveOptions, open};
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

static OUTER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a folder"));
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(1).build().expect("a runtime"));

fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder can be read");
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect()
}

fuzz_target!(|data: &[u8]| {
    let Ok(dataname) = std::str::from_utf8(data) else { return };
    let folder = OUTER.path().join("inbox");
    fs::create_dir_all(&folder).expect("a folder");
    let payload = json!({"dataname": dataname, "payload_type": "binary", "transport": "direct", "data": "AA=="});
    let json = json!({"payloads": [payload]}).to_string();
    let (_, handles) = open(&json, &ReceiveOptions::default()).expect("an envelope");
    // Twice, so that the second name has to give way to the first.
    for count in 1..=2 {
        let saved = RUNTIME.block_on(handles[0].save(&folder)).expect("any name can be saved");
        let name = saved.path.file_name().expect("a name").to_str().expect("UTF-8");
        assert_eq!(saved.path.parent(), Some(&*folder), "{dataname:?}");
        assert!(entries(&folder).contains(&name.to_owned()) && entries(&folder).len() == count, "{dataname:?}");
        let plain = |c: char| {
            !c.is_control() && !matches!(c, '/' | '\\' | ':' | '\u{202e}' | '<' | '>' | '"' | '|' | '?' | '*')
        };
        assert!(name.chars().all(plain) && name.len() <= 255, "{dataname:?} became {name:?}");
        assert!(!name.starts_with(['.', '-', ' ']) && !name.ends_with(['.', ' ']), "{dataname:?} became {name:?}");
    }
    assert_eq!(entries(OUTER.path()), ["inbox"], "{dataname:?}");
    fs::remove_dir_all(&folder).expect("the folder can be removed");
});
