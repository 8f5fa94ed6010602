//! Reads the JSON with which a client asks for an upload, as tolerantly and as strictly as Plik.

use http::StatusCode;
use serde_json::{Map, Value};

use super::{
    api::MAX_FILES,
    config::ServerConfig,
    error::Refusal,
    ids::Id,
    record::{FileRecord, Status, Wishes},
};

/// Bytes in a file name, as in Plik
const MAX_NAME: usize = 1024;

/// Bytes in the comments of an upload
const MAX_COMMENTS: usize = 16 * 1024;

/// Reads a request body: empty and `null` mean all defaults, keys are matched without case, unknown ones ignored
pub(super) fn read(body: &[u8], config: &ServerConfig) -> Result<Wishes, Refusal> {
    let value = if body.trim_ascii().is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(body).map_err(|error| undeserializable(&error.to_string()))?
    };
    let object = match value {
        Value::Null => Map::new(),
        Value::Object(object) => object,
        other => {
            return Err(undeserializable(&format!(
                "json: cannot unmarshal {} into Go value of type common.UploadV1",
                kind(&other)
            )));
        }
    };
    let mut wishes = Wishes::default();
    let (mut stream, mut extend, mut password, mut ttl) = (false, false, String::new(), 0);
    for (key, value) in object.iter().filter(|(_, value)| !value.is_null()) {
        match key.to_ascii_lowercase().as_str() {
            "oneshot" => wishes.one_shot = boolean(value, "oneShot")?,
            "removable" => wishes.removable = boolean(value, "removable")?,
            "stream" => stream = boolean(value, "stream")?,
            "extend_ttl" => extend = boolean(value, "extend_ttl")?,
            "ttl" => ttl = integer(value, "ttl")?,
            // Plik knows no such key, so it never is a reason to refuse.
            "crc64nvme" => wishes.crc64nvme = *value == Value::Bool(true),
            "password" => password = text(value, "password")?,
            "comments" => wishes.comments = short(text(value, "comments")?, MAX_COMMENTS, "comments")?,
            "files" => wishes.files = files(value, config.max_size)?,
            _ => {}
        }
    }
    if stream {
        return Err(refused("streaming uploads are disabled"));
    }
    if extend {
        return Err(refused("extend TTL is disabled"));
    }
    if !password.is_empty() {
        return Err(refused("upload password protection is disabled"));
    }
    let max = config.max_ttl.as_secs();
    wishes.ttl = match u64::try_from(ttl) {
        Err(_) => return Err(refused(&format!("cannot set infinite TTL (maximum allowed is : {max})"))),
        Ok(0) => config.default_ttl.as_secs(),
        Ok(ttl) if ttl > max => return Err(refused(&format!("invalid TTL. (maximum allowed is : {max})"))),
        Ok(ttl) => ttl,
    };
    Ok(wishes)
}

/// Says why a file can't have this name
pub(super) fn check_name(name: &str) -> Result<(), String> {
    if name.len() > MAX_NAME {
        let start: String = name.chars().take(20).collect();
        return Err(format!("file name {start}... is too long, maximum length is {MAX_NAME} characters"));
    }
    // Plik takes these two, but no client can ask for them: every one cleans the path first.
    if matches!(name, "" | "." | "..") {
        return Err("invalid file name".to_owned());
    }
    Ok(())
}

/// Bytes for people, in Plik's form: `2.0 MB`, `10 GB`
pub(super) fn human_size(bytes: u64) -> String {
    let mut unit: u64 = 1;
    let mut name = "B";
    for next in ["kB", "MB", "GB", "TB", "PB", "EB"] {
        if bytes / unit < 1000 {
            break;
        }
        unit *= 1000;
        name = next;
    }
    let tenths = (u128::from(bytes) * 10 + u128::from(unit) / 2) / u128::from(unit);
    if unit == 1 {
        format!("{bytes} B")
    } else if tenths < 100 {
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    } else {
        format!("{} {name}", (tenths + 5) / 10)
    }
}

/// A refusal to make an upload
pub(super) fn refused(why: &str) -> Refusal {
    Refusal::bad_request(format!("unable to create upload : {why}"))
}

fn undeserializable(why: &str) -> Refusal {
    Refusal::bad_request(format!("unable to deserialize request body : {why}"))
}

