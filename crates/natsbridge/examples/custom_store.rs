//! Large payloads through a place of your own: a folder that both sides see, by two closures; and any server that
//! takes a PUT, by `HttpStore`.
//!
//! `cargo run --example custom_store` needs no server: it brings a small HTTP file server of its own.
#![allow(clippy::print_stdout, reason = "an example speaks to its reader by printing")]

use std::collections::HashMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use natsbridge::store::{
    BoxError, Digest, HttpStore, Link, Object, Source, Uploaded, download_handler, upload_handler,
};
use natsbridge::{Data, PayloadType, ReceiveOptions, SendOptions, open, smartreceive, smartsend};
use natsbridge_testkit::scripted_http::{Reply, Request, ScriptedHttp};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    by_two_closures().await?;
    by_http_put().await?;
    Ok(())
}

/// Closures decide where a payload goes and where it is found again; size and digest are checked in any case
async fn by_two_closures() -> Result<(), Box<dyn Error>> {
    let shared = tempfile::tempdir()?;
    let (writes, reads) = (shared.path().to_owned(), shared.path().to_owned());

    let upload = upload_handler(move |object: Object, source: Source| {
        let folder = writes.clone();
        async move {
            let Some(bytes) = source.into_bytes() else { return Err("this example sends no files".into()) };
            // The digest names the file: the payload's own name is any text and never a path.
            let digest = Digest::of(&bytes);
            tokio::fs::write(folder.join(digest.to_string()), &bytes).await?;
            Ok::<_, BoxError>(Uploaded::new(format!("shared://{digest}"), object.size, digest))
        }
    });
    let download = download_handler(move |link: Link| {
        let folder: PathBuf = reads.clone();
        async move {
            // The link is a stranger's: what is no digest is not looked up.
            let digest: Digest = link.url.strip_prefix("shared://").unwrap_or_default().parse()?;
            Ok::<_, BoxError>(tokio::fs::read(folder.join(digest.to_string())).await?.into())
        }
    });

    let sending = SendOptions::default().fileserver_upload_handler(upload);
    let receiving = ReceiveOptions::default().fileserver_download_handler(download);
    let photo: Data = vec![7; 1_000_000].into();
    let (envelope, json) = smartsend("lab.photos", [("photo", photo, PayloadType::Image)], &sending).await?;
    let link = envelope.payloads().iter().find_map(|payload| payload.url()).ok_or("a large payload is a link")?;
    println!("closures: sent as {link}");
    let received = smartreceive(&json, &receiving).await?;
    println!("closures: received {} payload, checked", received.payloads().len());
    Ok(())
}

/// A server that takes `PUT` under a URL of the sender's choice and asks for a bearer token
async fn by_http_put() -> Result<(), Box<dyn Error>> {
    let server = ScriptedHttp::routed(file_server("the token")).await?;

    let store = HttpStore::builder(&format!("{}/payloads/{{id}}", server.url())).bearer("the token").build()?;
    let sending = SendOptions::default().fileserver_upload_handler(store);
    // The safe fetcher follows the links, to this origin and to no other.
    let receiving = ReceiveOptions::default().allow_origin(server.url());
    let log: Data = vec![b'x'; 2_000_000].into();
    let (envelope, json) = smartsend("lab.logs", [("log", log, PayloadType::Binary)], &sending).await?;
    let link = envelope.payloads().iter().find_map(|payload| payload.url()).ok_or("a large payload is a link")?;
    println!("HTTP PUT: sent as {link}");

    // What is described at once can be saved without holding it in memory.
    let folder = tempfile::tempdir()?;
    let (_header, handles) = open(&json, &receiving)?;
    for handle in handles {
        let saved = handle.save(folder.path()).await?;
        println!("HTTP PUT: saved {} bytes as {}", saved.size, saved.path.display());
    }
    Ok(())
}

/// Stands for your file server: PUT with the token, GET without it, since a link has to work for whoever receives it
fn file_server(token: &'static str) -> impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static {
    let files: Mutex<HashMap<String, Vec<u8>>> = Mutex::default();
    move |request| {
        let mut files = files.lock().unwrap_or_else(PoisonError::into_inner);
        Some(match request.method.as_str() {
            "PUT" if request.header("authorization") == Some(&format!("Bearer {token}")) => {
                files.insert(request.target.clone(), request.body.to_vec());
                Reply::new(201, &[], "")
            }
            "PUT" => Reply::new(401, &[], "a token is needed"),
            _ => files.get(&request.target).map_or_else(|| Reply::new(404, &[], ""), Reply::ok),
        })
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_example_runs_to_its_end() -> Result<(), Box<dyn std::error::Error>> {
        super::main()
    }
}
