//! How connections break, and what is done and said about it: forgotten, cut off, and ended by a malformed message.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use natsbridge_nats::{Broker, BrokerErrorKind, ConnectOptions, Event, EventStream, NatsBroker, Publish, Subscription};
use natsbridge_testkit::fault_proxy::{Fault, FaultProxy};
use natsbridge_testkit::nats_server::NatsServer;

const PATIENCE: Duration = Duration::from_secs(20);

fn message(payload: impl Into<bytes::Bytes>) -> Publish {
    Publish::new("n".parse().unwrap(), payload)
}

async fn listen(broker: &NatsBroker) -> Subscription {
    broker.subscribe("n".parse().unwrap(), None).await.unwrap()
}

#[allow(clippy::future_not_send, reason = "test code")]
async fn proxied(server: &NatsServer, script: Vec<Fault>) -> (FaultProxy, ConnectOptions) {
    let proxy = FaultProxy::start(([127, 0, 0, 1], server.port()).into(), script).await.unwrap();
    let options = ConnectOptions::new(format!("nats://{}", proxy.address()));
    (proxy, options)
}

async fn wait_for(events: &mut EventStream, wanted: impl Fn(&Event) -> bool + Send + Sync) -> Event {
    let seen = async {
        loop {
            let event = events.next().await.unwrap();
            if wanted(&event) {
                return event;
            }
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.expect("the event did not come")
}

fn is_interruption(event: &Event) -> bool {
    matches!(event, Event::Interrupted { .. })
}

/// Sends protocol lines by hand, as no client would, and waits until the server has read them.
fn send_raw(server: &NatsServer, lines: &[u8]) {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"CONNECT {\"verbose\":false,\"headers\":true}\r\n").unwrap();
    stream.write_all(lines).unwrap();
    stream.write_all(b"PING\r\n").unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&answer).contains("PONG") {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "the server said {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..read]);
    }
}

fn with_headers(headers: &[u8]) -> Vec<u8> {
    let mut lines = format!("HPUB n {0} {0}\r\n", headers.len()).into_bytes();
    lines.extend_from_slice(headers);
    lines.extend_from_slice(b"\r\n");
    lines
}