fn files(value: &Value, max_size: u64) -> Result<Vec<FileRecord>, Refusal> {
    let Value::Array(entries) = value else { return Err(mismatch(value, "files", "[]*common.File")) };
    if entries.len() > MAX_FILES {
        return Err(refused(&format!("too many files. maximum is {MAX_FILES}")));
    }
    entries.iter().map(|entry| file(entry, max_size)).collect()
}

fn file(value: &Value, max_size: u64) -> Result<FileRecord, Refusal> {
    let Value::Object(object) = value else { return Err(mismatch(value, "files", "common.File")) };
    let mut file = FileRecord::new(Id::random(), String::new(), Status::Missing);
    for (key, value) in object.iter().filter(|(_, value)| !value.is_null()) {
        match key.to_ascii_lowercase().as_str() {
            "filename" => file.file_name = text(value, "files.fileName")?,
            "filetype" => file.file_type = short(text(value, "files.fileType")?, MAX_NAME, "fileType")?,
            "reference" => file.reference = short(text(value, "files.reference")?, MAX_NAME, "reference")?,
            "filesize" => file.file_size = u64::try_from(integer(value, "files.fileSize")?).unwrap_or_default(),
            _ => {}
        }
    }
    check_name(&file.file_name).map_err(|why| refused(&why))?;
    if file.file_size > max_size {
        let (size, max) = (human_size(file.file_size), human_size(max_size));
        return Err(refused(&format!("file is too big ({size}), maximum file size is {max}")));
    }
    Ok(file)
}

/// Text of a client, if it is at most `max` bytes
fn short(text: String, max: usize, field: &str) -> Result<String, Refusal> {
    if text.len() <= max {
        return Ok(text);
    }
    let text = format!("unable to create upload : {field} is too long, maximum length is {max} bytes");
    Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, text))
}

fn boolean(value: &Value, field: &str) -> Result<bool, Refusal> {
    value.as_bool().ok_or_else(|| mismatch(value, field, "bool"))
}

fn integer(value: &Value, field: &str) -> Result<i64, Refusal> {
    value.as_i64().ok_or_else(|| mismatch(value, field, "int"))
}

fn text(value: &Value, field: &str) -> Result<String, Refusal> {
    value.as_str().map(str::to_owned).ok_or_else(|| mismatch(value, field, "string"))
}

fn mismatch(value: &Value, field: &str, wanted: &str) -> Refusal {
    let kind = match value {
        Value::Number(number) => format!("number {number}"),
        other => kind(other).to_owned(),
    };
    undeserializable(&format!("json: cannot unmarshal {kind} into Go struct field UploadV1.{field} of type {wanted}"))
}

/// What Go calls a kind of JSON value
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_plik_writes_them() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (2_000_000, "2.0 MB"),
            (3_000_000, "3.0 MB"),
            (10_000_000_000, "10 GB"),
            (123_400_000, "123 MB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(human_size(bytes), text);
        }
    }

    #[test]
    fn upload_requests_are_read_or_refused_as_recorded() {
        // Steps 14 and 35 of the recorded exchanges.
        let config = ServerConfig::new("unused");
        for body in ["", "null", "{}", "{\"ttl\":0}", " "] {
            let wishes = read(body.as_bytes(), &config).unwrap();
            assert!(!wishes.one_shot && wishes.ttl == 2_592_000, "{body:?}");
        }
        let wishes = read(br#"{"OneShot":true,"TTL":60,"zzz":1}"#, &config).unwrap();
        assert!(wishes.one_shot && wishes.ttl == 60);
        for (body, text) in [
            (
                "[]",
                "unable to deserialize request body : json: cannot unmarshal array into Go value of type common.UploadV1",
            ),
            (
                r#"{"oneShot":"yes"}"#,
                "unable to deserialize request body : json: cannot unmarshal string into Go struct field UploadV1.oneShot of type bool",
            ),
            (
                r#"{"ttl":1.5}"#,
                "unable to deserialize request body : json: cannot unmarshal number 1.5 into Go struct field UploadV1.ttl of type int",
            ),
            (r#"{"ttl":-1}"#, "unable to create upload : cannot set infinite TTL (maximum allowed is : 2592000)"),
            (r#"{"ttl":2592001}"#, "unable to create upload : invalid TTL. (maximum allowed is : 2592000)"),
            (r#"{"stream":true}"#, "unable to create upload : streaming uploads are disabled"),
            (r#"{"password":"x"}"#, "unable to create upload : upload password protection is disabled"),
        ] {
            assert_eq!(read(body.as_bytes(), &config).unwrap_err(), Refusal::bad_request(text.to_owned()), "{body}");
        }
    }
}
