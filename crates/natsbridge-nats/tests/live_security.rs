//! Who may connect and how the wire is protected, against real servers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::error::Error as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use natsbridge_nats::{Broker, BrokerError, BrokerErrorKind, ConnectOptions, Event, Publish};
use natsbridge_testkit::certificates::Authority;
use natsbridge_testkit::nats_server::NatsServer;
use support::operator;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const PATIENCE: Duration = Duration::from_secs(10);
const SECRET: &str = "hunter2";

async fn works(options: ConnectOptions) {
    let broker = options.connect().await.unwrap();
    broker.publish_confirmed(Publish::new("a".parse().unwrap(), "1")).await.unwrap();
    broker.drain().await.unwrap();
}

/// Connects in vain; the error and all its causes must not show the secret.
async fn fails(options: ConnectOptions) -> BrokerError {
    let error = options.connect().await.unwrap_err();
    let mut shown = format!("{error} {error:?}");
    let mut cause = error.source();
    while let Some(next) = cause {
        shown.push_str(&format!(" {next} {next:?}"));
        cause = next.source();
    }
    assert!(!shown.contains(SECRET), "{shown}");
    error
}

async fn is_unauthorized(options: ConnectOptions) {
    let error = fails(options).await;
    assert_eq!(error.kind(), BrokerErrorKind::Unauthorized, "{error:?}");
    is_said_once(&error);
    assert!(error.to_string().contains("127.0.0.1") && !error.is_retryable());
}

fn with_user_info(url: &str, user_info: &str) -> String {
    url.replace("nats://", &format!("nats://{user_info}@"))
}

#[tokio::test]
async fn token_opens_and_a_wrong_one_does_not() {
    let server = NatsServer::builder().token("open sesame").start().unwrap();
    works(ConnectOptions::new(server.url()).token("open sesame")).await;
    works(ConnectOptions::new(with_user_info(&server.url(), "open%20sesame"))).await;
    is_unauthorized(ConnectOptions::new(server.url()).token(SECRET)).await;
    is_unauthorized(ConnectOptions::new(with_user_info(&server.url(), SECRET))).await;
    is_unauthorized(ConnectOptions::new(server.url())).await;
}

#[tokio::test]
async fn password_opens_and_a_wrong_one_does_not() {
    let server = NatsServer::builder().user("ann", "p@ss/word").start().unwrap();
    works(ConnectOptions::new(server.url()).user_and_password("ann", "p@ss/word")).await;
    works(ConnectOptions::new(with_user_info(&server.url(), "ann:p%40ss%2Fword"))).await;
    is_unauthorized(ConnectOptions::new(server.url()).user_and_password("ann", SECRET)).await;
    is_unauthorized(ConnectOptions::new(with_user_info(&server.url(), &format!("ann:{SECRET}")))).await;
    // What is set in the options wins over what stands in the URL.
    let options = ConnectOptions::new(with_user_info(&server.url(), &format!("ann:{SECRET}")));
    works(options.user_and_password("ann", "p@ss/word")).await;
}

#[tokio::test]
async fn nkey_opens_and_another_one_does_not() {
    let (right, wrong) = (nkeys::KeyPair::new_user(), nkeys::KeyPair::new_user());
    let config = format!("authorization {{ users: [ {{ nkey: {} }} ] }}", right.public_key());
    let server = NatsServer::builder().config(&config).start().unwrap();
    works(ConnectOptions::new(server.url()).nkey(right.seed().unwrap())).await;
    is_unauthorized(ConnectOptions::new(server.url()).nkey(wrong.seed().unwrap())).await;
    let path = server.folder().join("user.nk");
    std::fs::write(&path, format!("{}\n", right.seed().unwrap())).unwrap();
    works(ConnectOptions::new(server.url()).nkey_file(&path)).await;
    let error = fails(ConnectOptions::new(server.url()).nkey_file(server.folder().join("absent.nk"))).await;
    assert_eq!(error.kind(), BrokerErrorKind::InvalidOptions);
    assert!(error.to_string().contains("absent.nk"), "{error}");
    let error = fails(ConnectOptions::new(server.url()).nkey(SECRET)).await;
    assert_eq!(error.kind(), BrokerErrorKind::InvalidOptions);
}

