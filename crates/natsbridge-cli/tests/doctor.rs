//! The doctor at healthy and at sick servers: each illness is named with what to do, and has its exit code.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use natsbridge_testkit::nats_server::NatsServer;
use natsbridge_testkit::scripted_http::Reply;
use serde_json::{Value as Json, json};
use support::{Ended, Scripted, World, program, run};

/// State and text of a check
fn check(ended: &Ended, name: &str) -> (String, String) {
    let json: Json = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{}{}", ended.stdout, ended.stderr));
    let checks = json["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name}: {json}"));
    (check["state"].as_str().unwrap().to_owned(), format!("{} {}", check["found"], check["fix"]))
}

#[test]
fn healthy_servers_pass_every_check_and_nothing_is_left() {
    let world = World::start();
    let ended = run(&mut world.program(["doctor", "lab.results"]));
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    let words: Vec<_> = ended.stdout.lines().filter(|line| !line.starts_with(' ')).collect();
    assert!(words.iter().all(|line| line.starts_with("ok    ")), "{}", ended.stdout);
    for name in ["nats-server", "inbox", "publish", "round trip", "upload", "download", "delete", "clock"] {
        assert!(ended.stdout.contains(name), "{name}: {}", ended.stdout);
    }
    assert!(ended.stdout.lines().all(|line| line.chars().count() <= 80), "{}", ended.stdout);
    assert_eq!(world.uploads(), 0);
    let json = run(&mut world.program(["doctor", "--json"]));
    assert_eq!(serde_json::from_str::<Json>(&json.stdout).unwrap()["ok"], true);
}

#[test]
fn refused_permission_is_reported_with_what_to_allow() {
    let world = World::start();
    let permissions = "permissions: { publish: [\"other\", \"_INBOX.>\"], subscribe: [\"lab.>\", \"_INBOX.>\"] }";
    let config = format!("authorization {{ users: [{{ user: \"ann\", password: \"hunter2\", {permissions} }}] }}");
    let nats = NatsServer::builder().config(&config).start().unwrap();
    let url = nats.url().replace("nats://", "nats://ann:hunter2@");
    let mut doctor = world.program(["doctor", "lab.results", "--json"]);
    let ended = run(doctor.env("NATS_URL", &url));
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert_eq!(check(&ended, "subscribe").0, "ok");
    assert_eq!(check(&ended, "login").0, "ok");
    let (state, text) = check(&ended, "publish");
    assert_eq!(state, "fail", "{text}");
    assert!(text.contains("allow this user to publish on lab.results"), "{text}");
    assert_eq!(check(&ended, "upload").0, "ok", "the file server is checked all the same");
    assert!(!format!("{}{}", ended.stdout, ended.stderr).contains("hunter2"));

    let mut doctor = world.program(["doctor", "secret.>", "--json"]);
    let ended = run(doctor.env("NATS_URL", &url));
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert_eq!(check(&ended, "subscribe").0, "fail");
    assert_eq!(check(&ended, "publish").0, "warn");
    // The check tells it; no line of the log does so again.
    for subject in ["lab.results", "secret.>"] {
        let ended = run(world.program(["doctor", subject]).env("NATS_URL", &url));
        assert!(ended.stderr.starts_with("error: ") && ended.stderr.lines().count() == 1, "{}", ended.stderr);
    }
}

#[test]
fn inbox_of_ones_own_is_named_by_option_variable_profile_or_context() {
    let world = World::start();
    let permissions = "permissions: { publish: [\"_INBOX.ann.>\"], subscribe: [\"_INBOX.ann.>\"] }";
    let config = format!("authorization {{ users: [{{ user: \"ann\", password: \"hunter2\", {permissions} }}] }}");
    let nats = NatsServer::builder().config(&config).start().unwrap();
    let contexts = world.path("config/nats/context");
    std::fs::create_dir_all(&contexts).unwrap();
    let context = json!({ "url": nats.url(), "user": "ann", "password": "hunter2", "inbox_prefix": "_INBOX.ann" });
    std::fs::write(contexts.join("lab.json"), context.to_string()).unwrap();
    let natsbridge = |words: &[&str], variables: &[(&str, &str)]| {
        let mut command = world.program(words);
        command.env("XDG_CONFIG_HOME", world.path("config")).env("PASSWORD", "hunter2").env_remove("NATS_URL");
        run(command.envs(variables.iter().copied()))
    };
    let url = nats.url();
    let save = ["profile", "save", "lab", "--nats", &url, "--user", "ann", "--password-env", "PASSWORD"];
    assert_eq!(natsbridge(&[&save[..], &["--inbox-prefix", "_INBOX.ann.*"]].concat(), &[]).code, Some(2));
    assert_eq!(natsbridge(&[&save[..], &["--inbox-prefix", "_INBOX.ann"]].concat(), &[]).code, Some(0));
    let login = [("NATS_URL", &*url), ("NATS_USER", "ann"), ("NATS_PASSWORD", "hunter2")];
    let ours = [&login[..], &[("NATS_INBOX_PREFIX", "_INBOX.ann")]].concat();
    for (words, variables, wanted) in [
        (&[][..], &login[..], "fail"),
        (&["--inbox-prefix", "_INBOX.ann"], &login, "ok"),
        (&[], &ours, "ok"),
        (&["--profile", "lab"], &[], "ok"),
        (&["--context", "lab"], &[], "ok"),
    ] {
        let ended = natsbridge(&[&["doctor", "--json"], words].concat(), variables);
        let (state, text) = check(&ended, "inbox");
        assert_eq!(state, wanted, "{words:?} {text}");
        assert!(wanted == "ok" || text.contains("_INBOX.> for this user, or set --inbox-prefix"), "{text}");
    }
    let wrong = natsbridge(&["doctor", "--inbox-prefix", "a b"], &login);
    assert!(wrong.code == Some(2) && wrong.stderr.contains("--inbox-prefix can't be used"), "{}", wrong.stderr);
}

