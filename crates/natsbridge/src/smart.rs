//! The contract that every language shares: `smartsend` makes the JSON, `smartreceive` reads it; the caller moves it.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use natsbridge_core::{
    Envelope, Header, LinkLifetime, Metadata, OutboundMessage, Part, PayloadType, Purpose, ReceiverKind, Sender,
    Source, Value,
};
use natsbridge_fileserver::{Downloader, Fetcher, RootCertificates, Uploader};

use crate::config::Config;
use crate::progress::{Progress, ProgressHook};
use crate::receive::payload::Payload;
use crate::send::Sending;
use crate::setters::setters;
use crate::stores::{self, LateFetcher, made_once};
use crate::{Error, files, observe};

/// What `smartsend` makes a payload from: a value, the path of a file that is read when it is sent, or serialised bytes
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Data {
    /// A value in memory
    Value(Value),
    /// The path of a file that holds the serialised payload; streamed when it is large
    File(PathBuf),
    /// Bytes that are serialised already, as the payload type says; they are not looked at
    Serialized(Source),
}

/// Declares what data is made from.
macro_rules! data_from {
    ($($(#[$meta:meta])* $variant:ident($from:ty),)+) => {
        $($(#[$meta])*
        impl From<$from> for Data {
            fn from(data: $from) -> Self {
                Self::$variant(data.into())
            }
        })+
    };
}

data_from! {
    Value(Value),
    Value(&str),
    Value(String),
    Value(Vec<u8>),
    Value(&[u8]),
    Value(Bytes),
    Value(serde_json::Value),
    Value(natsbridge_core::Rows),
    Value(natsbridge_core::JsonText),
    #[cfg(feature = "arrow")]
    Value(natsbridge_core::Table),
    #[cfg(feature = "arrow")]
    Value(arrow_array::RecordBatch),
    File(PathBuf),
    File(&std::path::Path),
    Serialized(Source),
}

/// Options of [`smartsend`], with the names and defaults of the other languages
#[derive(Debug, Clone)]
pub struct SendOptions {
    config: Config,
    sender: Sender,
    message: OutboundMessage,
    uploader: OnceLock<Arc<dyn Uploader>>,
}

impl Default for SendOptions {
    fn default() -> Self {
        let sender = Sender::default().broker_url(Config::NATS_URL);
        Self { config: Config::default(), sender, message: OutboundMessage::new(""), uploader: OnceLock::new() }
    }
}

impl SendOptions {
    setters! {
        /// Sets the NATS URL named in the envelope, without its secrets; default `nats://localhost:4222`
        fn broker_url(self, value: impl Into<String>) { self.sender = self.sender.clone().broker_url(&value.into()) }
        /// Sets the file server for large payloads; default `http://localhost:8080`
        fn fileserver_url(self, value: impl Into<String>) {
            self.config.fileserver_url = value.into();
            self.uploader = OnceLock::new()
        }
        /// Sets the access token that the file server asks for; default none
        fn fileserver_token(self, value: impl Into<String>) {
            self.config.fileserver_token = Some(value.into());
            self.uploader = OnceLock::new()
        }
        /// Sets authorities that the file server's certificate may be of, besides those that the system trusts; default
        /// none
        fn fileserver_ca(self, value: RootCertificates) {
            self.config.fileserver_ca = value;
            self.uploader = OnceLock::new()
        }
        /// Sets who uploads large payloads: any store, or a closure by [`upload_handler`](crate::store::upload_handler)
        fn fileserver_upload_handler(self, value: impl Uploader + 'static) { self.uploader = shared(Arc::new(value)) }
        /// Sets the size in bytes from which a payload becomes a link; default 500,000
        fn size_threshold(self, value: u64) { self.config.limits = self.config.limits.size_threshold(value) }
        /// Sets the most bytes that the broker takes, headers included; default 1,048,576
        fn max_message_size(self, value: u64) { self.config.limits = self.config.limits.max_message_size(value) }
        /// Sets what kind of receiver it has to suit; default any desktop program
        fn receiver(self, value: ReceiverKind) { self.config.limits = self.config.limits.receiver(value) }
        /// Sets whether an arrowtable becomes a jsontable for a receiver that can't read Arrow; default false
        fn convert_tables(self, value: bool) { self.config.limits = self.config.limits.convert_tables(value) }
        /// Sets whether payloads may become links; default true
        fn links(self, value: bool) { self.config.limits = self.config.limits.links(value) }
        /// Sets whether the message will be sent again until it is acknowledged, so that its links are never one-shot;
        /// default false
        fn awaits_ack(self, value: bool) { self.message.awaits_ack = value }
        /// Sets the flow that the message belongs to; default a new one
        fn correlation_id(self, value: impl Into<String>) { self.message.correlation_id = Some(value.into().into()) }
        /// Sets why it is sent; default `chat`
        fn msg_purpose(self, value: Purpose) { self.message.msg_purpose = value }
        /// Sets the sending program's name; default `NATSBridge`
        fn sender_name(self, value: impl Into<String>) { self.sender = self.sender.clone().name(value.into()) }
        /// Sets the receiving program's name; default empty, for all
        fn receiver_name(self, value: impl Into<String>) { self.message.receiver_name = value.into().into() }
        /// Sets the receiving program's identifier; default empty, for all. A link to one receiver that is asked for no
        /// reply is one-shot
        fn receiver_id(self, value: impl Into<String>) { self.message.receiver_id = value.into().into() }
        /// Sets the subject for replies; default none
        fn reply_to(self, value: impl Into<String>) { self.message.reply_to = value.into().into() }
        /// Sets the `msg_id` of the message that this one replies to; default none
        fn reply_to_msg_id(self, value: impl Into<String>) { self.message.reply_to_msg_id = value.into().into() }
        /// Sets the message's identifier; default a new one
        fn msg_id(self, value: impl Into<String>) { self.message.msg_id = Some(value.into().into()) }
        /// Sets the sending program's identifier; default a new one
        fn sender_id(self, value: impl Into<String>) { self.sender = self.sender.clone().id(value.into()) }
        /// Sets message-level metadata; default empty
        fn metadata(self, value: Metadata) { self.message.metadata = value }
        /// Sets how long links live and how often they may be read; default as the specification says. A one-shot link is
        /// refused where no receiver is named, or a reply is asked for
        fn link_lifetime(self, value: LinkLifetime) { self.message.link_lifetime = Some(value) }
        /// Calls a function as the bytes of each upload go; it must not block; default none
        fn on_progress(self, value: impl Fn(Progress<'_>) + Send + Sync + 'static) {
            self.config.progress = Some(ProgressHook::new(value))
        }
        /// Sets whether payloads may travel direct when the file server can't be reached and they fit; default false
        fn direct_fallback(self, value: bool) { self.config.direct_fallback = value }
        /// Sets whether direct payloads carry a digest too; default false
        fn digest_direct(self, value: bool) { self.message.digest_direct = value }
    }
}

/// Makes the JSON of one message out of named values, for a NATS connection of your own; uploads what is too large
///
/// Returns the envelope and the JSON to publish on `subject`; publishing is the caller's. With a connection at
/// hand, [`Bridge`](crate::Bridge) does the whole job.
///
/// # Errors
/// Naming the payload: [`Error::Payload`] for a value that its type can't hold, [`Error::File`] for a file that can't be
/// read, [`Error::Plan`] for a message that fits nowhere, [`Error::Store`] for an upload that failed, when the message's
/// other uploads are deleted. [`Error::Subject`] and [`Error::Config`] for arguments that can't be used.
///
/// # Examples
/// ```
/// use natsbridge::{Data, PayloadType, ReceiveOptions, SendOptions, Value, smartreceive, smartsend};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let data = [("msg", Data::from("hello"), PayloadType::Text), ("raw", vec![1, 2, 3].into(), PayloadType::Binary)];
/// let (envelope, json) = smartsend("chat.room", data, &SendOptions::default()).await?;
/// assert_eq!(envelope.header().send_to(), "chat.room");
/// // publish `json` on "chat.room"; whoever subscribes reads it:
/// let received = smartreceive(&json, &ReceiveOptions::default()).await?;
/// assert_eq!(received.payloads()[0], ("msg".to_owned(), Value::from("hello"), PayloadType::Text));
/// # Ok::<(), natsbridge::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub async fn smartsend<I, N, D>(
    subject: impl Into<String>,
    data: I,
    options: &SendOptions,
) -> Result<(Envelope, Bytes), Error>
where
    I: IntoIterator<Item = (N, D, PayloadType)>,
    N: Into<String>,
    D: Into<Data>,
{
    let SendOptions { config, sender, message, uploader } = options;
    let mut message = message.clone();
    message.send_to = subject.into().into();
    for (name, data, payload_type) in data {
        message.parts.push(match data.into() {
            Data::Value(value) => Part::new(name.into(), payload_type, value)?,
            Data::File(path) => files::part_of_file(&name.into(), payload_type, &path, &config.limits).await?,
            Data::Serialized(source) => Part::from_source(name.into(), payload_type, source),
        });
    }
    let limits = &config.limits;
    let sending =
        Sending { sender, config, limits, uploader, progress: None, subject: None, memory: None, deadline: None };
    let mut encoded = sending.encode(message).await?;
    // The caller publishes: from here on receivers may read the links.
    drop(encoded.uploads.publish());
    observe::sent(&encoded.envelope);
    Ok((encoded.envelope, encoded.json))
}

/// Options of [`smartreceive`] and [`open`], with the names and defaults of the other languages
#[derive(Debug, Clone, Default)]
pub struct ReceiveOptions {
    config: Config,
    /// Whether the configuration's file server was named
    from_server: bool,
    downloader: OnceLock<Arc<dyn Downloader>>,
}

impl ReceiveOptions {
    setters! {
        /// Sets who downloads links: any downloader, or a closure by [`download_handler`](crate::store::download_handler)
        fn fileserver_download_handler(self, value: impl Downloader + 'static) {
            self.downloader = shared(Arc::new(value))
        }
        /// Sets how often a failed download is retried; default 5
        fn max_retries(self, value: u32) { self.config.retry = self.config.retry.max_retries(value) }
        /// Sets the first pause before a retry; default 100 ms
        fn base_delay(self, value: Duration) { self.config.retry = self.config.retry.base_delay(value) }
        /// Sets the longest pause before a retry; default 5,000 ms
        fn max_delay(self, value: Duration) { self.config.retry = self.config.retry.max_delay(value) }
        /// Sets the file server whose links are followed, and no others; default none. A user name and password in the URL
        /// are sent to it alone
        fn fileserver_url(self, value: impl Into<String>) {
            self.config.fileserver_url = value.into();
            self.from_server = true
        }
        /// Allows links to an origin such as `https://files.example.com`; from the first on, to no other
        fn allow_origin(self, value: impl Into<String>) { self.config.allowed_origins.push(value.into()) }
        /// Sets authorities that file servers' certificates may be of, besides those that the system trusts; default none
        fn fileserver_ca(self, value: RootCertificates) { self.config.fileserver_ca = value }
        /// Calls a function as the bytes of each download go; it must not block; default none
        fn on_progress(self, value: impl Fn(Progress<'_>) + Send + Sync + 'static) {
            self.config.progress = Some(ProgressHook::new(value))
        }
        /// Sets whether links without digests and wrong sizes are refused; default false
        fn strict(self, value: bool) { self.config.checks.strict = value }
        /// Sets the most bytes taken in one payload; default 10,000,000,000
        fn max_payload_size(self, value: u64) { self.config.checks.max_payload_size = value }
        /// Sets how long all links of one message may take together; default 60 seconds, and one second more for each
        /// 1,000,000 bytes that the message says they hold
        fn message_timeout(self, value: Duration) { self.config.message_timeout = value }
    }
}

/// What [`smartreceive`] returns: the envelope's fields, and a (dataname, value, type) triple for each payload, in order
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    header: Header,
    payloads: Vec<(String, Value, PayloadType)>,
}

impl Received {
    /// The envelope's fields
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The payloads, in the order in which they were sent
    #[must_use]
    pub fn payloads(&self) -> &[(String, Value, PayloadType)] {
        &self.payloads
    }

    /// Consumes the message and returns its payloads
    #[must_use]
    pub fn into_payloads(self) -> Vec<(String, Value, PayloadType)> {
        self.payloads
    }

    /// The first payload of this name
    #[must_use]
    pub fn value(&self, dataname: &str) -> Option<&Value> {
        self.payloads.iter().find(|(name, ..)| name == dataname).map(|(_, value, _)| value)
    }
}

/// Reads a message from the JSON that your own NATS connection received; downloads what came as a link
///
/// Keep the options for the next call: the connections of their downloader are used again.
///
/// # Errors
/// [`Error::Envelope`] when it is no envelope, [`Error::Config`] when the options can't be used; naming the payload,
/// [`Error::Fetch`] for a link that can't be read and [`Error::Payload`] for bytes that are not what they should be. No
/// payload is handed out when one of them fails; with [`open`] each payload has a result of its own.
pub async fn smartreceive(json: impl AsRef<[u8]>, options: &ReceiveOptions) -> Result<Received, Error> {
    let (header, handles) = open(json, options)?;
    let payloads = stream::iter(handles)
        .map(async |handle| {
            let (name, payload_type) = (handle.name().to_owned(), handle.payload_type());
            Ok::<_, Error>((name, handle.into_value().await?, payload_type))
        })
        .buffered(TRANSFERS)
        .try_collect()
        .await
        .map_err(|error| unreadable(error, Some(&header)))?;
    Ok(Received { header, payloads })
}

fn unreadable(error: Error, header: Option<&Header>) -> Error {
    observe::count_unreadable(&error, header);
    error
}

/// Reads a message without downloading anything: names, types, sizes and digests now, each payload when it is asked for
///
/// # Errors
/// [`Error::Envelope`] when it is no envelope, [`Error::Config`] when the options can't be used.
///
/// # Examples
/// ```
/// use natsbridge::{PayloadType, ReceiveOptions, SendOptions, open, smartsend};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let data = [("note", "run 7", PayloadType::Text)];
/// let (_, json) = smartsend("lab.results", data, &SendOptions::default()).await?;
/// let (header, payloads) = open(&json, &ReceiveOptions::default())?;
/// assert_eq!((header.send_to(), payloads[0].name(), payloads[0].size()), ("lab.results", "note", Some(5)));
/// # Ok::<(), natsbridge::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn open(json: impl AsRef<[u8]>, options: &ReceiveOptions) -> Result<(Header, Vec<Payload>), Error> {
    let ReceiveOptions { config, from_server, downloader } = options;
    let envelope = Envelope::from_json(json.as_ref()).map_err(|error| unreadable(error.into(), None))?;
    observe::received(&envelope);
    let fetcher =
        || if *from_server { stores::fetcher_of(config) } else { stores::configured(Fetcher::builder(), config) };
    let downloader = made_once(downloader, || Ok(Arc::new(LateFetcher::new(fetcher()?))))?;
    let downloader = match &config.progress {
        Some(hook) => hook.downloader(downloader),
        None => downloader,
    };
    let (header, arrivals) = envelope.open(&config.checks);
    Ok((header, Payload::all(arrivals, &downloader, config.message_timeout)))
}

/// Downloads at once for one message
const TRANSFERS: usize = 4;

fn shared<T: ?Sized>(made: Arc<T>) -> OnceLock<Arc<T>> {
    OnceLock::from(made)
}