#[tokio::test]
async fn jwt_opens_as_text_as_credentials_and_as_a_file() {
    let (config, jwt, seed) = operator();
    let (_, strange_jwt, strange_seed) = operator();
    let server = NatsServer::builder().config(&config).start().unwrap();
    works(ConnectOptions::new(server.url()).jwt(&jwt, &seed)).await;
    let text = format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n{seed}\n------END \
         USER NKEY SEED------\n"
    );
    works(ConnectOptions::new(server.url()).credentials(&text)).await;
    let path = server.folder().join("user.creds");
    std::fs::write(&path, &text).unwrap();
    works(ConnectOptions::new(server.url()).credentials_file(&path)).await;

    is_unauthorized(ConnectOptions::new(server.url()).jwt(strange_jwt, strange_seed)).await;
    for (options, told) in [
        (ConnectOptions::new(server.url()).credentials(SECRET), "it needs a user JWT and an nkey seed"),
        (
            ConnectOptions::new(server.url()).credentials_file(server.folder().join("absent.creds")),
            "absent.creds can't be read; check the path",
        ),
    ] {
        let error = fails(options).await;
        assert_eq!(error.kind(), BrokerErrorKind::InvalidOptions);
        assert!(error.to_string().contains(told), "{error}");
    }
}

/// A server whose certificate `authority` made, and the file of that authority's own certificate.
fn tls_server(authority: &Authority, name: &str, expired: bool, client_ca: Option<&str>) -> (NatsServer, PathBuf) {
    let certificate = authority.server(name, expired).unwrap();
    let server = NatsServer::builder().tls(&certificate.pem, &certificate.key, client_ca);
    let server = server.file("ca.pem", authority.pem.as_str()).start().unwrap();
    let ca = server.folder().join("ca.pem");
    (server, ca)
}

#[tokio::test]
async fn tls_works_with_the_servers_own_authority() {
    let authority = Authority::new("ours").unwrap();
    let (server, ca) = tls_server(&authority, "127.0.0.1", false, None);
    works(ConnectOptions::new(server.url()).root_certificates(&ca)).await;
    works(ConnectOptions::new(server.url()).root_certificates(&ca).require_tls()).await;
    works(ConnectOptions::new(server.url().replace("nats://", "tls://")).root_certificates(&ca)).await;
}

#[tokio::test]
async fn tls_can_come_first() {
    let authority = Authority::new("ours").unwrap();
    let certificate = authority.server("127.0.0.1", false).unwrap();
    let server = NatsServer::builder()
        .file("server.pem", certificate.pem)
        .file("server.key", certificate.key)
        .file("ca.pem", authority.pem)
        .config("tls { cert_file: \"server.pem\", key_file: \"server.key\", handshake_first: true }")
        .start()
        .unwrap();
    works(ConnectOptions::new(server.url()).root_certificates(server.folder().join("ca.pem")).tls_first()).await;
}

#[tokio::test]
async fn certificate_faults_each_have_their_kind() {
    let (ours, theirs) = (Authority::new("ours").unwrap(), Authority::new("theirs").unwrap());
    for (authority, name, expired, expected) in [
        (&theirs, "127.0.0.1", false, BrokerErrorKind::TlsUntrusted),
        (&ours, "127.0.0.1", true, BrokerErrorKind::Tls),
        (&ours, "example.org", false, BrokerErrorKind::Tls),
    ] {
        let (server, _) = tls_server(authority, name, expired, None);
        let path = server.folder().join("ours.pem");
        std::fs::write(&path, &ours.pem).unwrap();
        let error = fails(ConnectOptions::new(server.url()).root_certificates(path)).await;
        assert_eq!(error.kind(), expected, "{error:?}");
        assert!(error.to_string().contains(&server.url()) && !error.is_retryable());
    }
}

