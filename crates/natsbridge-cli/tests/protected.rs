//! How the program logs in and whom it trusts: by options and by variables, with the advice that each failure needs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use natsbridge_testkit::certificates::Authority;
use natsbridge_testkit::nats_server::NatsServer;
use support::{Ended, program, run};

const SEND: [&str; 4] = ["send", "s", "--text", "a=b"];

/// Sends to a server with these options and variables
fn send(server: &NatsServer, options: &[&str], variables: &[(&str, &str)]) -> Ended {
    let mut command = program();
    command.args(SEND).args(options).env("NATS_URL", server.url()).current_dir(server.folder());
    run(command.envs(variables.iter().copied()))
}

fn check(ended: &Ended, code: i32, texts: &[&str]) {
    assert_eq!(ended.code, Some(code), "{}", ended.stderr);
    for text in texts {
        assert!(ended.stderr.contains(text), "{text}: {}", ended.stderr);
    }
}

/// A server with a certificate of `authority`, whose file `ca.pem` names it, and the certificate of a client beside it
fn tls_server(authority: &Authority, expired: bool, config: &str) -> NatsServer {
    let (server, client) = (authority.server("127.0.0.1", expired).unwrap(), authority.client().unwrap());
    let files = [
        ("server.pem", server.pem),
        ("server.key", server.key),
        ("ca.pem", authority.pem.clone()),
        ("client.pem", client.pem),
        ("client.key", client.key),
    ];
    let config = format!("tls {{ cert_file: \"server.pem\", key_file: \"server.key\", {config} }}");
    let builder = files.into_iter().fold(NatsServer::builder(), |builder, (name, text)| builder.file(name, text));
    builder.config(&config).start().unwrap()
}

#[test]
fn private_authority_is_trusted_where_it_is_named() {
    let server = tls_server(&Authority::new("ours").unwrap(), false, "");
    check(&send(&server, &[], &[]), 3, &["not trusted", "--tls-ca"]);
    check(&send(&server, &["--tls-ca", "ca.pem"], &[]), 0, &[]);
    check(&send(&server, &[], &[("NATS_CA", "ca.pem")]), 0, &[]);
    // The option stands in front of the variable.
    check(&send(&server, &["--tls-ca", "ca.pem"], &[("NATS_CA", "absent.pem")]), 0, &[]);
    check(&send(&server, &["--tls-ca", "absent.pem"], &[]), 2, &["absent.pem"]);

    std::fs::write(server.folder().join("ca.pem"), Authority::new("theirs").unwrap().pem).unwrap();
    check(&send(&server, &["--tls-ca", "ca.pem"], &[]), 3, &["not trusted", "--tls-ca"]);
    // A file server's authorities are named by themselves.
    check(&send(&server, &["--tls-ca", "ca.pem", "--fileserver-ca", "ca.pem"], &[]), 3, &["not trusted"]);
    check(&send(&server, &["--fileserver-ca", "absent.pem"], &[]), 2, &["--fileserver-ca", "absent.pem"]);
    let expired = tls_server(&Authority::new("ours").unwrap(), true, "");
    check(&send(&expired, &["--tls-ca", "ca.pem"], &[]), 3, &["expired"]);
}

#[test]
fn client_certificate_logs_in_where_the_server_asks_for_one() {
    let server = tls_server(&Authority::new("ours").unwrap(), false, "ca_file: \"ca.pem\", verify: true");
    check(&send(&server, &["--tls-ca", "ca.pem"], &[]), 3, &["--tls-cert", "--tls-key"]);
    let options = ["--tls-ca", "ca.pem", "--tls-cert", "client.pem", "--tls-key", "client.key"];
    check(&send(&server, &options, &[]), 0, &[]);
    let variables = [("NATS_CA", "ca.pem"), ("NATS_CERT", "client.pem"), ("NATS_KEY", "client.key")];
    check(&send(&server, &[], &variables), 0, &[]);
    check(&send(&server, &["--tls-cert", "client.pem"], &[]), 2, &["NATS_KEY"]);
}

#[test]
fn tls_comes_first_where_asked() {
    let server = tls_server(&Authority::new("ours").unwrap(), false, "handshake_first: true");
    check(&send(&server, &["--tls-ca", "ca.pem", "--tls-first"], &[]), 0, &[]);
    check(&send(&server, &["--tls-ca", "ca.pem"], &[("NATS_TLS_FIRST", "true")]), 0, &[]);
    let mut doctor = program();
    doctor.args(["doctor", "--tls-ca", "ca.pem", "--tls-first"]).env("NATS_URL", server.url());
    let told = run(doctor.current_dir(server.folder())).stdout;
    assert!(told.contains("the connection is encrypted"), "{told}");
}

#[test]
fn server_without_tls_is_refused_where_an_authority_is_named() {
    let server = NatsServer::builder().file("ca.pem", Authority::new("ours").unwrap().pem).start().unwrap();
    check(&send(&server, &["--tls-ca", "ca.pem"], &[]), 3, &["TLS"]);
}

