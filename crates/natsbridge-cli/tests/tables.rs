//! Tables and media from one command to the other: Parquet, tables shown and saved as asked, and names by content.

#![cfg(feature = "parquet")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use serde_json::json;
use support::{Running, World, entries, run};

#[test]
fn table_is_saved_as_asked_and_parquet_is_sent_again() {
    let world = World::start();
    world.file("run.csv", "n,note\n1,\"a, b\"\n2,\n");
    let mut receivers = Vec::new();
    for kind in ["csv", "parquet", "arrow", "json"] {
        receivers.push(world.receiver(&["s", "--count", "1", "--save", kind, "--save-tables", kind]));
    }
    assert_eq!(run(&mut world.program(["send", "s", "--table", "t=@run.csv"])).code, Some(0));
    for receiver in receivers {
        let line = receiver.json();
        let path = line["payloads"][0]["path"].as_str().unwrap().to_owned();
        let kind = path.rsplit('.').next().unwrap().to_owned();
        assert_eq!(path, format!("{kind}/t.{kind}"));
        assert_eq!(line["payloads"][0]["value"], json!([{"n": 1, "note": "a, b"}, {"n": 2, "note": null}]));
        assert_eq!(receiver.ended().code, Some(0));
        assert_eq!(entries(&world.path(&kind)), [format!("t.{kind}")]);
        // What was saved is what was sent.
        let receiver = world.receiver(&["again", "--count", "1"]);
        let sent = run(&mut world.program(["send", "again", "--table", &format!("t=@{path}")]));
        assert_eq!(sent.code, Some(0), "{kind}: {}", sent.stderr);
        let again = receiver.json();
        assert_eq!(again["payloads"][0]["value"], line["payloads"][0]["value"], "{kind}");
        let payload_type = if kind == "json" { "jsontable" } else { "arrowtable" };
        assert_eq!(again["payloads"][0]["payload_type"], payload_type, "{kind}");
    }
    assert_eq!(std::fs::read_to_string(world.path("csv/t.csv")).unwrap(), "n,note\n1,\"a, b\"\n2,\n");
}

#[test]
fn people_see_the_first_rows_and_media_are_named_by_content() {
    let world = World::start();
    world.file("run.csv", "sensor,celsius\nkitchen,21.5\ncellar,12.0\n");
    world.file("photo", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR");
    let receiver = Running::start(&mut world.program(["receive", "s", "--save", "saved", "--count", "1"]));
    receiver.said("subscribed to ");
    let words = ["send", "s", "--table", "t=@run.csv", "--image", "photo=@photo"];
    assert_eq!(run(&mut world.program(words)).code, Some(0));
    let shown = receiver.ended().stdout;
    for line in
        ["    2 rows of 2 columns", "    sensor   celsius", "    kitchen     21.5", "    saved as saved/photo.png"]
    {
        assert!(shown.lines().any(|found| found == line), "{line}: {shown}");
    }
}

#[test]
fn cells_stay_text_where_asked() {
    let world = World::start();
    world.file("run.csv", "version,n\n1.10,1\n1.20,2\n");
    for (words, value) in [
        (&[][..], json!([{"version": 1.1, "n": 1}, {"version": 1.2, "n": 2}])),
        (&["--csv-text"], json!([{"version": "1.10", "n": "1"}, {"version": "1.20", "n": "2"}])),
    ] {
        let receiver = world.receiver(&["s", "--count", "1"]);
        let sent = run(&mut world.program(["send", "s", "--table", "t=@run.csv"].iter().chain(words)));
        assert_eq!(sent.code, Some(0), "{}", sent.stderr);
        assert_eq!(receiver.json()["payloads"][0]["value"], value);
    }
}
