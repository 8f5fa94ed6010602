//! Two real servers and a running peer of each language.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, anyhow};
use serde_json::Value;

use super::sabotage::{self, Relay, Rule};
use crate::peers::{Peer, Talk};
use crate::process::Deadline;
use crate::servers::{self, Port, Server};
use crate::workspace::{self, TempFolder};

/// How long the servers may take to be there
const SERVERS: Duration = Duration::from_secs(30);

/// How long a language may take to start: Julia compiles, a browser opens a page
const START: Duration = Duration::from_secs(90);

/// Everything that runs during the matrix; dropping it ends it
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) peers: Vec<Peer>,
    talks: BTreeMap<&'static str, Talk>,
    relay: Option<Relay>,
    pub(super) nats: String,
    websocket: String,
    pub(super) files: String,
    _servers: [Server; 2],
    _folder: TempFolder,
}

impl Stage {
    /// Starts the servers, then the peers
    pub(super) fn set(peers: &[Peer]) -> Result<Self> {
        let natsbridge = workspace::natsbridge()?;
        let folder = TempFolder::create()?;
        let deadline = Deadline::after(SERVERS);
        let (nats_server, websocket) = servers::start_nats_with_websocket(folder.path(), deadline)?;
        let stored = folder.path().join("files");
        let file_server = servers::start_public_files(&natsbridge, &stored, Port::Any, deadline)?;
        let mut stage = Self {
            peers: peers.to_vec(),
            talks: BTreeMap::new(),
            relay: None,
            nats: nats_server.url.clone(),
            websocket,
            files: file_server.url.clone(),
            _servers: [nats_server, file_server],
            _folder: folder,
        };
        // All at once, since most of them spend their start waiting.
        for peer in peers {
            let talk = stage.start(peer)?;
            stage.talks.insert(peer.name, talk);
        }
        for peer in peers {
            stage.ready(peer.name)?;
        }
        Ok(stage)
    }

    /// From now on changes every message by this rule
    pub(super) fn sabotage(&mut self, rule: Rule) -> Result<()> {
        // The one before goes first, or both would relay.
        self.relay = None;
        self.relay = Some(Relay::start(&self.nats, rule)?);
        Ok(())
    }

    /// The subject on which a message reaches a peer
    pub(super) fn subject(&self, receiver: &str) -> String {
        match self.relay {
            Some(_) => format!("{}.conform.{receiver}", sabotage::SUBJECT),
            None => format!("conform.{receiver}"),
        }
    }

    /// How long a message may take: sent, uploaded, downloaded, reported
    ///
    /// A sabotaged one may never be recognised; there is no sense in waiting long for it.
    pub(super) fn patience(&self) -> Duration {
        Duration::from_secs(if self.relay.is_some() { 3 } else { 30 })
    }

    /// The running peer of this name; started again when it has ended
    pub(super) fn talk(&mut self, name: &'static str) -> Result<&mut Talk> {
        let ended = self.talks.get_mut(name).is_none_or(Talk::has_ended);
        if ended {
            let peer = self.peers.iter().find(|peer| peer.name == name).cloned();
            let peer = peer.ok_or_else(|| anyhow!("no peer {name} on this stage"))?;
            let talk = self.start(&peer)?;
            self.talks.insert(name, talk);
            self.ready(name)?;
        }
        self.talks.get_mut(name).ok_or_else(|| anyhow!("{name} does not run"))
    }

    fn start(&self, peer: &Peer) -> Result<Talk> {
        let Self { nats, websocket, files, .. } = self;
        let mode = ["live", "--nats", nats, "--ws", websocket, "--files", files, "--name", peer.name];
        Talk::start(peer.name, &mut peer.command(&mode))
    }

    fn ready(&mut self, name: &str) -> Result<()> {
        let talk = self.talks.get_mut(name).ok_or_else(|| anyhow!("{name} does not run"))?;
        talk.hear(START, |line| (line["ready"] == true).then_some(()))
    }
}

/// Whether a line is the report of this message's arrival
pub(super) fn arrival(line: &Value, msg_id: &Value) -> Option<Value> {
    let received = line.get("received")?;
    // What can't be read may not have told its identifier.
    (&received["msg_id"] == msg_id || received["msg_id"].is_null()).then(|| received.clone())
}