#[tokio::test]
async fn client_certificate_is_given_or_the_error_asks_for_it() {
    let authority = Authority::new("ours").unwrap();
    let (server, ca) = tls_server(&authority, "127.0.0.1", false, Some(&authority.pem));
    let client = authority.client().unwrap();
    let (chain, key) = (server.folder().join("client.pem"), server.folder().join("client.key"));
    std::fs::write(&chain, client.pem).unwrap();
    std::fs::write(&key, client.key).unwrap();
    works(ConnectOptions::new(server.url()).root_certificates(&ca).client_certificate(&chain, &key)).await;

    let error = fails(ConnectOptions::new(server.url()).root_certificates(&ca)).await;
    assert_eq!(error.kind(), BrokerErrorKind::TlsClientCertificate, "{error:?}");

    let stranger = Authority::new("theirs").unwrap().client().unwrap();
    std::fs::write(&chain, stranger.pem).unwrap();
    std::fs::write(&key, stranger.key).unwrap();
    let error = fails(ConnectOptions::new(server.url()).root_certificates(&ca).client_certificate(&chain, &key)).await;
    assert_eq!(error.kind(), BrokerErrorKind::TlsClientCertificate, "{error:?}");
}

#[tokio::test]
async fn server_without_tls_is_refused_where_tls_is_required() {
    let server = NatsServer::start().unwrap();
    let ca = server.folder().join("ca.pem");
    std::fs::write(&ca, Authority::new("ours").unwrap().pem).unwrap();
    for options in [
        ConnectOptions::new(server.url()).require_tls(),
        ConnectOptions::new(server.url().replace("nats://", "tls://")),
        ConnectOptions::new(server.url()).tls_first(),
        ConnectOptions::new(server.url().replace("nats://", "wss://")),
    ] {
        let error = fails(options.root_certificates(&ca)).await;
        assert_eq!(error.kind(), BrokerErrorKind::TlsNotOffered, "{error:?}");
        assert!(error.to_string().contains("does not offer TLS") && !error.is_retryable(), "{error}");
        is_said_once(&error);
    }
}

/// No text of a cause stands in the text above it.
fn is_said_once(error: &BrokerError) {
    let mut texts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(next) = cause {
        texts.push(next.to_string());
        cause = next.source();
    }
    for (index, text) in texts.iter().enumerate() {
        let repeated = texts.iter().enumerate().any(|(other, longer)| other != index && longer.contains(text.as_str()));
        assert!(!repeated, "{texts:?}");
    }
}

#[tokio::test]
async fn servers_that_begin_with_tls_are_named_as_such() {
    let authority = Authority::new("ours").unwrap();
    let certificate = authority.server("127.0.0.1", false).unwrap();
    let server = NatsServer::builder()
        .file("server.pem", certificate.pem)
        .file("server.key", certificate.key)
        .config("tls { cert_file: \"server.pem\", key_file: \"server.key\", handshake_first: true }")
        .start()
        .unwrap();
    let url = server.url().replace("tls://", "nats://");
    // It hangs up after two seconds, or the time is over before.
    for timeout in [Duration::from_millis(500), Duration::from_secs(5)] {
        let error = fails(ConnectOptions::new(&url).connect_timeout(timeout)).await;
        assert_eq!(error.kind(), BrokerErrorKind::TlsFirst, "{error:?}");
        assert!(error.to_string().contains("starts with TLS") && !error.is_retryable(), "{error}");
        is_said_once(&error);
    }
}

#[tokio::test]
async fn servers_that_speak_no_websocket_are_named_as_such() {
    let server = NatsServer::start().unwrap();
    let error = fails(ConnectOptions::new(server.url().replace("nats://", "ws://"))).await;
    assert_eq!(error.kind(), BrokerErrorKind::NotWebSocket, "{error:?}");
    assert!(error.to_string().contains("does not speak WebSocket") && !error.is_retryable(), "{error}");
    is_said_once(&error);

    let mut dead = NatsServer::start().unwrap();
    dead.kill();
    let error = fails(ConnectOptions::new(dead.url().replace("nats://", "ws://"))).await;
    assert_eq!(error.kind(), BrokerErrorKind::Refused, "{error:?}");
    is_said_once(&error);
}

