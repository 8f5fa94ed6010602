//! The checks of NATS: connection, TLS, login, permissions, and how large messages may be.

use std::time::Duration;

use natsbridge::broker::{Broker as _, Subject};
use natsbridge::wire::{Header, Limits};
use natsbridge::{Bridge, Config, Metadata, Purpose};
use tokio::time::Instant;

use super::{Check, Only, ReceivePolicy, lifetime};
use crate::certificate::{self, Named};
use crate::failure::Failure;
use crate::greeting::Greeting;
use crate::stores::leaves_the_machine;
use crate::{session, units};

/// How long a published message may take to come back
const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes that an envelope with one payload needs besides the payload, generously
const AROUND: u64 = 1_500;

/// Name of the probe's sender and receiver
const NAME: &str = "natsbridge doctor";

pub(super) async fn check(
    config: Config,
    servers: &[String],
    subject: Option<(&str, Option<Only>)>,
    checks: &mut ReceivePolicy,
) -> Result<(), Failure> {
    let requires_tls = config.connect_options().requires_tls();
    let start = Instant::now();
    let connected = config.connect_options().clone().connect().await;
    let connected = connected.map_err(natsbridge::Error::from).and_then(|broker| {
        let inbox = broker.new_inbox();
        Ok((Bridge::with_broker(broker, config.sender_name(NAME))?, inbox))
    });
    let (bridge, own) = match connected {
        Ok(connected) => connected,
        Err(error) => {
            // An expired certificate is the cause, and what the error says of it comes from three libraries.
            for server in servers {
                if let Some(found) = certificate::nats(server).await.filter(Named::is_expired) {
                    return checks.add(lifetime(&found));
                }
            }
            return checks.add(Check::failed("nats", &error.into()));
        }
    };
    let took = start.elapsed().as_millis();
    let server = bridge.broker_url().to_owned();
    let greeting = Greeting::of(&server).await;
    let version = greeting.as_ref().and_then(|greeting| greeting.version.as_deref());
    let version = version.map_or_else(String::new, |version| format!(", nats-server {version}"));
    checks.add(Check::ok("nats", format!("connected to {server} in {took} ms{version}")))?;
    checks.add(encryption(&server, requires_tls || greeting.as_ref().is_some_and(|greeting| greeting.tls_required)))?;
    if let Some(found) = certificate::nats(&server).await {
        checks.add(lifetime(&found))?;
    }
    if let Some(greeting) = greeting {
        checks.add(login(&server, &greeting))?;
    }
    checks.add(inbox(&bridge, own.as_str()).await)?;
    if let Some((subject, only)) = subject {
        permissions(&bridge, subject, only, checks).await?;
    }
    checks.add(sizes(&bridge.limits()))?;
    session::end(&bridge).await;
    Ok(())
}

fn encryption(server: &str, encrypted: bool) -> Check {
    if encrypted {
        Check::ok("tls", "the connection is encrypted")
    } else if leaves_the_machine(server) {
        Check::warn(
            "tls",
            "the connection is not encrypted, and leaves this machine",
            "give the server a certificate, and write tls:// in NATS_URL",
        )
    } else {
        Check::ok("tls", "not encrypted; the server is on this machine")
    }
}

fn login(server: &str, greeting: &Greeting) -> Check {
    match (greeting.auth_required, leaves_the_machine(server)) {
        (true, _) => Check::ok("login", "the server requires a login, and accepted ours"),
        (false, false) => Check::ok("login", "the server requires no login; it is on this machine"),
        (false, true) => Check::warn(
            "login",
            "the server requires no login, and is not on this machine",
            "set `authorization` in its configuration, so that strangers can neither read nor send",
        ),
    }
}

/// Replies and acknowledgements arrive at a subject below the inbox prefix
async fn inbox(bridge: &Bridge, own: &str) -> Check {
    let listened = async {
        // The first one makes the inbox, and a new subscription waits for its refusal: neither is the server's time.
        bridge.confirm().await?;
        bridge.subscribe(own).await.map(drop)?;
        let start = Instant::now();
        bridge.confirm().await?;
        Ok::<_, natsbridge::Error>(start.elapsed())
    };
    match listened.await {
        Ok(took) => Check::ok("inbox", format!("replies can arrive; a round trip takes {}", units::took(took))),
        Err(error) => {
            let mut check = Check::failed("inbox", &error.into());
            let prefix = own.rsplit_once('.').map_or(own, |(prefix, _)| prefix);
            let fix = format!("allow publish and subscribe on {prefix}.> for this user, or set --inbox-prefix");
            check.fix.get_or_insert(fix);
            check
        }
    }
}

