//! Reads an envelope from JSON: exact about what it is, tolerant about how peers write it (specification, section 5).

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value as Json};

use super::scan::{Members, Raw, Scanner};
use crate::base64;
use crate::envelope::{Body, Envelope, Payload};
use crate::error::{EnvelopeError, EnvelopeFault, PayloadFault};
use crate::escape::has_control;
use crate::fields::{FIELDS, OPENINGS};
use crate::harmless::shown;
use crate::header::Header;
use crate::json_text::Shape;
use crate::metadata::Metadata;
use crate::sequence::{ParsedMetadata, sequence_len};
use crate::source::size_of_bytes;
use crate::words::Encoding;
use crate::{PayloadType, Transport};

impl Envelope {
    /// Reads the JSON that crossed NATS, exactly where peers agree and tolerantly where they differ (`docs/specification.md`)
    ///
    /// # Errors
    /// [`EnvelopeError`], naming the payload where one is at fault.
    pub fn from_json(json: &[u8]) -> Result<Self, EnvelopeError> {
        let mut scanner = Scanner::new(json);
        if scanner.peek() != Some(b'{') {
            return Err(not_an_object(&mut scanner, json));
        }
        let mut payloads = RawPayloads::Other;
        let members =
            scanner.object("an envelope: one JSON object", &MEMBERS, &OPENINGS, |scanner, index| match index {
                PAYLOADS => raw_payloads(scanner, &mut payloads),
                _ => scanner.value(),
            })?;
        scanner.end()?;

        let reader = Reader(&scanner);
        let header = reader.header(&members)?;
        match (payloads, members.values[PAYLOADS]) {
            (RawPayloads::List(list), Some(_)) => {
                let payloads = list.into_iter().enumerate().map(|(index, raw)| reader.payload(index, raw));
                Ok(Self { header, payloads: payloads.collect::<Result<_, _>>()? })
            }
            (RawPayloads::Other, Some(raw)) if !raw.is_null() => {
                Err(EnvelopeError(EnvelopeFault::WrongType { field: "payloads", expected: "an array" }))
            }
            _ => Err(EnvelopeError(EnvelopeFault::MissingField { field: "payloads" })),
        }
    }
}

/// What is wrong with a message that does not begin as an object: whether it is JSON of another type, or none
fn not_an_object(scanner: &mut Scanner<'_>, json: &[u8]) -> EnvelopeError {
    match serde_json::from_slice(json) {
        Ok(Shape { kind, .. }) => EnvelopeError(EnvelopeFault::NotAnObject {
            found: match kind {
                Shape::ARRAY => "a JSON array",
                "a string" => "a JSON string",
                "a number" => "a JSON number",
                "a boolean" => "a JSON boolean",
                _ => "JSON null",
            },
        }),
        Err(_) => {
            let sound = scanner.skip().and_then(|()| scanner.end());
            sound.err().unwrap_or_else(|| scanner.error("expected an envelope: one JSON object"))
        }
    }
}

/// The members of an envelope: the text fields, then these two
const MEMBERS: [&str; FIELDS.len() + 2] = {
    let mut members = [""; FIELDS.len() + 2];
    let mut index = 0;
    while index < FIELDS.len() {
        members[index] = FIELDS[index];
        index += 1;
    }
    members[METADATA] = "metadata";
    members[PAYLOADS] = "payloads";
    members
};
const METADATA: usize = FIELDS.len();
const PAYLOADS: usize = FIELDS.len() + 1;

/// The members of a payload, in the order of the specification
const PAYLOAD_MEMBERS: [&str; 8] =
    ["id", "dataname", "payload_type", "transport", "encoding", "size", "data", "metadata"];

/// What stands before the first of them where our own writers wrote it
const PAYLOAD_OPENINGS: [&str; 5] =
    ["\",\"id\":\"", "\",\"dataname\":\"", "\",\"payload_type\":\"", "\",\"transport\":\"", "\",\"encoding\":\""];

/// The value of `payloads`
enum RawPayloads<'a> {
    /// An array; `None` for an item that is not an object
    List(Vec<Option<RawPayload<'a>>>),
    /// Anything else
    Other,
}

/// One payload's members as slices of the text; types are checked when one is read, so that its name is known
type RawPayload<'a> = [Option<Raw<'a>>; PAYLOAD_MEMBERS.len()];

fn raw_payloads<'a>(scanner: &mut Scanner<'a>, payloads: &mut RawPayloads<'a>) -> Result<Raw<'a>, EnvelopeError> {
    if scanner.peek() != Some(b'[') {
        return scanner.value();
    }
    let mut list = Vec::with_capacity(1);
    let raw = scanner.items(|scanner| {
        list.push(match scanner.peek() {
            Some(b'{') => {
                let what = "a payload: a JSON object";
                let members =
                    scanner.object(what, &PAYLOAD_MEMBERS, &PAYLOAD_OPENINGS, |scanner, _| scanner.value())?;
                Some(members.values)
            }
            _ => {
                scanner.skip()?;
                None
            }
        });
        Ok(())
    })?;
    *payloads = RawPayloads::List(list);
    Ok(raw)
}

