//! What is sent: values of every payload type at a given size, mixed messages, and messages that must be refused.

use bytes::Bytes;
use natsbridge_core::{PayloadType, Rows, Value};
use serde_json::{Map, Value as Json, json};

use crate::{Failure, bridge, tables};

/// Bytes without a pattern that anything could profit from, the same in every run
#[must_use]
pub fn bytes(size: usize) -> Bytes {
    let mut state: u64 = 0x9E37_79B9_7F4A_7C15;
    std::iter::repeat_with(|| {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
    .take(size)
    .collect()
}

/// A value of about this many bytes, serialised
///
/// # Errors
/// What Arrow says.
pub fn value(payload_type: PayloadType, size: usize) -> Result<Value, Failure> {
    Ok(match payload_type {
        PayloadType::Text => {
            Value::Text("Die Messung läuft; channel 7 reads 3.3 V. ".chars().cycle().take(size).collect())
        }
        PayloadType::Dictionary => Value::Json(json!({"station": "north", "readings": readings(size / 45)})),
        PayloadType::JsonTable => Value::Rows(Rows::new(readings(size / 45))),
        PayloadType::ArrowTable => Value::Table(tables::table((size / 36).max(1).try_into()?)?),
        _ => Value::Bytes(bytes(size)),
    })
}

/// Rows of about 45 bytes of JSON
fn readings(count: usize) -> Vec<Map<String, Json>> {
    let row = |n: usize| match json!({"time": 1_700_000_000 + n, "volts": 3.25, "ok": n.is_multiple_of(3)}) {
        Json::Object(row) => row,
        _ => Map::new(),
    };
    (0..count.max(1)).map(row).collect()
}

/// A note, settings, a table and a picture in one message
///
/// # Errors
/// What Arrow says.
pub fn mixed() -> Result<Vec<(&'static str, PayloadType, Value)>, Failure> {
    let of = |name, payload_type, size| Ok::<_, Failure>((name, payload_type, value(payload_type, size)?));
    Ok(vec![
        of("note", PayloadType::Text, 1_000)?,
        of("settings", PayloadType::Dictionary, 10_000)?,
        of("readings", PayloadType::ArrowTable, 36_000)?,
        of("picture", PayloadType::Image, 100_000)?,
    ])
}

/// Messages that have to be refused, each about as long as a message of 10 KB binary
///
/// # Errors
/// What core says of the sound message they are made from.
pub fn hostile() -> Result<Vec<(&'static str, Vec<u8>)>, Failure> {
    let good = bridge::binary_json(10_000)?.to_vec();
    let text = String::from_utf8(good.clone())?;
    let cut = good.get(..good.len() * 9 / 10).unwrap_or_default().to_vec();
    let deep = text.replacen("\"metadata\":{}", &format!("\"metadata\":{{\"a\":{}", "[".repeat(1_000)), 1);
    let at = text.find("\"data\":\"").ok_or("a message without data")? + 10_000;
    let mut spoilt = good;
    *spoilt.get_mut(at).ok_or("a message too short")? = b'!';
    let many = format!("{{\"send_to\":\"a\",\"payloads\":[{}{{}}]}}", "{},".repeat(4_500));
    Ok(vec![
        ("cut short", cut),
        ("nested deeply", deep.into_bytes()),
        ("one bad base64 digit", spoilt),
        ("4,501 empty payloads", many.into_bytes()),
        ("not JSON", vec![b'x'; 13_800]),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_message_is_refused_and_valid_one_is_not() {
        bridge::decode(&bridge::binary_json(10_000).unwrap()).unwrap();
        for (name, json) in hostile().unwrap() {
            assert!(bridge::decode(&json).is_err(), "{name}");
            assert!((10_000..16_000).contains(&json.len()), "{name}: {} bytes", json.len());
        }
    }

    #[test]
    fn both_paths_read_each_others_output() {
        let values = mixed().unwrap();
        let ours = bridge::sealed(values.clone()).unwrap().to_json();
        let theirs = crate::textbook::encode(&values, &crate::textbook::Stamp::new().unwrap()).unwrap();
        let sent: Vec<Value> = values.into_iter().map(|(.., value)| value).collect();
        assert_eq!(crate::textbook::decode(&ours).unwrap(), sent);
        assert_eq!(bridge::decode(theirs.as_bytes()).unwrap(), sent);
    }

    #[test]
    fn value_is_about_as_large_as_asked() {
        for payload_type in
            [PayloadType::Text, PayloadType::Dictionary, PayloadType::JsonTable, PayloadType::ArrowTable]
        {
            let value = value(payload_type, 100_000).unwrap();
            let size = natsbridge_core::encode(payload_type, value).unwrap().len();
            assert!((90_000..115_000).contains(&size), "{payload_type:?}: {size}");
        }
    }
}