#[test]
fn proxy_that_takes_small_bodies_only_is_found() {
    // As nginx is without client_max_body_size.
    let proxy = Scripted::start(|request| {
        let json = |text: &str| Some(Reply::new(200, &[("Content-Type", "application/json")], text));
        match (request.method.as_str(), request.target.as_str()) {
            (_, target) if request.body_len > 1_000_000 && target.starts_with("/file/") => {
                Some(Reply::new(413, &[], ""))
            }
            ("GET", "/config") => Some(Reply::new(404, &[], "")),
            ("POST", "/upload") => json(r#"{"id":"a","uploadToken":"b","ttl":300}"#),
            // The digest of the doctor's small file.
            ("POST", _) => json(
                r#"{"id":"c","fileName":"f","status":"uploaded","fileSize":65536,"fileMd5":"5731ab69b148647b91322c9589aa0227"}"#,
            ),
            _ => json("\"ok\""),
        }
    });
    let world = World::start();
    let ended = run(world.program(["doctor", "--json"]).env("FILESERVER_URL", proxy.server.url()));
    assert_eq!(ended.code, Some(4), "{}{}", ended.stdout, ended.stderr);
    let (state, text) = check(&ended, "upload");
    assert!(state == "fail" && text.contains("65.5 kB are taken, 8.0 MB are not"), "{text}");
    assert!(text.contains("client_max_body_size"), "{text}");
}

#[test]
fn unreachable_servers_are_told_apart() {
    let mut world = World::start();
    let mut doctor = world.program(["doctor", "--json"]);
    let no_nats = run(doctor.env("NATS_URL", "nats://ann:hunter2@127.0.0.1:9"));
    assert_eq!(no_nats.code, Some(3), "{}", no_nats.stderr);
    assert!(check(&no_nats, "nats").1.contains("start nats-server"), "{}", no_nats.stdout);
    assert!(!no_nats.stdout.contains("hunter2"));
    assert_eq!(check(&no_nats, "delete").0, "ok");
    world.files.kill();
    let no_files = run(&mut world.program(["doctor", "--json"]));
    assert_eq!(no_files.code, Some(4), "{}", no_files.stderr);
    assert!(check(&no_files, "upload").1.contains("natsbridge serve"), "{}", no_files.stdout);
    assert_eq!(check(&no_files, "inbox").0, "ok");
}

#[test]
fn wrong_token_is_reported_with_its_variable() {
    let world = World::start();
    let mut serve = program();
    serve
        .args(["serve", "--listen", "127.0.0.1:0", "--dir"])
        .arg(world.path("closed"))
        .env("FILESERVER_TOKEN", "right");
    let files = support::Running::start(&mut serve);
    let url = files.line().replace("listening on ", "");
    let mut doctor = world.program(["doctor", "--json", "--fileserver", &url]);
    let ended = run(doctor.env("FILESERVER_TOKEN", "hunter2"));
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    let (state, text) = check(&ended, "upload");
    assert!(state == "fail" && text.contains("FILESERVER_TOKEN") && !text.contains("hunter2"), "{text}");
}

#[test]
fn threshold_beyond_the_servers_messages_is_only_a_warning() {
    let world = World::start();
    let nats = NatsServer::builder().max_payload(100_000).start().unwrap();
    let ended = run(world.program(["doctor", "--json"]).env("NATS_URL", nats.url()));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let (state, text) = check(&ended, "size");
    assert!(state == "warn" && text.contains("SIZE_THRESHOLD=73875"), "{text}");
}
