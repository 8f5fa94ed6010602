//! Reads an envelope from JSON: exact about what it is, tolerant about how peers write it (wire.md, "What receivers accept").

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value as Json};

use crate::base64;
use crate::codec::json;
use crate::envelope::{Body, Envelope, FIELDS, Header, Metadata, Payload};
use crate::error::{EnvelopeError, PayloadFault};
use crate::source::size_of_bytes;
use crate::{Encoding, PayloadType, Transport};

impl Envelope {
    /// Reads the JSON that crossed NATS, exactly where peers agree and tolerantly where they differ (wire.md)
    ///
    /// # Errors
    /// [`EnvelopeError`], naming the payload where one is at fault.
    pub fn from_json(json: &[u8]) -> Result<Self, EnvelopeError> {
        read(json)
    }
}

fn read(text: &[u8]) -> Result<Envelope, EnvelopeError> {
    let raw: RawEnvelope<'_> = serde_json::from_slice(text).map_err(|error| not_json(&error))?;
    let document = Document(text);
    let mut fields: [Cow<'_, str>; FIELDS.len()] = std::array::from_fn(|_| Cow::Borrowed(""));
    for ((field, name), value) in fields.iter_mut().zip(FIELDS).zip(raw.fields) {
        *field = document.text_or_empty(value, name).map_err(Fault::in_envelope)?;
    }
    let metadata = document.metadata(raw.metadata).map_err(Fault::in_envelope)?;
    let payloads = raw.payloads.ok_or(EnvelopeError::MissingField { field: "payloads" })?;
    let payloads = document.payloads(payloads)?;
    Ok(Header::new(fields.each_ref().map(AsRef::as_ref), metadata).seal(payloads))
}

/// The JSON text that every raw value is a slice of
struct Document<'a>(&'a [u8]);

/// What is wrong with one field, before it is known whose it is
enum Fault {
    NotJson(EnvelopeError),
    WrongType { field: &'static str, expected: &'static str },
}

