//! Messages over a real nats-server: a bridge against raw async-nats with the same bytes.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use async_nats::{Client, Subject};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use natsbridge::{Bridge, Config, DeliverOptions, PayloadType, Subscriber, Value};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::bridge::sealed;
use crate::job::{Job, Scenario, Side};
use crate::sample::number;
use crate::{Failure, workload};

/// Payload sizes in bytes
pub const SIZES: [usize; 4] = [128, 1_000, 10_000, 400_000];

const SUBJECT: Subject = Subject::from_static("bench.message");

/// What a scenario gives when it runs
pub type Run = BoxFuture<'static, Result<Vec<f64>, Failure>>;

/// Connects and subscribes; what is returned does only what is measured
///
/// # Errors
/// What connecting says.
pub async fn prepare(job: &Job) -> Result<Run, Failure> {
    match (job.scenario, job.side) {
        (Scenario::Publish, Side::Natsbridge) => publish(job, Sender::bridges(job).await?).await,
        (Scenario::Publish, Side::Other) => publish(job, Sender::clients(job).await?).await,
        (Scenario::Written, Side::Natsbridge) => publish(job, Sender::writers(job).await?).await,
        (Scenario::Written, Side::Other) => publish(job, Sender::clients(job).await?).await,
        (Scenario::Receive, _) | (Scenario::Through, Side::Other) => receive(job, Sender::clients(job).await?).await,
        (Scenario::Through, Side::Natsbridge) => receive(job, Sender::bridges(job).await?).await,
        (Scenario::Latency, _) => latency(job).await,
        (Scenario::Deliver, Side::Natsbridge) => deliver(job).await,
        (Scenario::Deliver, Side::Other) => request(job).await,
        (Scenario::Link | Scenario::Transfer | Scenario::Large | Scenario::TableRows, _) => {
            Err("it is in another room".into())
        }
    }
}

async fn client(job: &Job) -> Result<Client, Failure> {
    Ok(async_nats::connect(&job.nats_url).await?)
}

async fn bridge(job: &Job) -> Result<Bridge, Failure> {
    Ok(Bridge::connect(Config::new(&job.nats_url)).await?)
}

async fn subscribe(client: &Client) -> Result<async_nats::Subscriber, Failure> {
    let subscriber = client.subscribe(SUBJECT).await?;
    // Publishers have connections of their own: the server has to know of the subscription first.
    client.flush().await?;
    client.request("bench.nobody", Bytes::new()).await.err();
    Ok(subscriber)
}

async fn listen(bridge: &Bridge) -> Result<Subscriber, Failure> {
    let inbox = bridge.subscribe(SUBJECT.as_str()).await?;
    bridge.confirm().await?;
    Ok(inbox)
}

/// One publisher, ours or raw
#[derive(Clone)]
enum Sender {
    Bridge(Bridge, Bytes),
    Client(Client, Arc<[Bytes]>),
    Writer(Client, Bytes),
}

impl Sender {
    async fn bridges(job: &Job) -> Result<Vec<Self>, Failure> {
        let mut senders = Vec::new();
        for _ in 0..job.publishers {
            senders.push(Self::Bridge(bridge(job).await?, workload::bytes(job.size)));
        }
        Ok(senders)
    }

    async fn clients(job: &Job) -> Result<Vec<Self>, Failure> {
        let messages = messages(job).await?;
        let mut senders = Vec::new();
        for _ in 0..job.publishers {
            senders.push(Self::Client(client(job).await?, Arc::clone(&messages)));
        }
        Ok(senders)
    }

    async fn writers(job: &Job) -> Result<Vec<Self>, Failure> {
        let mut senders = Vec::new();
        for _ in 0..job.publishers {
            senders.push(Self::Writer(client(job).await?, workload::bytes(job.size)));
        }
        Ok(senders)
    }

    async fn send(&self, number: u64) -> Result<(), Failure> {
        match self {
            Self::Bridge(bridge, payload) => {
                bridge.message(SUBJECT.as_str()).binary("payload", payload.clone()).send().await?;
            }
            Self::Writer(client, payload) => {
                let values = [("payload", PayloadType::Binary, Value::Bytes(payload.clone()))];
                client.publish(SUBJECT, sealed(values)?.to_json()).await?;
            }
            Self::Client(client, messages) => {
                let turn = usize::try_from(number)? % messages.len();
                client.publish(SUBJECT, messages.get(turn).cloned().unwrap_or_default()).await?;
            }
        }
        Ok(())
    }
}

