//! Large payloads through a place of your own: a folder that both sides see, by two closures; and any server that
//! takes a PUT, by `HttpStore`.
//!
//! `cargo run --example custom_store` needs no server: it brings a small HTTP file server of its own.
#![allow(clippy::print_stdout, reason = "an example speaks to its reader by printing")]

use std::collections::HashMap;
use std::error::Error;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread;

use natsbridge::store::{
    BoxError, Digest, HttpStore, Link, Object, Source, Uploaded, download_handler, upload_handler,
};
use natsbridge::{Data, PayloadType, ReceiveOptions, SendOptions, open, smartreceive, smartsend};

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
    let server = start_file_server("the token")?;

    let store = HttpStore::builder(&format!("{server}/payloads/{{id}}")).bearer("the token").build()?;
    let sending = SendOptions::default().fileserver_upload_handler(store);
    // The safe fetcher follows the links, to this origin and to no other.
    let receiving = ReceiveOptions::default().allow_origin(server);
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

/// Plays your file server: PUT needs the token; GET does not, because any receiver of the link must be able to read it
///
/// Returns its URL. The thread ends with the program.
fn start_file_server(token: &'static str) -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    thread::spawn(move || {
        let mut files = HashMap::new();
        for stream in listener.incoming().flatten() {
            if let Err(error) = reply(&stream, token, &mut files) {
                println!("file server: {error}");
            }
        }
    });
    Ok(url)
}

/// Reads one request and replies to it
fn reply(mut stream: &TcpStream, token: &str, files: &mut HashMap<String, Vec<u8>>) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if reader.read_until(b'\n', &mut head)? == 0 {
            return Ok(());
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let header = |name: &str| {
        let mut headers = head.lines().filter_map(|line| line.split_once(": "));
        headers.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    };
    let mut body = vec![0; header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0)];
    reader.read_exact(&mut body)?;

    let mut request = head.split(' ');
    let (method, path) = (request.next().unwrap_or_default(), request.next().unwrap_or_default());
    let (status, content): (_, &[u8]) = if method == "PUT" {
        if header("authorization") == Some(&format!("Bearer {token}")) {
            files.insert(path.to_owned(), body);
            ("201 Created", b"")
        } else {
            ("401 Unauthorized", b"a token is needed")
        }
    } else {
        files.get(path).map_or(("404 Not Found", b""), |content| ("200 OK", content))
    };
    let length = content.len();
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
    stream.write_all(content)
}

#[cfg(test)]
mod tests {
    #[test]
    fn example_runs_to_its_end() -> Result<(), Box<dyn std::error::Error>> {
        super::main()
    }
}