const MALFORMED: [&[u8]; 5] = [
    b"NATS/1.0\r\nX A: b\r\n\r\n",
    b"NATS/1.0\r\nno colon\r\n\r\n",
    b"NATS/1.0\r\nX: \xff\xfe\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: b\r\n\r\n",
    b"NATS/1.0 words\r\n\r\n",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgotten_connections_are_noticed_within_ten_seconds() {
    let server = NatsServer::start().unwrap();
    let (proxy, options) = proxied(&server, Vec::new()).await;
    let broker = options.connect().await.unwrap();
    let mut events = broker.events();
    let mut subscription = listen(&broker).await;
    proxy.forget();
    let started = Instant::now();
    let event = wait_for(&mut events, is_interruption).await;
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert!(
        matches!(&event, Event::Interrupted { cause, times: 1, subscriptions: 1, .. } if cause.contains("nothing came")),
        "{event:?}"
    );
    broker.publish_confirmed(message("1")).await.unwrap();
    assert_eq!(subscription.next().await.unwrap().payload, "1");
    assert_eq!(subscription.interruptions(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unanswered_confirmations_make_a_new_connection() {
    let server = NatsServer::start().unwrap();
    let (proxy, options) = proxied(&server, Vec::new()).await;
    // Pings alone would take three minutes.
    let options = options.ping_interval(Duration::from_secs(60)).confirm_timeout(Duration::from_millis(300));
    let broker = options.connect().await.unwrap();
    let mut events = broker.events();
    broker.publish_confirmed(message("1")).await.unwrap();
    proxy.forget();
    assert_eq!(broker.publish_confirmed(message("2")).await.unwrap_err().kind(), BrokerErrorKind::TimedOut);
    wait_for(&mut events, |event| *event == Event::Connected).await;
    broker.publish_confirmed(message("2")).await.unwrap();

    proxy.forget();
    broker.probe(Duration::from_millis(200));
    wait_for(&mut events, |event| *event == Event::Connected).await;
    broker.publish_confirmed(message("3")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_leave_a_working_connection() {
    let server = NatsServer::start().unwrap();
    let (proxy, options) = proxied(&server, Vec::new()).await;
    let broker = options.connect().await.unwrap();
    for _ in 0..20 {
        broker.probe(Duration::from_millis(500));
        broker.publish_confirmed(message("1")).await.unwrap();
    }
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_headers_interrupt_and_are_reported_once() {
    let server = NatsServer::start().unwrap();
    let broker = ConnectOptions::new(server.url()).connect().await.unwrap();
    let sender = ConnectOptions::new(server.url()).connect().await.unwrap();
    let mut events = broker.events();
    let mut subscription = listen(&broker).await;
    for (number, headers) in (1_u64..).zip(MALFORMED) {
        send_raw(&server, &with_headers(headers));
        wait_for(&mut events, |event| *event == Event::Connected).await;
        // The subscription stands again; it may take a moment until the server knows it.
        let heard = async {
            loop {
                sender.publish_confirmed(message("next")).await.unwrap();
                if let Ok(next) = tokio::time::timeout(Duration::from_millis(20), subscription.next()).await {
                    return next.unwrap();
                }
            }
        };
        assert_eq!(tokio::time::timeout(PATIENCE, heard).await.unwrap().payload, "next");
        while let Ok(Some(_)) = tokio::time::timeout(Duration::from_millis(100), subscription.next()).await {}
        assert_eq!(subscription.interruptions(), number, "{:?}", String::from_utf8_lossy(headers));
    }
    // Said at the beginning of the episode, with the cause as far as it is known, and with their number at its end.
    drop(subscription);
    broker.drain().await.unwrap();
    let mut interruptions = Vec::new();
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(100), events.next()).await {
        assert_ne!(event, Event::Disconnected, "no further break");
        if is_interruption(&event) {
            interruptions.push(event);
        }
    }
    let total = u64::try_from(MALFORMED.len()).unwrap();
    assert!(
        matches!(&interruptions[..], [Event::Interrupted { cause, times, .. }] if *times == total && cause.contains("malformed headers")),
        "{interruptions:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_headers_cost_little_of_what_follows() {
    const MESSAGES: usize = 400;
    let server = NatsServer::start().unwrap();
    let broker = ConnectOptions::new(server.url()).connect().await.unwrap();
    let sender = ConnectOptions::new(server.url()).connect().await.unwrap();
    let mut subscription = listen(&broker).await;
    for number in 0..MESSAGES {
        if number % 20 == 10 {
            send_raw(&server, &with_headers(MALFORMED[0]));
        }
        sender.publish_confirmed(message(number.to_string())).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut arrived = 0;
    while let Ok(Some(_)) = tokio::time::timeout(Duration::from_millis(300), subscription.next()).await {
        arrived += 1;
    }
    // Twenty breaks of some five milliseconds each; with a pause of up to 100 ms before each new connection a half is lost.
    assert!(arrived > MESSAGES * 3 / 4, "{arrived} of {MESSAGES}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_cut_off_as_slow_are_reported() {
    let server = NatsServer::builder()
        .config("max_payload: 60000\nmax_pending: 65536\nwrite_deadline: \"200ms\"")
        .start()
        .unwrap();
    let (_proxy, options) = proxied(&server, vec![Fault::Slow(Duration::from_millis(5))]).await;
    let broker = options.connect().await.unwrap();
    let mut events = broker.events();
    let mut subscription = listen(&broker).await;
    let sender = ConnectOptions::new(server.url()).connect().await.unwrap();
    let flood = async {
        loop {
            sender.publish_confirmed(message(vec![b'x'; 50_000])).await.unwrap();
        }
    };
    let event = tokio::select! {
        event = wait_for(&mut events, is_interruption) => event,
        () = flood => unreachable!(),
    };
    let expected = matches!(&event, Event::Interrupted { cause, times: 1, subscriptions: 1, .. } if cause.starts_with("no reason"));
    assert!(expected, "{event:?}");
    assert_eq!(subscription.interruptions(), 1);
    let end = async {
        loop {
            // The connection is told of before the server knows the subscription again.
            sender.publish_confirmed(message("end")).await.unwrap();
            while let Ok(Some(next)) = tokio::time::timeout(Duration::from_millis(50), subscription.next()).await {
                if next.payload == "end" {
                    return;
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, end).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unconfirmed_messages_alone_are_reported_after_a_reconnect() {
    let mut server = NatsServer::start().unwrap();
    let broker = ConnectOptions::new(server.url()).connect().await.unwrap();
    let mut events = broker.events();
    broker.publish(message("1")).await.unwrap();
    broker.confirm().await.unwrap();
    broker.publish_confirmed(message("2")).await.unwrap();
    broker.publish_acknowledged(message("3")).await.unwrap();
    server.restart().unwrap();
    wait_for(&mut events, |event| *event == Event::Connected).await;
    broker.confirm().await.unwrap();

    for _ in 0..3 {
        broker.publish(message("4")).await.unwrap();
    }
    server.restart().unwrap();
    wait_for(&mut events, |event| *event == Event::Connected).await;
    let error = broker.drain().await.unwrap_err();
    assert_eq!(error.kind(), BrokerErrorKind::ConnectionLost);
    assert!(error.to_string().contains("3 messages"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn breaks_while_confirming_name_all_that_is_unconfirmed() {
    let server = NatsServer::start().unwrap();
    let (proxy, options) = proxied(&server, Vec::new()).await;
    let broker = options.ping_interval(Duration::from_millis(100)).connect().await.unwrap();
    broker.confirm().await.unwrap();
    for unconfirmed in [2, 0] {
        for _ in 0..unconfirmed {
            broker.publish(message("1")).await.unwrap();
        }
        proxy.forget();
        match broker.confirm().await {
            Ok(()) => assert_eq!(unconfirmed, 0),
            Err(error) => {
                assert_eq!(error.kind(), BrokerErrorKind::ConnectionLost);
                assert!(error.to_string().contains(&format!("{unconfirmed} messages")), "{error}");
            }
        }
        broker.confirm().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confirmation_or_drain_that_is_dropped_leaves_its_messages_to_the_next() {
    for drains in [false, true] {
        let server = NatsServer::start().unwrap();
        let (proxy, options) = proxied(&server, Vec::new()).await;
        let broker = options.ping_interval(Duration::from_millis(100)).connect().await.unwrap();
        let end = || if drains { broker.drain() } else { broker.confirm() };
        broker.confirm().await.unwrap();
        let mut events = broker.events();
        proxy.forget();
        broker.publish(message("1")).await.unwrap();
        tokio::time::timeout(Duration::from_millis(20), end()).await.unwrap_err();
        wait_for(&mut events, |event| *event == Event::Connected).await;
        let error = end().await.unwrap_err();
        assert_eq!(error.kind(), BrokerErrorKind::ConnectionLost);
        assert!(error.to_string().contains("1 message"), "{error}");
        if drains {
            wait_for(&mut events, |event| *event == Event::Closed).await;
        }
        end().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_while_down_returns_at_once() {
    for unconfirmed in [0, 1, 2] {
        let mut server = NatsServer::start().unwrap();
        let broker = ConnectOptions::new(server.url()).connect().await.unwrap();
        let mut events = broker.events();
        let mut subscription = listen(&broker).await;
        for number in 0..unconfirmed {
            broker.publish(message(number.to_string())).await.unwrap();
        }
        server.kill();
        wait_for(&mut events, |event| *event == Event::Disconnected).await;
        let asking = broker.clone();
        let asking = tokio::spawn(async move { asking.request(message("?"), PATIENCE * 2).await });
        // Until it waits for its reply.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let started = Instant::now();
        let drained = broker.drain().await;
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        match (unconfirmed, drained) {
            (0, Ok(())) => {}
            (_, Err(error)) => {
                assert_eq!(error.kind(), BrokerErrorKind::ConnectionLost);
                assert!(error.to_string().contains(&format!("{unconfirmed} message")), "{error}");
            }
            (_, Ok(())) => panic!("{unconfirmed} messages were not confirmed"),
        }
        let end = async { while subscription.next().await.is_some() {} };
        tokio::time::timeout(PATIENCE, end).await.unwrap();
        wait_for(&mut events, |event| *event == Event::Closed).await;
        assert!(events.next().await.is_none());
        let asked = tokio::time::timeout(PATIENCE, asking).await.expect("a request ends with the connection");
        assert_eq!(asked.unwrap().unwrap_err().kind(), BrokerErrorKind::Closed);
        assert_eq!(broker.publish(message("")).await.unwrap_err().kind(), BrokerErrorKind::Closed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drains_end_when_the_connection_breaks_in_the_middle() {
    let server = NatsServer::start().unwrap();
    let (proxy, options) = proxied(&server, Vec::new()).await;
    let broker = options.ping_interval(Duration::from_millis(100)).connect().await.unwrap();
    broker.publish(message("1")).await.unwrap();
    proxy.afterwards(Fault::Refuse);
    proxy.forget();
    let started = Instant::now();
    assert_eq!(broker.drain().await.unwrap_err().kind(), BrokerErrorKind::ConnectionLost);
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

/// What is logged on this thread, one line each: the level, and the fields in their order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    /// Lines that hold `text`
    fn with(&self, text: &str) -> Vec<String> {
        self.0.lock().unwrap().iter().filter(|line| line.contains(text)).cloned().collect()
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("natsbridge") && *metadata.level() <= tracing::Level::INFO
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        struct Line(String);
        impl tracing::field::Visit for Line {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0.push_str(&format!(" {}={value:?}", field.name()));
            }
        }
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn breaks_and_their_ends_are_logged() {
    let log = Log::default();
    let _logging = tracing::subscriber::set_default(log.clone());
    let mut server = NatsServer::start().unwrap();
    let broker = ConnectOptions::new(server.url()).connect().await.unwrap();
    let mut events = broker.events();
    let _subscription = listen(&broker).await;
    server.kill();
    wait_for(&mut events, |event| *event == Event::Disconnected).await;
    assert_eq!(log.with("the connection to NATS broke").len(), 1);
    server.restart().unwrap();
    wait_for(&mut events, is_interruption).await;
    assert!(
        matches!(&log.with("connected to NATS again")[..], [line] if line.starts_with("INFO")),
        "{:?}",
        log.with("")
    );
    let interrupted = log.with("subscriptions were interrupted");
    assert!(
        matches!(&interrupted[..], [line] if line.starts_with("WARN") && line.contains("cause=")),
        "{interrupted:?}"
    );
    assert!(log.with("the connection to NATS broke")[0].starts_with("WARN"));

    // Another one soon after is part of the episode, and is said when it lasts.
    server.kill();
    wait_for(&mut events, |event| *event == Event::Disconnected).await;
    assert_eq!(log.with("the connection to NATS broke;").len(), 1);
    let said = async {
        while log.with("the connection to NATS broke;").len() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, said).await.unwrap();
    server.restart().unwrap();
    wait_for(&mut events, |event| *event == Event::Connected).await;
    broker.drain().await.unwrap();
    let again = log.with("again and again");
    assert!(again.iter().any(|line| line.contains("times=2") && line.contains("connection to NATS")), "{again:?}");
}

#[tokio::test]
async fn refusals_are_logged_once_with_their_number_at_the_end() {
    let log = Log::default();
    let _logging = tracing::subscriber::set_default(log.clone());
    let config = r#"authorization { users: [ { user: u, password: x, permissions: { publish: { deny: ["n"] } } } ] }"#;
    let server = NatsServer::builder().config(config).start().unwrap();
    let broker = ConnectOptions::new(server.url()).user_and_password("u", "x").connect().await.unwrap();
    for _ in 0..10 {
        for _ in 0..100 {
            broker.publish(message("")).await.unwrap();
        }
        broker.confirm().await.unwrap_err();
    }
    assert_eq!(log.with("Permissions Violation").len(), 1, "{:?}", log.with(""));
    broker.drain().await.unwrap();
    let lines = log.with("Permissions Violation");
    assert!(matches!(&lines[..], [_, end] if end.contains("times=1000")), "{lines:?}");
}
