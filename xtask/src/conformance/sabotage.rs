//! A relay between sender and receiver that changes every message by one rule, to see that the matrix notices.

use std::net::{Shutdown, TcpStream};
use std::thread::{self, JoinHandle};

use anyhow::Result;
use serde_json::Value;

use super::nats::Connection;
use crate::vectors::parse;

/// The subject that everything is sent to first; what follows is where it belongs
pub(super) const SUBJECT: &str = "sabotaged";

/// One thing that a peer could do wrong
#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
pub(crate) enum Rule {
    /// `direct` says `none` for its encoding, so that base64 becomes the text
    FlipEncoding,
    /// Padding goes, and one character with it
    CutBase64,
    /// Another digest stands beside the payload
    WrongDigest,
    /// Payloads change places
    SwapPayloads,
    /// Another type of the same bytes
    RenameType,
    /// Names lose what is not ASCII
    AsciiNames,
    /// The last payload is forgotten
    DropPayload,
    /// The message claims to be another
    NewMessageId,
}

impl Rule {
    fn apply(self, message: &mut Value) {
        if self == Self::NewMessageId {
            message["msg_id"] = "00000000-0000-4000-8000-000000000000".into();
        }
        let Some(payloads) = message["payloads"].as_array_mut() else { return };
        match self {
            Self::SwapPayloads => payloads.reverse(),
            Self::DropPayload => drop(payloads.pop()),
            _ => payloads.iter_mut().for_each(|payload| self.apply_to(payload)),
        }
    }

    fn apply_to(self, payload: &mut Value) {
        let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
        match self {
            Self::FlipEncoding if payload["transport"] == "direct" => payload["encoding"] = "none".into(),
            Self::CutBase64 if payload["transport"] == "direct" => {
                let data = text(&payload["data"]);
                let data = data.trim_end_matches('=');
                payload["data"] = data.get(..data.len().saturating_sub(1)).unwrap_or_default().into();
            }
            Self::WrongDigest => payload["metadata"]["sha256"] = "0".repeat(64).into(),
            Self::RenameType if payload["payload_type"] == "text" => payload["payload_type"] = "binary".into(),
            Self::AsciiNames => {
                let name = text(&payload["dataname"]);
                payload["dataname"] = name.chars().filter(char::is_ascii).collect::<String>().into();
            }
            _ => {}
        }
    }
}

/// The running relay; dropping it ends it
#[derive(Debug)]
pub(super) struct Relay {
    socket: TcpStream,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    pub(super) fn start(nats: &str, rule: Rule) -> Result<Self> {
        let mut connection = Connection::open(nats)?;
        connection.subscribe(&format!("{SUBJECT}.>"))?;
        let socket = connection.socket()?;
        let thread = thread::spawn(move || {
            while let Ok((subject, payload)) = connection.next() {
                let text = String::from_utf8_lossy(&payload);
                let Ok(mut message) = parse(&text) else { continue };
                rule.apply(&mut message);
                let to = subject.strip_prefix(SUBJECT).and_then(|rest| rest.strip_prefix('.')).unwrap_or_default();
                if connection.publish(to, message.to_string().as_bytes()).is_err() {
                    break;
                }
            }
        });
        Ok(Self { socket, thread: Some(thread) })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // A socket that is closed already ends the thread as well.
        let _ = self.socket.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
