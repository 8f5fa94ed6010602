//! Profiles and contexts: what they set, what counts for more, what is found wrong, and that no secret is kept or shown.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use natsbridge_testkit::nats_server::NatsServer;
use serde_json::{Value as Json, json};
use support::{Ended, program, run};

/// The program with a folder of its own for settings, and no variables
fn with(folder: &Path, words: &[&str]) -> Command {
    let mut command = program();
    command.env("XDG_CONFIG_HOME", folder.join("config")).current_dir(folder).args(words);
    command
}

fn told(folder: &Path, words: &[&str]) -> Ended {
    run(&mut with(folder, words))
}

fn done(folder: &Path, words: &[&str]) -> String {
    let ended = told(folder, words);
    assert_eq!(ended.code, Some(0), "{words:?}: {}", ended.stderr);
    ended.stdout
}

#[test]
fn profile_stands_for_variables_and_keeps_no_secret() {
    let nats = NatsServer::builder().token("hunter2").start().unwrap();
    let url = nats.url();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("token"), "hunter2\n").unwrap();
    done(folder, &["profile", "save", "lab", "--nats", &url, "--token-file", "token", "--threshold", "0.25MB"]);
    let file = folder.join("config/natsbridge/profiles.json");
    assert!(!fs::read_to_string(&file).unwrap().contains("hunter2"));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let send = ["send", "s", "--text", "a=b"];
    let with_profile = [&send[..], &["--profile", "lab"]].concat();
    done(folder, &with_profile);
    done(folder, &["profile", "use", "lab"]);
    done(folder, &send);
    for shown in [done(folder, &["profile", "show"]), done(folder, &["profile", "list"])] {
        assert!(shown.contains(&url) && !shown.contains("hunter2"), "{shown}");
    }
    let shown: Json = serde_json::from_str(&done(folder, &["profile", "show", "lab", "--json"])).unwrap();
    let token = fs::canonicalize(folder.join("token")).unwrap();
    assert_eq!(shown, json!({ "name": "lab", "nats": url, "token_file": token, "threshold": 250_000 }));
    let listed: Json = serde_json::from_str(&done(folder, &["profile", "list", "--json"])).unwrap();
    assert_eq!(listed, json!({ "profiles": ["lab"], "in_use": "lab" }));

    // A token is for its own server: with another address, that of the profile is not sent.
    let elsewhere = run(with(folder, &send).env("NATS_URL", &url));
    assert_eq!(elsewhere.code, Some(3), "{}", elsewhere.stderr);
    // The profile that was asked for counts for more than variables.
    let asked = run(with(folder, &with_profile).env("NATS_URL", "nats://127.0.0.1:9").env("NATS_USER", "ann"));
    assert_eq!(asked.code, Some(0), "{}", asked.stderr);

    fs::remove_file(folder.join("token")).unwrap();
    let gone = told(folder, &send);
    assert_eq!(gone.code, Some(2), "{}", gone.stderr);
    assert!(gone.stderr.contains("profile `lab`") && gone.stderr.contains("token"), "{}", gone.stderr);
    done(folder, &["profile", "remove", "lab"]);
    assert_eq!(told(folder, &with_profile).code, Some(2));
    assert!(done(folder, &["profile", "list"]).contains("no profiles"));
}