/// Messages as a bridge sends them, taken from the wire: at most 2 MB of them, in their order; senders begin anew at the end
async fn messages(job: &Job) -> Result<Arc<[Bytes]>, Failure> {
    let receiver = client(job).await?;
    let mut subscriber = subscribe(&receiver).await?;
    let sender = Sender::Bridge(bridge(job).await?, workload::bytes(job.size));
    let wanted = usize::try_from(job.count)?.min(2_000_000 / json_len(job.size)).max(1);
    let mut messages = Vec::with_capacity(wanted);
    for number in 0..wanted {
        sender.send(number.try_into()?).await?;
        messages.push(subscriber.next().await.ok_or("the subscription ended")?.payload);
    }
    Ok(messages.into())
}

/// Bytes of a message of this payload on the wire, about
const fn json_len(payload: usize) -> usize {
    payload * 4 / 3 + 800
}

/// How far publishers may run ahead of the receiver, so that nothing is dropped
///
/// As far as that allows, as programs that publish hold back nothing either.
#[derive(Clone)]
struct Flow {
    open: Arc<Semaphore>,
    batch: u32,
}

impl Flow {
    /// Half the messages that a subscription holds, of async-nats as of natsbridge
    const MESSAGES: usize = 65_536 / 2;
    /// Half the bytes that nats-server keeps for a connection
    const BYTES: usize = 64_000_000 / 2;

    fn new(job: &Job) -> Result<Self, Failure> {
        let batch = (1_000_000 / job.size).clamp(4, 256);
        let undropped = Self::MESSAGES.min(Self::BYTES / json_len(job.size));
        let ahead = job.ahead.map_or(undropped, |ahead| ahead.min(undropped)).max(batch);
        Ok(Self { open: Arc::new(Semaphore::new(ahead)), batch: u32::try_from(batch)? })
    }

    /// Waits before a batch's first message, until the receiver has caught up
    async fn wait(&self, number: u64) -> Result<(), Failure> {
        if number.is_multiple_of(u64::from(self.batch)) {
            self.open.acquire_many(self.batch).await?.forget();
        }
        Ok(())
    }

    fn received(&self, number: u64) -> Result<(), Failure> {
        if (number + 1).is_multiple_of(u64::from(self.batch)) {
            self.open.add_permits(usize::try_from(self.batch)?);
        }
        Ok(())
    }
}

/// Publishers each send their share as fast as the receiver follows
///
/// They come back when they are done: a raw client that is dropped takes what it has not written yet with it.
fn start(senders: Vec<Sender>, count: u64, flow: &Flow) -> JoinSet<Result<Sender, Failure>> {
    let share = count / u64::try_from(senders.len()).unwrap_or(1).max(1);
    let mut sending = JoinSet::new();
    for sender in senders {
        let flow = flow.clone();
        sending.spawn(async move {
            for number in 0..share {
                flow.wait(number).await?;
                sender.send(number).await?;
            }
            Ok(sender)
        });
    }
    sending
}

/// Messages per second until the last one is there
async fn rate(
    count: u64,
    mut sending: JoinSet<Result<Sender, Failure>>,
    receiving: impl Future<Output = Result<(), Failure>>,
    began: Instant,
) -> Result<Vec<f64>, Failure> {
    receiving.await?;
    let seconds = began.elapsed().as_secs_f64();
    while let Some(sent) = sending.join_next().await {
        sent??;
    }
    Ok(vec![number(count) / seconds])
}

async fn publish(job: &Job, senders: Vec<Sender>) -> Result<Run, Failure> {
    let receiver = client(job).await?;
    let mut subscriber = subscribe(&receiver).await?;
    let flow = Flow::new(job)?;
    // Every publisher ends with a whole batch, so that the receiver's count sets the last ones free.
    let round = u64::from(flow.batch) * job.publishers;
    let count = job.count.div_ceil(round) * round;
    Ok(Box::pin(async move {
        let began = Instant::now();
        let sending = start(senders, count, &flow);
        let receiving = async {
            for number in 0..count {
                subscriber.next().await.ok_or("the subscription ended")?;
                flow.received(number)?;
            }
            drop(receiver);
            Ok(())
        };
        rate(count, sending, receiving, began).await
    }))
}