/// Reads the values that were found
struct Reader<'s, 'a>(&'s Scanner<'a>);

/// What is wrong with one field, before it is known whose it is
enum Fault {
    NotJson(EnvelopeError),
    WrongType { field: &'static str, expected: &'static str },
}

impl Fault {
    fn in_envelope(self) -> EnvelopeError {
        match self {
            Self::NotJson(error) => error,
            Self::WrongType { field, expected } => EnvelopeError(EnvelopeFault::WrongType { field, expected }),
        }
    }

    fn in_payload(self, dataname: &str) -> EnvelopeError {
        match self {
            Self::NotJson(error) => error,
            Self::WrongType { field, expected } => fault(dataname, PayloadFault::WrongType { field, expected }),
        }
    }
}

fn fault(dataname: &str, fault: PayloadFault) -> EnvelopeError {
    EnvelopeError(EnvelopeFault::Payload { dataname: cut(dataname), fault })
}

/// As much of a stranger's text as an error shows
fn cut(text: &str) -> String {
    const SHOWN: usize = 80;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl<'a> Reader<'_, 'a> {
    /// The text fields are checked together: one allocation, and one look whether they are UTF-8
    fn header(&self, members: &Members<'a, { MEMBERS.len() }>) -> Result<Header, EnvelopeError> {
        const EMPTY: Cow<'_, [u8]> = Cow::Borrowed(&[]);
        let values = &members.values;
        let metadata = || match values[METADATA] {
            Some(raw) if sequence_len(raw.as_bytes()) == Some(raw.as_bytes().len()) => {
                Ok(ParsedMetadata::Sequence(raw.as_bytes()))
            }
            raw => self.metadata(raw).map(ParsedMetadata::Map).map_err(Fault::in_envelope),
        };
        if let Some(json) = members.usual {
            let lens = std::array::from_fn(|index| values[index].and_then(|raw| raw.plain()).map_or(0, <[u8]>::len));
            if let Some(header) = Header::from_json(json, lens, metadata()?) {
                return Ok(header);
            }
        }
        let mut contents = [EMPTY; FIELDS.len()];
        for ((content, raw), field) in contents.iter_mut().zip(values).zip(FIELDS) {
            let Some(raw) = raw.filter(|raw| !raw.is_null()) else { continue };
            if !raw.starts_with(b'"') {
                return Err(EnvelopeError(EnvelopeFault::WrongType { field, expected: "a string" }));
            }
            *content = self.0.content(raw)?;
        }
        let header = Header::from_utf8(contents.each_ref().map(AsRef::as_ref), metadata()?);
        if header.as_ref().is_none_or(|header| has_control(header.text().as_bytes())) {
            // Read one by one, to say where it is not JSON or not UTF-8; control characters may have been escaped, too.
            let given = values.iter().take(FIELDS.len()).flatten().filter(|raw| !raw.is_null());
            given.copied().try_for_each(|raw| self.0.text(raw).map(drop))?;
        }
        header.ok_or_else(|| {
            EnvelopeError(EnvelopeFault::NotJson {
                line: 1,
                column: 1,
                reason: "the text fields are not UTF-8, or have 4 GiB".to_owned(),
            })
        })
    }

    /// A string; `""` where it is missing or null
    fn text_or_empty(&self, raw: Option<Raw<'a>>, field: &'static str) -> Result<Cow<'a, str>, Fault> {
        Ok(self.text(raw, field)?.unwrap_or_default())
    }

    /// A string; `None` where it is missing or null
    fn text(&self, raw: Option<Raw<'a>>, field: &'static str) -> Result<Option<Cow<'a, str>>, Fault> {
        let Some(raw) = raw.filter(|raw| !raw.is_null()) else { return Ok(None) };
        if !raw.starts_with(b'"') {
            return Err(Fault::WrongType { field, expected: "a string" });
        }
        self.0.text(raw).map(Some).map_err(Fault::NotJson)
    }

    fn metadata(&self, raw: Option<Raw<'a>>) -> Result<Metadata, Fault> {
        match raw {
            None => Ok(Map::new()),
            Some(raw) if raw.is_null() || raw.as_bytes() == b"{}" => Ok(Map::new()),
            Some(raw) if raw.starts_with(b'{') => {
                let UniqueKeys(metadata) = self.0.read(raw).map_err(Fault::NotJson)?;
                Ok(metadata)
            }
            Some(_) => Err(Fault::WrongType { field: "metadata", expected: "an object" }),
        }
    }

    fn payload(&self, index: usize, raw: Option<RawPayload<'a>>) -> Result<Payload, EnvelopeError> {
        let [id, dataname, payload_type, transport, encoding, size, data, metadata] =
            raw.ok_or(EnvelopeError(EnvelopeFault::NotAPayload { index }))?;
        let name = self.text_or_empty(dataname, "dataname");
        let dataname = name.map_err(|fault| fault.in_payload(&format!("#{index}")))?;
        let in_payload = |fault: Fault| fault.in_payload(&dataname);
        let missing = |field| fault(&dataname, PayloadFault::MissingField { field });

        let id = self.text_or_empty(id, "id").map_err(in_payload)?;
        let word = self.text(payload_type, "payload_type").map_err(in_payload)?;
        let word = word.ok_or_else(|| missing("payload_type"))?;
        let payload_type = PayloadType::from_word(&word)
            .ok_or_else(|| fault(&dataname, PayloadFault::UnknownPayloadType { found: cut(&word) }))?;
        let word = self.text(transport, "transport").map_err(in_payload)?;
        let word = word.ok_or_else(|| missing("transport"))?;
        let transport = Transport::from_word(&word)
            .ok_or_else(|| fault(&dataname, PayloadFault::UnknownTransport { found: cut(&word) }))?;
        let encoding = self.text_or_empty(encoding, "encoding").map_err(in_payload)?;
        let stated_size = stated_size(size).map_err(in_payload)?;
        let metadata = self.metadata(metadata).map_err(in_payload)?;
        let data = data.ok_or_else(|| missing("data"))?;
        let body = match transport {
            Transport::Direct => Body::Direct(self.direct(data, &encoding, &dataname)?),
            Transport::Link => {
                let url = self.text(Some(data), "data").map_err(in_payload)?.ok_or_else(|| missing("data"))?;
                Body::Link { url: url.into(), size: stated_size.unwrap_or(0) }
            }
        };
        let stated_size = match &body {
            Body::Direct(bytes) => stated_size.filter(|stated| *stated != size_of_bytes(bytes)),
            Body::Link { .. } => None,
        };
        Ok(Payload {
            id: (&*id).into(),
            dataname: dataname.into(),
            payload_type,
            metadata: metadata.into(),
            stated_size,
            body,
        })
    }

    /// The serialised bytes of a direct payload, in whichever encoding the peer chose
    fn direct(&self, data: Raw<'a>, encoding: &str, dataname: &str) -> Result<Bytes, EnvelopeError> {
        let encoding = match encoding {
            // Absent values read as empty; what every sender writes with `direct` is base64.
            "" => Encoding::Base64,
            word => Encoding::from_word(word)
                .ok_or_else(|| fault(dataname, PayloadFault::UnknownEncoding { found: cut(word) }))?,
        };
        if encoding == Encoding::Json && !data.starts_with(b'"') {
            return Ok(Bytes::copy_from_slice(data.as_bytes()));
        }
        // Base64 in its strict form holds nothing that JSON forbids in a string, so it need not be looked at twice.
        if encoding != Encoding::None
            && let Some(bytes) = data.plain().and_then(base64::decode_strict)
        {
            return Ok(bytes.into());
        }
        let text = self.text(Some(data), "data").map_err(|fault| fault.in_payload(dataname))?;
        let text = text.ok_or_else(|| fault(dataname, PayloadFault::MissingField { field: "data" }))?;
        match encoding {
            Encoding::None => Ok(text.into_owned().into()),
            Encoding::Json | Encoding::Base64 | Encoding::ArrowIpc => base64::decode(&text)
                .map(Bytes::from)
                .map_err(|reason| fault(dataname, PayloadFault::Base64 { reason })),
        }
    }
}