#[test]
fn secret_in_a_variable_and_what_is_wrong_with_a_profile_are_named() {
    let nats = NatsServer::builder().token("hunter2").start().unwrap();
    let url = nats.url();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    done(folder, &["profile", "save", "lab", "--nats", &url, "--token-env", "LAB_TOKEN", "--use"]);
    let unset = told(folder, &["send", "s", "--text", "a=b"]);
    assert!(unset.code == Some(2) && unset.stderr.contains("LAB_TOKEN"), "{}", unset.stderr);
    let set = run(with(folder, &["send", "s", "--text", "a=b"]).env("LAB_TOKEN", "hunter2"));
    assert_eq!(set.code, Some(0), "{}", set.stderr);
    for (words, named) in [
        (&["--nats", "nats://ann:hunter2@h"][..], "--password-file"),
        (&["--nats", "nats://hunter2@h"], "--token-file"),
        (&["--store", "https://ann:hunter2@h/in"], "--fileserver-token-file"),
        (&["--fileserver", "files"], "--fileserver"),
        (&["--s3", "payloads"], "s3://"),
        (&["--creds", "absent"], "absent"),
        (&["--user", "ann"], "--password-file"),
    ] {
        let refused = told(folder, &[&["profile", "save", "x"], words].concat());
        assert_eq!(refused.code, Some(2), "{words:?}");
        assert!(refused.stderr.contains(named) && !refused.stderr.contains("hunter2"), "{}", refused.stderr);
    }
    assert_eq!(told(folder, &["profile", "save", "../x"]).code, Some(2));
    // Somebody wrote a password into the file by hand.
    let file = folder.join("config/natsbridge/profiles.json");
    let by_hand =
        json!({ "in_use": "lab", "profiles": { "lab": { "nats": "nats://a:4222,nats://ann:hunter2@h:4222" } } });
    fs::write(&file, by_hand.to_string()).unwrap();
    for words in [&["profile", "list"][..], &["profile", "show"], &["profile", "show", "--json"]] {
        let shown = done(folder, words);
        assert!(shown.contains("nats://a:4222,nats://h:4222") && !shown.contains("hunter2"), "{shown}");
    }
    fs::write(&file, "{").unwrap();
    let damaged = told(folder, &["profile", "list"]);
    assert!(damaged.code == Some(2) && damaged.stderr.contains("profiles.json"), "{}", damaged.stderr);
}

#[test]
fn profiles_saved_at_once_are_all_kept_and_a_link_stays_one() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (settings, kept) = (folder.join("config/natsbridge"), folder.join("kept"));
    fs::create_dir_all(&settings).unwrap();
    // The first one makes the file that the link names.
    std::os::unix::fs::symlink("../../kept/profiles.json", settings.join("profiles.json")).unwrap();
    let names: Vec<_> = (0..12).map(|n| format!("p{n:02}")).collect();
    let save = |name: &String| with(folder, &["profile", "save", name, "--nats", "nats://a"]).spawn().unwrap();
    let mut running: Vec<_> = names.iter().map(save).collect();
    assert!(running.iter_mut().all(|child| child.wait().unwrap().success()));
    let listed: Json = serde_json::from_str(&done(folder, &["profile", "list", "--json"])).unwrap();
    assert_eq!(listed["profiles"], json!(names));
    assert!(fs::symlink_metadata(settings.join("profiles.json")).unwrap().is_symlink());
    assert_eq!(fs::metadata(kept.join("profiles.json")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn context_of_the_nats_program_logs_in() {
    let nats = NatsServer::builder().user("ann", "hunter2").start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let contexts = folder.join("config/nats/context");
    fs::create_dir_all(&contexts).unwrap();
    let port = nats.port();
    let context = json!({ "description": "lab", "url": format!("nats://127.0.0.1:{port}"), "user": "ann",
        "password": "hunter2", "token": "", "creds": "", "nkey": "", "cert": "", "key": "", "ca": "", "nsc": "",
        "jetstream_domain": "", "inbox_prefix": "", "color_scheme": "" });
    fs::write(contexts.join("lab.json"), context.to_string()).unwrap();
    done(folder, &["send", "s", "--text", "a=b", "--context", "lab"]);
    let unknown = told(folder, &["send", "s", "--text", "a=b", "--context", "home"]);
    assert!(unknown.code == Some(2) && unknown.stderr.contains("there are lab"), "{}", unknown.stderr);
    fs::write(contexts.join("bad.json"), "{\"password\":\"hunter2\"").unwrap();
    let damaged = told(folder, &["send", "s", "--text", "a=b", "--context", "bad"]);
    assert!(damaged.code == Some(2) && !damaged.stderr.contains("hunter2"), "{}", damaged.stderr);
}