#[tokio::test]
async fn handshakes_that_the_server_breaks_off_are_of_kind_tls() {
    /// A TLS record with the fatal alert `handshake_failure`
    const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    let refusing = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"INFO {\"tls_required\":true,\"max_payload\":1048576}\r\n").await.unwrap();
            // The beginning of the handshake.
            stream.read_u8().await.unwrap();
            stream.write_all(&ALERT).await.unwrap();
            // What is unread would reset the connection, and the alert with it.
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, Authority::new("ours").unwrap().pem).unwrap();
    let error = fails(ConnectOptions::new(url).root_certificates(ca)).await;
    assert_eq!(error.kind(), BrokerErrorKind::Tls, "{error:?}");
    assert!(!error.is_retryable());
    is_said_once(&error);
    refusing.abort();
}

#[tokio::test]
async fn unusable_certificate_files_are_named() {
    let server = NatsServer::start().unwrap();
    let empty = server.folder().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let absent = server.folder().join("absent.pem");
    for (options, file) in [
        (ConnectOptions::new(server.url()).root_certificates(&empty), "empty.pem"),
        (ConnectOptions::new(server.url()).root_certificates(&absent), "absent.pem"),
        (ConnectOptions::new(server.url()).client_certificate(&absent, &empty), "absent.pem"),
    ] {
        let error = fails(options).await;
        assert_eq!(error.kind(), BrokerErrorKind::InvalidOptions);
        assert!(error.to_string().contains(file), "{error}");
    }
}

#[tokio::test]
async fn closed_port_is_reported_at_once() {
    let mut server = NatsServer::start().unwrap();
    server.kill();
    let started = Instant::now();
    let error = fails(ConnectOptions::new(with_user_info(&server.url(), &format!("ann:{SECRET}")))).await;
    assert_eq!(error.kind(), BrokerErrorKind::Refused, "{error:?}");
    assert!(error.to_string().contains(&server.url()) && error.is_retryable());
    is_said_once(&error);
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn silent_server_ends_with_the_timeout() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("nats://{SECRET}@{}", listener.local_addr().unwrap());
    let started = Instant::now();
    let error = fails(ConnectOptions::new(url).connect_timeout(Duration::from_millis(300))).await;
    assert_eq!(error.kind(), BrokerErrorKind::TimedOut, "{error:?}");
    assert!(error.to_string().contains("127.0.0.1"));
    assert!((300..2_000).contains(&started.elapsed().as_millis()));
}

#[tokio::test]
async fn unresolved_name_and_server_that_hangs_up_are_told_apart() {
    // No name can have an empty label, so no name service is asked.
    let error = fails(ConnectOptions::new(format!("nats://{SECRET}@no..name:4222"))).await;
    assert_eq!(error.kind(), BrokerErrorKind::Unresolved, "{error:?}");
    assert!(error.to_string().contains("no..name") && error.is_retryable());
    is_said_once(&error);

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{SECRET}@{}", listener.local_addr().unwrap());
    let hanging_up = tokio::spawn(async move {
        loop {
            drop(listener.accept().await.unwrap());
        }
    });
    let error = fails(ConnectOptions::new(url)).await;
    assert_eq!(error.kind(), BrokerErrorKind::Unreachable, "{error:?}");
    assert!(error.is_retryable());
    hanging_up.abort();
}

#[test]
fn name_that_nats_refuses_is_not_retryable() {
    let error = BrokerError::from("two words".parse::<natsbridge_nats::Subject>().unwrap_err());
    assert_eq!((error.kind(), error.is_retryable()), (BrokerErrorKind::InvalidSubject, false));
    assert!(error.to_string().contains("two words"), "{error}");
}

const USERS: &str = r#"authorization {
  users: [
    { user: free, password: x }
    { user: narrow, password: x, permissions: { publish: { deny: ["secret.>"] }, subscribe: { deny: ["secret.>"] } } }
    { user: mute, password: x, permissions: { publish: "a" } }
    { user: deaf, password: x, permissions: { subscribe: "a" } }
  ]
}"#;

