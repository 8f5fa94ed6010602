//! Whether a peer's answer to a vector is what the vector expects.

use anyhow::{Result, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::compare::{self, Keys};
use super::{Vector, bytes};

/// Fails with what is wrong with the answer
pub(super) fn judge(vector: &Vector, answer: &Value) -> Result<()> {
    let error = answer["error"].as_str();
    if let Some(error) = error.filter(|error| error.starts_with("crashed")) {
        bail!("{error}");
    }
    let wanted = &vector.json;
    match (wanted["result"].as_str(), error) {
        (Some("valid"), None) if vector.kind == "send" => sent(&wanted["expect"], answer),
        (Some("valid"), None) => received(&wanted["expect"], &answer["expect"]),
        (Some("valid"), Some(error)) => Err(anyhow!("refused with `{error}`")),
        (Some("invalid"), Some(error)) => refused(wanted, error, &answer["dataname"]),
        (Some("invalid"), None) => Err(anyhow!("accepted, not refused with {}", wanted["error"])),
        _ if error.is_some() || answer.get("expect").is_some() => Ok(()),
        _ => Err(anyhow!("no answer")),
    }
}

fn refused(wanted: &Value, error: &str, dataname: &Value) -> Result<()> {
    if wanted["error"] != error {
        bail!("refused with `{error}`, not {}", wanted["error"]);
    }
    match wanted.get("dataname") {
        Some(wanted) if !dataname.is_null() && dataname != wanted => {
            Err(anyhow!("the error names payload {dataname}, not {wanted}"))
        }
        _ => Ok(()),
    }
}

fn received(wanted: &Value, found: &Value) -> Result<()> {
    equal("subject", &wanted["subject"], &found["subject"])?;
    for (field, value) in wanted["fields"].as_object().into_iter().flatten() {
        if found.get("fields").is_some() {
            let said = |failure| anyhow!("field {field}{failure:#}");
            compare::json(value, &found["fields"][field], "", Keys::InAnyOrder).map_err(said)?;
        }
    }
    parts(&wanted["parts"], &found["parts"])
}

/// Fails where parts differ in name, type, transport or value
pub(crate) fn parts(wanted: &Value, found: &Value) -> Result<()> {
    let list = |parts: &Value| parts.as_array().cloned().unwrap_or_default();
    let (wanted, found) = (list(wanted), list(found));
    if wanted.len() != found.len() {
        bail!("{} parts, not {}", found.len(), wanted.len());
    }
    for (wanted, found) in wanted.iter().zip(&found) {
        for key in ["name", "type", "transport"] {
            equal(key, &wanted[key], &found[key])?;
        }
        let kind = wanted["type"].as_str().unwrap_or_default();
        let said = |failure| anyhow!("part {}: {failure:#}", wanted["name"]);
        compare::values(kind, &wanted["value"], &found["value"]).map_err(said)?;
    }
    Ok(())
}

fn equal(what: &str, wanted: &Value, found: &Value) -> Result<()> {
    if wanted == found { Ok(()) } else { Err(anyhow!("{what} {found}, not {wanted}")) }
}

/// The envelope field by field; where serialisers differ, the bytes' meaning
fn sent(wanted: &Value, answer: &Value) -> Result<()> {
    let found = &answer["expect"];
    equal("transports", &wanted["transports"], &found["transports"])?;
    let mut exact = wanted["envelope"].clone();
    for payload in exact["payloads"].as_array_mut().into_iter().flatten() {
        if let Some(value) = payload["data"].get("base64_of") {
            payload["data"] = STANDARD.encode(bytes(value)?).into();
        }
    }
    let payloads = exact["payloads"].as_array_mut().into_iter().flatten();
    for (wanted, found) in payloads.zip(found["envelope"]["payloads"].as_array().into_iter().flatten()) {
        let said = |failure| anyhow!("payload {}: {failure:#}", wanted["dataname"]);
        if matches!(wanted["payload_type"].as_str(), Some("dictionary" | "jsontable")) {
            serialised(wanted, found).map_err(said)?;
            // What means the same is the same for the comparison of fields and bytes.
            for field in ["size", "data"] {
                wanted[field] = found[field].clone();
            }
            if wanted["metadata"].get("sha256").is_some() {
                wanted["metadata"]["sha256"] = found["metadata"]["sha256"].clone();
            }
        }
    }
    compare::json(&exact, &found["envelope"], "", Keys::InOrder)?;
    match answer["json"].as_str() {
        Some(text) => equal("the envelope's bytes", &exact.to_string().into(), &text.into()),
        None => Ok(()),
    }
}

/// A payload whose bytes are not the same from every serialiser
fn serialised(wanted: &Value, found: &Value) -> Result<()> {
    let digest = &found["metadata"]["sha256"];
    if wanted["transport"] == "link" {
        let plausible = digest.as_str().is_some_and(|digest| digest.len() == 64) && found["size"].as_u64() > Some(0);
        equal("data", &wanted["data"], &found["data"])?;
        return if plausible { Ok(()) } else { Err(anyhow!("a link without size and digest")) };
    }
    let held = bytes(&json!({"base64": found["data"]}))?;
    let (size, computed) = compare::digest_of(&held);
    equal("size", &size.into(), &found["size"])?;
    if !digest.is_null() {
        equal("digest", &computed.into(), digest)?;
    }
    let kind = wanted["payload_type"].as_str().unwrap_or_default();
    compare::values(kind, &json!({"base64": wanted["data"]}), &json!({"base64": found["data"]}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::load;

    /// What a peer without fault would answer
    fn right(vector: &Vector) -> Value {
        match vector.json["error"].as_str() {
            Some(error) => json!({"error": error}),
            None => {
                let mut expect = vector.json["expect"].clone();
                for payload in expect["envelope"]["payloads"].as_array_mut().into_iter().flatten() {
                    if let Some(value) = payload["data"].get("base64_of") {
                        payload["data"] = STANDARD.encode(bytes(value).unwrap()).into();
                    }
                }
                json!({"expect": expect})
            }
        }
    }

    fn vector(name: &str) -> Vector {
        load().unwrap().into_iter().find(|vector| vector.name == name).unwrap()
    }

    #[test]
    fn expected_result_is_right_for_every_vector() {
        for vector in load().unwrap() {
            judge(&vector, &right(&vector)).unwrap_or_else(|failure| panic!("{}: {failure:#}", vector.name));
        }
    }

    #[test]
    fn wrong_result_is_found() {
        type Change = fn(&mut Value);
        let cases: [(&str, Change); 12] = [
            ("receive/valid/text_combining", |answer| {
                answer["expect"]["parts"][0]["value"] = json!({"text": "é and é"})
            }),
            ("receive/valid/payload_names_repeat", |answer| {
                answer["expect"]["parts"].as_array_mut().unwrap().reverse()
            }),
            ("receive/valid/text_link", |answer| answer["expect"]["parts"][0]["transport"] = "direct".into()),
            ("receive/valid/envelope_full", |answer| answer["expect"]["fields"]["sender_name"] = "other".into()),
            ("receive/valid/dictionary_int64", |answer| {
                answer["expect"]["parts"][0]["value"]["json"][1] = json!(9.223372036854776e18)
            }),
            ("receive/invalid/digest_link", |answer| answer["error"] = "size_mismatch".into()),
            ("receive/invalid/digest_link", |answer| *answer = json!({"expect": {}})),
            ("receive/invalid/hostile_deep_closed", |answer| answer["error"] = "crashed: RecursionError".into()),
            ("send/text_one_byte", |answer| answer["expect"]["envelope"]["payloads"][0]["data"] = "YQ".into()),
            ("send/dictionary_object", |answer| answer["expect"]["envelope"]["payloads"][0]["size"] = 1.into()),
            ("send/metadata_digest_link", |answer| answer["expect"]["envelope"]["payloads"][0]["metadata"] = json!({})),
            ("send/envelope_defaults", |answer| {
                let fields = answer["expect"]["envelope"].as_object_mut().unwrap();
                let first = fields.shift_remove("correlation_id").unwrap();
                fields.insert("correlation_id".to_owned(), first);
            }),
        ];
        for (name, change) in cases {
            let vector = vector(name);
            let mut answer = right(&vector);
            change(&mut answer);
            assert!(judge(&vector, &answer).is_err(), "{name}");
        }
    }
}