impl Fault {
    fn in_envelope(self) -> EnvelopeError {
        match self {
            Self::NotJson(error) => error,
            Self::WrongType { field, expected } => EnvelopeError::WrongType { field, expected },
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
    EnvelopeError::Payload { dataname: dataname.to_owned(), fault }
}

impl<'a> Document<'a> {
    /// A string; `""` where it is missing or null
    fn text_or_empty(&self, raw: Option<&'a RawValue>, field: &'static str) -> Result<Cow<'a, str>, Fault> {
        Ok(self.text(raw, field)?.unwrap_or_default())
    }

    /// A string; `None` where it is missing or null
    fn text(&self, raw: Option<&'a RawValue>, field: &'static str) -> Result<Option<Cow<'a, str>>, Fault> {
        let Some(raw) = raw.map(RawValue::get).filter(|raw| *raw != "null") else { return Ok(None) };
        let Some(inner) = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
            return Err(Fault::WrongType { field, expected: "a string" });
        };
        if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
            return Ok(Some(Cow::Borrowed(inner)));
        }
        let unescaped: String = serde_json::from_str(raw).map_err(|error| self.not_json_within(raw, &error))?;
        Ok(Some(Cow::Owned(unescaped)))
    }

    fn metadata(&self, raw: Option<&'a RawValue>) -> Result<Metadata, Fault> {
        let Some(raw) = raw.map(RawValue::get).filter(|raw| *raw != "null") else { return Ok(Map::new()) };
        if raw == "{}" {
            return Ok(Map::new());
        }
        if !raw.starts_with('{') {
            return Err(Fault::WrongType { field: "metadata", expected: "an object" });
        }
        let unique: UniqueKeys = serde_json::from_str(raw).map_err(|error| self.not_json_within(raw, &error))?;
        Ok(unique.0)
    }

    fn payloads(&self, raw: &'a RawValue) -> Result<Vec<Payload>, EnvelopeError> {
        match raw.get().as_bytes() {
            b"null" => return Err(EnvelopeError::MissingField { field: "payloads" }),
            [b'[', ..] => {}
            _ => return Err(EnvelopeError::WrongType { field: "payloads", expected: "an array" }),
        }
        let list: RawPayloads<'_> =
            serde_json::from_str(raw.get()).map_err(|error| self.not_json_within(raw.get(), &error).in_envelope())?;
        list.0.into_iter().enumerate().map(|(index, item)| self.payload(index, item)).collect()
    }

    fn payload(&self, index: usize, raw: Option<RawPayload<'a>>) -> Result<Payload, EnvelopeError> {
        let raw = raw.ok_or(EnvelopeError::NotAPayload { index })?;
        let name = self.text_or_empty(raw.dataname, "dataname");
        let dataname = name.map_err(|fault| fault.in_payload(&format!("#{index}")))?.into_owned();
        let in_payload = |fault: Fault| fault.in_payload(&dataname);
        let missing = |field| fault(&dataname, PayloadFault::MissingField { field });

        let id = self.text_or_empty(raw.id, "id").map_err(in_payload)?;
        let word = self.text(raw.payload_type, "payload_type").map_err(in_payload)?;
        let word = word.ok_or_else(|| missing("payload_type"))?;
        let payload_type = PayloadType::from_word(&word)
            .ok_or_else(|| fault(&dataname, PayloadFault::UnknownPayloadType { found: word.to_string() }))?;
        let word = self.text(raw.transport, "transport").map_err(in_payload)?;
        let word = word.ok_or_else(|| missing("transport"))?;
        let transport = Transport::from_word(&word)
            .ok_or_else(|| fault(&dataname, PayloadFault::UnknownTransport { found: word.to_string() }))?;
        let encoding = self.text_or_empty(raw.encoding, "encoding").map_err(in_payload)?;
        let stated_size = size(raw.size).map_err(in_payload)?;
        let metadata = self.metadata(raw.metadata).map_err(in_payload)?;
        let data = raw.data.ok_or_else(|| missing("data"))?;
        let body = match transport {
            Transport::Direct => {
                let bytes = self.direct(data, &encoding, &dataname)?;
                Body::Direct(bytes)
            }
            Transport::Link => {
                let url = self.text(Some(data), "data").map_err(in_payload)?.ok_or_else(|| missing("data"))?;
                Body::Link { url: url.into(), size: stated_size.unwrap_or(0) }
            }
        };
        let stated_size = match &body {
            Body::Direct(bytes) => stated_size.filter(|stated| *stated != size_of_bytes(bytes)),
            Body::Link { .. } => None,
        };
        Ok(Payload { id: id.into(), dataname: dataname.into(), payload_type, metadata, stated_size, body })
    }

    /// The serialised bytes of a direct payload, in whichever encoding the peer chose
    fn direct(&self, data: &'a RawValue, encoding: &str, dataname: &str) -> Result<Bytes, EnvelopeError> {
        let encoding = match encoding {
            // Absent values read as empty; what every sender writes with `direct` is base64.
            "" => Encoding::Base64,
            word => Encoding::from_word(word)
                .ok_or_else(|| fault(dataname, PayloadFault::UnknownEncoding { found: word.to_owned() }))?,
        };
        if encoding == Encoding::Json && !data.get().starts_with('"') {
            return Ok(Bytes::copy_from_slice(data.get().as_bytes()));
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

    /// A fault found in a part of the text, with its place in the whole
    fn not_json_within(&self, part: &str, error: &serde_json::Error) -> Fault {
        let offset = part.as_ptr().addr().saturating_sub(self.0.as_ptr().addr()).min(self.0.len());
        let before = &self.0[..offset];
        let lines_before = before.iter().filter(|byte| **byte == b'\n').count();
        let column_before = before.iter().rev().take_while(|byte| **byte != b'\n').count();
        let column = if error.line() <= 1 { column_before + error.column() } else { error.column() };
        let line = lines_before + error.line();
        Fault::NotJson(EnvelopeError::NotJson { line, column, reason: json::reason(error) })
    }
}

/// A size above 0, in any form that JSON has for it; 0 says that the sender did not know
fn size(raw: Option<&RawValue>) -> Result<Option<u64>, Fault> {
    let Some(raw) = raw.map(RawValue::get).filter(|raw| *raw != "null") else { return Ok(None) };
    let whole = raw.strip_suffix(".0").unwrap_or(raw);
    let size: u64 = whole.parse().map_err(|_| Fault::WrongType { field: "size", expected: "a number of bytes" })?;
    Ok((size > 0).then_some(size))
}

fn not_json(error: &serde_json::Error) -> EnvelopeError {
    EnvelopeError::NotJson { line: error.line(), column: error.column(), reason: json::reason(error) }
}

/// The envelope's fields as slices of the text; types are checked when a field is read, so that its name is known
struct RawEnvelope<'a> {
    fields: [Option<&'a RawValue>; FIELDS.len()],
    metadata: Option<&'a RawValue>,
    payloads: Option<&'a RawValue>,
}

impl<'de: 'a, 'a> Deserialize<'de> for RawEnvelope<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EnvelopeVisitor;

        impl<'de> Visitor<'de> for EnvelopeVisitor {
            type Value = RawEnvelope<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an envelope: one JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut raw = RawEnvelope { fields: [None; FIELDS.len()], metadata: None, payloads: None };
                while let Some(Key(key)) = map.next_key()? {
                    let slot = match &*key {
                        "metadata" => &mut raw.metadata,
                        "payloads" => &mut raw.payloads,
                        name => match FIELDS.iter().position(|field| *field == name) {
                            Some(index) => &mut raw.fields[index],
                            None => {
                                map.next_value::<IgnoredAny>()?;
                                continue;
                            }
                        },
                    };
                    once(slot, &key, &mut map)?;
                }
                Ok(raw)
            }
        }

        deserializer.deserialize_map(EnvelopeVisitor)
    }
}