fn user(server: &NatsServer, name: &str) -> ConnectOptions {
    ConnectOptions::new(server.url()).user_and_password(name, "x")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permission_refusal_is_an_error_and_an_event() {
    let server = NatsServer::builder().config(USERS).start().unwrap();
    let broker = user(&server, "narrow").connect().await.unwrap();
    let mut events = broker.events();

    broker.publish(Publish::new("secret.a".parse().unwrap(), "")).await.unwrap();
    let event = tokio::time::timeout(PATIENCE, events.next()).await.unwrap();
    assert!(matches!(&event, Some(Event::PermissionDenied(text)) if text.contains("secret.a")), "{event:?}");
    assert_eq!(broker.confirm().await.unwrap_err().kind(), BrokerErrorKind::PermissionDenied);
    broker.confirm().await.unwrap();

    // The refusal reaches the event for certain and the call nearly always: the two come through different tasks.
    let refused_publish = async {
        loop {
            if let Err(error) = broker.publish_confirmed(Publish::new("secret.b".parse().unwrap(), "")).await {
                return error;
            }
        }
    };
    let error = tokio::time::timeout(PATIENCE, refused_publish).await.unwrap();
    assert_eq!(error.kind(), BrokerErrorKind::PermissionDenied);
    assert!(error.to_string().contains("secret.b") && !error.is_retryable());
    let refused_subscription = async {
        loop {
            if let Err(error) = broker.subscribe("secret.>".parse().unwrap(), None).await {
                return error;
            }
        }
    };
    let error = tokio::time::timeout(PATIENCE, refused_subscription).await.unwrap();
    assert_eq!(error.kind(), BrokerErrorKind::PermissionDenied);
    broker.publish_confirmed(Publish::new("open".parse().unwrap(), "")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_echo_confirms_as_well() {
    let server = NatsServer::builder().config(USERS).start().unwrap();
    let listener = user(&server, "free").connect().await.unwrap();
    let mut heard = listener.subscribe("a".parse().unwrap(), None).await.unwrap();
    let broker = user(&server, "mute").connect().await.unwrap();
    for _ in 0..10 {
        broker.publish_confirmed(Publish::new("a".parse().unwrap(), "1")).await.unwrap();
        tokio::time::timeout(PATIENCE, heard.next()).await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_inbox_fails_a_request_at_once_and_a_prefix_helps() {
    let server = NatsServer::builder().config(USERS).start().unwrap();
    let broker = user(&server, "deaf").connect().await.unwrap();
    let started = Instant::now();
    let error = broker.request(Publish::new("b".parse().unwrap(), ""), PATIENCE).await.unwrap_err();
    assert_eq!(error.kind(), BrokerErrorKind::PermissionDenied, "{error:?}");
    assert!(error.to_string().contains("inbox prefix"));
    assert!(started.elapsed() < Duration::from_secs(3));
    broker.drain().await.unwrap();

    let config = r#"authorization { users: [ { user: u, password: x, permissions: { publish: ["a", "mine.>"], subscribe: "mine.>" } } ] }"#;
    let server = NatsServer::builder().config(config).start().unwrap();
    works(user(&server, "u").inbox_prefix("mine.inbox".parse().unwrap())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusal_confirms_where_the_inbox_is_refused() {
    let server = NatsServer::builder().config(USERS).start().unwrap();
    let listener = user(&server, "free").connect().await.unwrap();
    let mut heard = listener.subscribe("b".parse().unwrap(), None).await.unwrap();
    let broker = user(&server, "deaf").connect().await.unwrap();
    for _ in 0..10 {
        broker.publish_confirmed(Publish::new("b".parse().unwrap(), "")).await.unwrap();
        tokio::time::timeout(PATIENCE, heard.next()).await.unwrap().unwrap();
    }
    broker.publish(Publish::new("b".parse().unwrap(), "")).await.unwrap();
    broker.confirm().await.unwrap();
    broker.publish(Publish::new("b".parse().unwrap(), "")).await.unwrap();
    broker.drain().await.unwrap();
    for _ in 0..2 {
        tokio::time::timeout(PATIENCE, heard.next()).await.unwrap().unwrap();
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confirmation_outlives_a_change_of_permissions() {
    let server = NatsServer::builder().config(USERS).start().unwrap();
    let broker = user(&server, "deaf").connect().await.unwrap();
    let message = || Publish::new("b".parse().unwrap(), "");
    broker.publish_confirmed(message()).await.unwrap();
    let wider = USERS.replace("{ subscribe: \"a\" }", "{ subscribe: [\"a\", \"_INBOX.>\"] }");
    server.reload(&wider).unwrap();
    // The reload is not told to the client, so both sides of it are tried.
    for _ in 0..100 {
        broker.publish_confirmed(message()).await.unwrap();
    }
}

/// The server's users, of whom `free` may no longer use `plans`.
#[cfg(unix)]
fn without_plans() -> String {
    let permissions = "permissions: { publish: { deny: [\"plans\"] }, subscribe: { deny: [\"plans\"] } }";
    USERS.replace("user: free, password: x", &format!("user: free, password: x, {permissions}"))
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoked_permission_ends_subscriptions_and_refuses_a_publish() {
    let server = NatsServer::builder().config(USERS).start().unwrap();
    let broker = user(&server, "free").connect().await.unwrap();
    let mut events = broker.events();
    let mut alone = broker.subscribe("plans".parse().unwrap(), None).await.unwrap();
    let mut shared = broker.subscribe("plans".parse().unwrap(), Some("g".parse().unwrap())).await.unwrap();
    let mut other = broker.subscribe("other".parse().unwrap(), None).await.unwrap();
    broker.publish_confirmed(Publish::new("plans".parse().unwrap(), "last")).await.unwrap();
    server.reload(&without_plans()).unwrap();

    for subscription in [&mut alone, &mut shared] {
        // What came before is still handed out, then the stream ends and says why.
        let last = tokio::time::timeout(PATIENCE, subscription.next()).await.unwrap().unwrap();
        assert_eq!(last.payload, "last");
        assert!(tokio::time::timeout(PATIENCE, subscription.next()).await.unwrap().is_none());
        let error = subscription.take_error().unwrap();
        assert_eq!(error.kind(), BrokerErrorKind::PermissionDenied);
        assert!(error.to_string().contains("plans") && !error.is_retryable(), "{error}");
        assert!(subscription.take_error().is_none());
    }
    let event = tokio::time::timeout(PATIENCE, events.next()).await.unwrap().unwrap();
    assert!(matches!(&event, Event::PermissionDenied(text) if text.contains("plans")), "{event:?}");

    let refused = async {
        loop {
            if let Err(error) = broker.publish_confirmed(Publish::new("plans".parse().unwrap(), "")).await {
                return error;
            }
        }
    };
    let error = tokio::time::timeout(PATIENCE, refused).await.unwrap();
    assert_eq!(error.kind(), BrokerErrorKind::PermissionDenied);
    assert!(error.to_string().contains("plans"), "{error}");

    broker.publish_confirmed(Publish::new("other".parse().unwrap(), "goes on")).await.unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, other.next()).await.unwrap().unwrap().payload, "goes on");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permission_missing_after_a_reconnect_ends_the_subscription() {
    let mut server = NatsServer::builder().config(USERS).start().unwrap();
    let options = user(&server, "free").reconnect_delay(Duration::from_millis(10), Duration::from_millis(50));
    let broker = options.connect().await.unwrap();
    let mut subscription = broker.subscribe("plans".parse().unwrap(), None).await.unwrap();
    std::fs::write(server.folder().join("server.conf"), without_plans()).unwrap();
    server.restart().unwrap();
    assert!(tokio::time::timeout(PATIENCE, subscription.next()).await.unwrap().is_none());
    assert_eq!(subscription.take_error().unwrap().kind(), BrokerErrorKind::PermissionDenied);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_reported_once_for_each_subject() {
    let server = NatsServer::builder().config(USERS).start().unwrap();
    let broker = user(&server, "narrow").connect().await.unwrap();
    let mut events = broker.events();
    for _ in 0..500 {
        for subject in ["secret.a", "secret.b"] {
            broker.publish(Publish::new(subject.parse().unwrap(), "")).await.unwrap();
        }
    }
    broker.confirm().await.unwrap_err();
    broker.drain().await.unwrap();
    let mut told = Vec::new();
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(200), events.next()).await {
        if let Event::PermissionDenied(text) = event {
            told.push(text);
        }
    }
    told.sort();
    assert!(matches!(&told[..], [a, b] if a.contains("secret.a") && b.contains("secret.b")), "{told:?}");
}