#[test]
fn logins_of_every_kind_work_and_a_wrong_one_says_what_to_give() {
    let server = NatsServer::builder().user("ann", "right").start().unwrap();
    let password = |password| [("NATS_USER", "ann"), ("NATS_PASSWORD", password)];
    check(&send(&server, &[], &password("right")), 0, &[]);
    check(&send(&server, &[], &password("hunter2")), 3, &["--creds", "--nkey", "NATS_PASSWORD"]);
    check(&send(&server, &[], &[("NATS_USER", "ann")]), 2, &["NATS_PASSWORD"]);

    let server = NatsServer::builder().token("right").start().unwrap();
    check(&send(&server, &[], &[("NATS_TOKEN", "right")]), 0, &[]);
    check(&send(&server, &[], &[("NATS_TOKEN", "hunter2")]), 3, &["NATS_TOKEN"]);
    check(&send(&server, &[], &[("NATS_TOKEN", "right"), ("NATS_CREDS", "a")]), 2, &["NATS_TOKEN", "NATS_CREDS"]);

    let user = nkeys::KeyPair::new_user();
    let config = format!("authorization {{ users: [ {{ nkey: {} }} ] }}", user.public_key());
    let server = NatsServer::builder().file("user.nk", user.seed().unwrap()).config(&config).start().unwrap();
    check(&send(&server, &["--nkey", "user.nk"], &[]), 0, &[]);
    check(&send(&server, &[], &[("NATS_NKEY", "user.nk")]), 0, &[]);
    // The option alone says who we are.
    check(&send(&server, &["--nkey", "user.nk"], &[("NATS_TOKEN", "hunter2"), ("NATS_CREDS", "absent")]), 0, &[]);
    check(&send(&server, &["--nkey", "absent.nk"], &[]), 2, &["absent.nk"]);
    check(&send(&server, &["--nkey", "user.nk", "--creds", "a"], &[]), 2, &["--creds"]);
}

#[test]
fn doctor_says_what_to_do_about_each_login_and_trust_failure() {
    let doctor = |server: &NatsServer, options: &[&str], variables: &[(&str, &str)]| {
        let mut doctor = program();
        doctor.arg("doctor").args(options).env("NATS_URL", server.url()).current_dir(server.folder());
        let ended = run(doctor.envs(variables.iter().copied()).env("FILESERVER_URL", "http://127.0.0.1:9"));
        assert_eq!(ended.code, Some(3), "{}", ended.stdout);
        assert!(ended.stdout.lines().all(|line| line.chars().count() <= 80), "{}", ended.stdout);
        ended.stdout.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let secret = NatsServer::builder().user("ann", "right").start().unwrap();
    let told = doctor(&secret, &[], &[("NATS_USER", "ann"), ("NATS_PASSWORD", "hunter2")]);
    assert!(told.contains("refused the credentials") && told.contains("fix: give credentials with --creds"), "{told}");
    assert!(told.contains("fix: start one with `natsbridge serve`"), "the file server is checked all the same: {told}");
    assert!(!told.contains("hunter2"), "{told}");

    let strange = tls_server(&Authority::new("theirs").unwrap(), false, "");
    let told = doctor(&strange, &[], &[]);
    assert!(told.contains("fix: name the file with that authority's certificate with --tls-ca"), "{told}");
    let closed = tls_server(&Authority::new("ours").unwrap(), false, "ca_file: \"ca.pem\", verify: true");
    let told = doctor(&closed, &["--tls-ca", "ca.pem"], &[]);
    assert!(told.contains("fix: name a certificate and its key with --tls-cert and --tls-key"), "{told}");
}

#[cfg(unix)]
#[test]
fn receiver_that_loses_its_permission_says_so_and_ends() {
    let config = |permissions: &str| format!("authorization {{ users: [{{ user: ann, password: x{permissions} }}] }}");
    for words in
        [&["receive", "s"][..], &["watch", "s"], &["record", "s", "--to", "-"], &["reply", "s", "--exec", "cat"]]
    {
        let server = NatsServer::builder().config(&config("")).start().unwrap();
        let mut receive = program();
        receive.args(words).envs([("NATS_USER", "ann"), ("NATS_PASSWORD", "x")]).env("NATS_URL", server.url());
        let receiver = support::Running::start(&mut receive);
        receiver.said(" s");
        server.reload(&config(", permissions: { subscribe: { deny: \"s\" } }")).unwrap();
        let ended = receiver.ended();
        assert_eq!(ended.code, Some(3), "{words:?}: {}", ended.stderr);
        assert!(
            ended.stderr.contains("Permissions Violation for Subscription to \"s\""),
            "{words:?}: {}",
            ended.stderr
        );
        if words[0] == "receive" {
            assert!(ended.stderr.contains("received 0, unreadable 0"), "{}", ended.stderr);
        }
    }
}