/// A size above 0, in any form that JSON has for it; 0 says that the sender did not know
fn stated_size(raw: Option<Raw<'_>>) -> Result<Option<u64>, Fault> {
    let Some(raw) = raw.filter(|raw| !raw.is_null()) else { return Ok(None) };
    let text = std::str::from_utf8(raw.as_bytes()).unwrap_or_default();
    // Some writers have `3.0` or `1e+05`. A whole float is shown by its digits alone; a negative zero and zero make zero.
    let float = || text.parse::<f64>().ok().and_then(|size| (size + 0.0).to_string().parse().ok());
    let size: Option<u64> = text.parse().ok().or_else(float);
    let size = size.ok_or(Fault::WrongType { field: "size", expected: "a number of bytes" })?;
    Ok((size > 0).then_some(size))
}

/// Metadata, in which a key that occurs twice could hide the value that is checked
struct UniqueKeys(Metadata);

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MetadataVisitor;

        impl<'de> Visitor<'de> for MetadataVisitor {
            type Value = UniqueKeys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("metadata: a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut metadata = Map::new();
                while let Some((key, value)) = map.next_entry::<String, Json>()? {
                    if metadata.contains_key(&key) {
                        return Err(serde::de::Error::custom(format_args!("duplicate key `{}`", shown(&key))));
                    }
                    metadata.insert(key, value);
                }
                Ok(UniqueKeys(metadata))
            }
        }

        deserializer.deserialize_map(MetadataVisitor)
    }
}