async fn receive(job: &Job, senders: Vec<Sender>) -> Result<Run, Failure> {
    let flow = Flow::new(job)?;
    let count = job.count.div_ceil(u64::from(flow.batch)) * u64::from(flow.batch);
    let size = job.size;
    Ok(match job.side {
        Side::Natsbridge => {
            let bridge = bridge(job).await?;
            let mut inbox = listen(&bridge).await?;
            Box::pin(async move {
                let began = Instant::now();
                let sending = start(senders, count, &flow);
                let receiving = async {
                    for number in 0..count {
                        taken(&mut inbox, size).await?;
                        flow.received(number)?;
                    }
                    Ok(())
                };
                rate(count, sending, receiving, began).await
            })
        }
        Side::Other => {
            let receiver = client(job).await?;
            let mut subscriber = subscribe(&receiver).await?;
            Box::pin(async move {
                let began = Instant::now();
                let sending = start(senders, count, &flow);
                let receiving = async {
                    for number in 0..count {
                        subscriber.next().await.ok_or("the subscription ended")?;
                        flow.received(number)?;
                    }
                    drop(receiver);
                    Ok(())
                };
                rate(count, sending, receiving, began).await
            })
        }
    })
}

/// The next message's payload, which has to have the size that was sent
async fn taken(inbox: &mut Subscriber, size: usize) -> Result<natsbridge::Message, Failure> {
    let message = inbox.next().await.ok_or("the subscription ended")??;
    let found = message.bytes("payload")?.len();
    if found != size {
        return Err(format!("{found} bytes arrived instead of {size}").into());
    }
    Ok(message)
}

async fn latency(job: &Job) -> Result<Run, Failure> {
    let (count, size) = (job.count, job.size);
    let mut latencies = Vec::with_capacity(count.try_into()?);
    Ok(match job.side {
        Side::Natsbridge => {
            let sender = Sender::bridges(job).await?.pop().ok_or("no sender")?;
            let receiver = bridge(job).await?;
            let mut inbox = listen(&receiver).await?;
            Box::pin(async move {
                for number in 0..count + WARM {
                    let began = Instant::now();
                    sender.send(number).await?;
                    taken(&mut inbox, size).await?;
                    if number >= WARM {
                        latencies.push(began.elapsed().as_secs_f64());
                    }
                }
                Ok(latencies)
            })
        }
        Side::Other => {
            let sender = Sender::clients(job).await?.pop().ok_or("no sender")?;
            let receiver = client(job).await?;
            let mut subscriber = subscribe(&receiver).await?;
            Box::pin(async move {
                for number in 0..count + WARM {
                    let began = Instant::now();
                    sender.send(number).await?;
                    subscriber.next().await.ok_or("the subscription ended")?;
                    if number >= WARM {
                        latencies.push(began.elapsed().as_secs_f64());
                    }
                }
                drop(receiver);
                Ok(latencies)
            })
        }
    })
}

/// Messages before the first one that counts
const WARM: u64 = 50;

async fn deliver(job: &Job) -> Result<Run, Failure> {
    let (sender, receiver) = (bridge(job).await?, bridge(job).await?);
    let mut inbox = listen(&receiver).await?;
    let mut answering = JoinSet::new();
    answering.spawn(async move {
        while let Some(message) = inbox.next().await {
            message?.ack().await?;
        }
        Ok::<_, Failure>(())
    });
    let (count, payload) = (job.count, workload::bytes(job.size));
    Ok(Box::pin(async move {
        let mut latencies = Vec::new();
        let how = DeliverOptions::default();
        for number in 0..count + WARM {
            let began = Instant::now();
            sender.message(SUBJECT.as_str()).binary("payload", payload.clone()).deliver(&how).await?;
            if number >= WARM {
                latencies.push(began.elapsed().as_secs_f64());
            }
        }
        drop(answering);
        Ok(latencies)
    }))
}

/// A request with a message's bytes, answered with an acknowledgement's
async fn request(job: &Job) -> Result<Run, Failure> {
    let messages = messages(job).await?;
    // An acknowledgement is an envelope without payloads.
    let answer = messages.first().cloned().unwrap_or_default();
    let answer = answer.slice(..answer.len().min(650));
    let (sender, receiver) = (client(job).await?, client(job).await?);
    let mut subscriber = subscribe(&receiver).await?;
    let mut answering = JoinSet::new();
    answering.spawn(async move {
        while let Some(message) = subscriber.next().await {
            if let Some(reply) = message.reply {
                receiver.publish(reply, answer.clone()).await?;
            }
        }
        Ok::<_, Failure>(())
    });
    let count = job.count;
    Ok(Box::pin(async move {
        let mut latencies = Vec::new();
        for (number, message) in (0..count + WARM).zip(messages.iter().cycle()) {
            let began = Instant::now();
            sender.request(SUBJECT, message.clone()).await?;
            if number >= WARM {
                latencies.push(began.elapsed().as_secs_f64());
            }
        }
        drop(answering);
        Ok(latencies)
    }))
}
