//! What fuzzing begins with: the vectors' messages and what is in them, and requests in every form that the server knows.

use std::path::Path;

use anyhow::{Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fs_err as fs;
use serde_json::Value;

use crate::vectors::{self, Vector};
use crate::workspace::entries;

/// Larger ones teach nothing that smaller ones do not, and slow the fuzzer down
const LARGEST: usize = 64 * 1024;

/// Writes a target's seeds into an empty or earlier folder and says how many they are
pub(super) fn write(target: &str, folder: &Path) -> Result<usize> {
    let seeds = match target {
        "envelope" => messages()?,
        "json" => payloads(&["text", "dictionary", "jsontable"])?,
        "arrow" => [payloads(&["arrowtable"])?, files("arrow")?].concat(),
        "base64" => texts(|payload| payload["transport"] == "direct", "data")?,
        "link" => [texts(|payload| payload["transport"] == "link", "data")?, owned(&LINKS)].concat(),
        "address" => ADDRESSES.iter().map(|(v4, rest)| [&v4[..], &[0; 16], rest.as_bytes()].concat()).collect(),
        "server" => requests(),
        "upload" => FORMS.iter().map(|form| form.replace('\n', "\r\n").into_bytes()).collect(),
        "dataname" => [texts(|_| true, "dataname")?, owned(&NAMES)].concat(),
        other => bail!("no seeds for `{other}`"),
    };
    let mut seeds: Vec<_> = seeds.into_iter().filter(|seed| !seed.is_empty() && seed.len() <= LARGEST).collect();
    seeds.sort();
    seeds.dedup();
    for (number, seed) in seeds.iter().enumerate() {
        let path = folder.join(format!("seed-{number:04}"));
        fs::write(&path, seed)?;
    }
    Ok(seeds.len())
}

fn owned(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// The bytes that arrive in every vector
fn messages() -> Result<Vec<Vec<u8>>> {
    let vectors = vectors::load()?;
    let messages = vectors.iter().map(Vector::message).collect::<Result<Vec<_>>>()?;
    Ok(messages.into_iter().flatten().collect())
}

/// Every payload of every message that is JSON
fn envelopes() -> Result<Vec<Value>> {
    let parsed = messages()?.into_iter().filter_map(|message| serde_json::from_slice::<Value>(&message).ok());
    Ok(parsed.flat_map(|envelope| envelope["payloads"].as_array().cloned().unwrap_or_default()).collect())
}

/// A field of the payloads
fn texts(which: impl Fn(&Value) -> bool, field: &str) -> Result<Vec<Vec<u8>>> {
    let payloads = envelopes()?;
    Ok(payloads
        .iter()
        .filter(|payload| which(payload))
        .filter_map(|payload| Some(payload[field].as_str()?.into()))
        .collect())
}

/// What payloads of these types hold, direct or behind a link
fn payloads(types: &[&str]) -> Result<Vec<Vec<u8>>> {
    let of_type = |payload: &Value| types.iter().any(|name| payload["payload_type"] == *name);
    let direct =
        envelopes()?.into_iter().filter(of_type).filter_map(|payload| STANDARD.decode(payload["data"].as_str()?).ok());
    let mut found: Vec<_> = direct.collect();
    for vector in vectors::load()? {
        let Some(links) = vector.json["links"].as_object() else { continue };
        let linked =
            vector.json["envelope"]["payloads"].as_array().into_iter().flatten().filter(|payload| of_type(payload));
        for body in linked.filter_map(|payload| links.get(payload["data"].as_str()?)) {
            found.push(vectors::bytes(body)?);
        }
    }
    Ok(found)
}

fn files(folder: &str) -> Result<Vec<Vec<u8>>> {
    let paths = entries(&vectors::testdata().join(folder))?;
    let tables = paths.iter().filter(|path| path.extension().is_some_and(|end| end == "arrow" || end == "arrows"));
    tables.map(|path| Ok(fs::read(path)?)).collect()
}

const LINKS: [&str; 12] = [
    "http://files.test/file/a/b/c",
    "http://user:s3cr3t@files.test/x",
    "https://files.test:8443/x?X-Amz-Signature=s3cr3t#s3cr3t",
    "http:user:s3cr3t@files.test",
    "http:\\\\user:s3cr3t@files.test\\x",
    "nats://s3cr3t@localhost:4222",
    "http://169.254.169.254/latest/meta-data",
    "http://0xa9fea9fe/",
    "http://[::ffff:169.254.169.254]/",
    "http://2852039166/",
    "file:///etc/passwd",
    "HTTP://FILES.TEST./x",
];

/// An IPv4 address, and what stands around its host
const ADDRESSES: [([u8; 4], &str); 5] = [
    ([169, 254, 169, 254], "latest"),
    ([0, 0, 0, 0], "a@b"),
    ([224, 0, 0, 1], "x#y"),
    ([100, 100, 100, 200], "u:p"),
    ([255, 255, 255, 255], "?"),
];

const NAMES: [&str; 8] =
    ["../../x", "C:\\x.dll", "con.txt", "a\0b\nc", "gpj\u{202e}.exe", ".bashrc", "-rf", "x.tar.gz"];

/// The upload that the targets keep in their server's folder
const UPLOAD: &str = "/file/fx42p6dwO4x3MKWX";
const FILE: &str = "/file/fx42p6dwO4x3MKWX/2LNrp1EGZY8zV4Hb/a.bin";
const TOKEN: &str = "X-UploadToken: abcdefghijklmnopqrstuvwxyz012345\n";

fn requests() -> Vec<Vec<u8>> {
    let form = FORMS[0];
    let typed = "Content-Type: multipart/form-data; boundary=BOUNDARY\n";
    let length = form.replace('\n', "\r\n").len();
    [
        "GET /health HTTP/1.1\nHost: localhost\n\n".to_owned(),
        "GET /config HTTP/1.0\n\nGET /version HTTP/1.1\nHost: localhost\n\n".to_owned(),
        format!("GET {FILE} HTTP/1.1\nHost: localhost\nRange: bytes=1-3\n\n"),
        format!("GET {FILE}?dl=1 HTTP/1.1\nHost: localhost\nIf-None-Match: \"x\"\nConnection: close\n\n"),
        format!("HEAD {FILE} HTTP/1.1\nHost: localhost\n\n"),
        format!("DELETE {FILE} HTTP/1.1\nHost: localhost\n{TOKEN}\n"),
        "GET /file/..%2f..%2fsecret/%2e%2e/secret HTTP/1.1\nHost: localhost\n\n".to_owned(),
        "POST /upload HTTP/1.1\nHost: localhost\nContent-Length: 29\n\n{\"oneShot\":true,\"ttl\":60    }".to_owned(),
        "POST /upload HTTP/1.1\nHost: localhost\nTransfer-Encoding: chunked\n\n2;x=y\n{}\n0\nTrailer: x\n\n".to_owned(),
        "POST /upload HTTP/1.1\nHost: localhost\nContent-Length: 2\nTransfer-Encoding: chunked\n\n0\n\n".to_owned(),
        format!("POST {UPLOAD} HTTP/1.1\nHost: localhost\n{TOKEN}{typed}Content-Length: {length}\n\n{form}"),
        format!("POST / HTTP/1.1\nHost: localhost\nExpect: 100-continue\n{typed}Content-Length: {length}\n\n{form}"),
        "OPTIONS /upload HTTP/1.1\nHost: localhost\nOrigin: https://a.test\nAccess-Control-Request-Method: POST\n\n"
            .to_owned(),
        "PRI * HTTP/2.0\n\nSM\n\n".to_owned(),
    ]
    .iter()
    .map(|request| request.replace('\n', "\r\n").into_bytes())
    .collect()
}

const FORMS: [&str; 5] = [
    "--BOUNDARY\nContent-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\nContent-Type: text/plain\n\nhello\n--BOUNDARY--\n",
    "preamble\n--BOUNDARY\nContent-Disposition: form-data; name=\"x\"\n\n1\n--BOUNDARY\nContent-Disposition: form-data; name=\"file\"; filename*=utf-8''%E6%97%A5\n\nhello\n--BOUNDARY--\n",
    "--BOUNDARY\nContent-Disposition: form-data; name=\"file\"; filename=\"../../evil\"\n\n\n--BOUNDARY--",
    "--BOUNDARY\nContent-Disposition: form-data; name=file; filename=\"a\\\"b\"\n folded\n\n--BOUNDAR\n--BOUNDARY--\n",
    "--BOUNDARY--\n",
];