/// Publishes a probe on the subject and subscribes to it
async fn permissions(
    bridge: &Bridge,
    subject: &str,
    only: Option<Only>,
    checks: &mut ReceivePolicy,
) -> Result<(), Failure> {
    let subscribed = match only {
        Some(Only::Send) => None,
        _ => Some(bridge.subscribe(subject).await),
    };
    let mut inbox = match subscribed.transpose() {
        Ok(None) => None,
        Ok(Some(inbox)) => {
            checks.add(Check::ok("subscribe", format!("{subject} can be subscribed to")))?;
            Some(inbox.lazy())
        }
        Err(error) => {
            checks.add(denied("subscribe", subject, error))?;
            None
        }
    };
    if only == Some(Only::Receive) {
        return Ok(());
    }
    if Subject::new(subject.to_owned()).is_err() {
        return checks.add(Check::warn(
            "publish",
            format!("{subject} is no single subject, so publishing is not tried"),
            "run the doctor for a subject without `*` and `>`",
        ));
    }
    let metadata: Metadata = [("doctor".to_owned(), true.into())].into_iter().collect();
    let probe = bridge.message(subject).purpose(Purpose::UpdateStatus).receiver_name(NAME).metadata(metadata);
    let start = Instant::now();
    // Received meanwhile: a confirmed publish waits for a refusal longer than the message travels.
    let came = async {
        let Some(inbox) = &mut inbox else { return None };
        while let Some(message) = inbox.next().await {
            let ours = |header: &Header| header.sender_id() == bridge.sender_id() && header.receiver_name() == NAME;
            if message.is_ok_and(|message| ours(message.header())) {
                return Some(start.elapsed());
            }
        }
        None
    };
    let (sent, came) = tokio::join!(probe.send_confirmed(), tokio::time::timeout(PATIENCE, came));
    if let Err(error) = sent {
        return checks.add(denied("publish", subject, error));
    }
    checks.add(Check::ok("publish", format!("{subject} can be published to")))?;
    if inbox.is_none() {
        return Ok(());
    }
    checks.add(match came {
        Ok(Some(took)) => Check::ok("round trip", format!("a message on {subject} came back in {}", units::took(took))),
        _ => Check::warn(
            "round trip",
            format!("a message on {subject} was published and did not come back"),
            "look for a subject mapping or an account boundary in the server's configuration",
        ),
    })
}

fn denied(name: &'static str, subject: &str, error: natsbridge::Error) -> Check {
    let mut check = Check::failed(name, &error.into());
    check.fix.get_or_insert_with(|| format!("allow this user to {name} on {subject} in the server's configuration"));
    check
}

/// Whether what is below the threshold fits the broker
fn sizes(limits: &Limits) -> Check {
    let (threshold, limit) = (limits.threshold(), limits.message_limit());
    let (shown, taken) = (units::shown(threshold), units::shown(limit));
    // Base64 makes four bytes of three.
    let largest = (limit.saturating_sub(AROUND) / 4).saturating_mul(3);
    if threshold <= largest {
        return Check::ok(
            "size",
            format!("payloads below {shown} travel direct; the server takes messages of {taken}"),
        );
    }
    Check::warn(
        "size",
        format!(
            "the server takes messages of {taken}, so payloads from {} on become links, though SIZE_THRESHOLD is {shown}",
            units::shown(largest)
        ),
        format!("set SIZE_THRESHOLD={largest}, or raise max_payload in the server's configuration"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn threshold_above_the_servers_maximum_is_a_warning() {
        for (threshold, limit, state) in
            [(500_000, 1_048_576, State::Ok), (900_000, 1_048_576, State::Warn), (500_000, 1_000, State::Warn)]
        {
            let check = sizes(&Limits::default().size_threshold(threshold).max_message_size(limit));
            assert_eq!(check.state, state, "{check:?}");
        }
    }
}