/// One payload's fields as slices of the text
#[derive(Default)]
struct RawPayload<'a> {
    id: Option<&'a RawValue>,
    dataname: Option<&'a RawValue>,
    payload_type: Option<&'a RawValue>,
    transport: Option<&'a RawValue>,
    encoding: Option<&'a RawValue>,
    size: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
    metadata: Option<&'a RawValue>,
}

/// The items of `payloads`; `None` for an item that is not an object
struct RawPayloads<'a>(Vec<Option<RawPayload<'a>>>);

impl<'de: 'a, 'a> Deserialize<'de> for RawPayloads<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor;

        impl<'de> Visitor<'de> for ListVisitor {
            type Value = RawPayloads<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of payloads")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut payloads = Vec::with_capacity(1);
                while let Some(item) = items.next_element::<RawPayloadItem<'de>>()? {
                    payloads.push(item.0);
                }
                Ok(RawPayloads(payloads))
            }
        }

        deserializer.deserialize_seq(ListVisitor)
    }
}

struct RawPayloadItem<'a>(Option<RawPayload<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for RawPayloadItem<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PayloadVisitor;

        /// Anything but an object
        macro_rules! not_an_object {
            ($($method:ident: $type:ty,)+) => {
                $(fn $method<E>(self, _: $type) -> Result<Self::Value, E> { Ok(RawPayloadItem(None)) })+
            };
        }

        impl<'de> Visitor<'de> for PayloadVisitor {
            type Value = RawPayloadItem<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a payload: a JSON object")
            }

            not_an_object! { visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str, }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(RawPayloadItem(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(RawPayloadItem(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut raw = RawPayload::default();
                while let Some(Key(key)) = map.next_key()? {
                    let slot = match &*key {
                        "id" => &mut raw.id,
                        "dataname" => &mut raw.dataname,
                        "payload_type" => &mut raw.payload_type,
                        "transport" => &mut raw.transport,
                        "encoding" => &mut raw.encoding,
                        "size" => &mut raw.size,
                        "data" => &mut raw.data,
                        "metadata" => &mut raw.metadata,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    once(slot, &key, &mut map)?;
                }
                Ok(RawPayloadItem(Some(raw)))
            }
        }

        deserializer.deserialize_any(PayloadVisitor)
    }
}

/// Fills a field that may stand only once
fn once<'de, A: MapAccess<'de>>(slot: &mut Option<&'de RawValue>, key: &str, map: &mut A) -> Result<(), A::Error> {
    if slot.is_some() {
        return Err(serde::de::Error::custom(format_args!("duplicate key `{key}`")));
    }
    *slot = Some(map.next_value()?);
    Ok(())
}

/// A key, borrowed from the text where nothing in it is escaped
struct Key<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;

        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(KeyVisitor)
    }
}

/// Metadata, in which a key that stands twice could hide the value that is checked
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
                        return Err(serde::de::Error::custom(format_args!("duplicate key `{key}`")));
                    }
                    metadata.insert(key, value);
                }
                Ok(UniqueKeys(metadata))
            }
        }

        deserializer.deserialize_map(MetadataVisitor)
    }
}
