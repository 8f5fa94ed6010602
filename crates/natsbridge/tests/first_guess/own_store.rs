//! A store of one's own: two closures over a map
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use natsbridge::store::{BoxError, Digest, Link, Object, Source, Uploaded, download_handler, upload_handler};
use natsbridge::{Bridge, Config, MemoryBroker, PayloadType};

#[tokio::main]
pub async fn main() -> Result<(), natsbridge::Error> {
    let objects: Arc<Mutex<HashMap<String, Bytes>>> = Arc::default();
    let shelf = objects.clone();
    let uploader = upload_handler(move |object: Object, source: Source| {
        let shelf = shelf.clone();
        async move {
            let bytes = source.into_bytes().ok_or("this store takes no files")?;
            let url = format!("https://shelf.example/{}", object.dataname);
            let uploaded = Uploaded::new(&*url, object.size, Digest::of(&bytes));
            shelf.lock().unwrap().insert(url, bytes);
            Ok::<_, BoxError>(uploaded)
        }
    });
    let downloader = download_handler(move |link: Link| {
        let found = objects.lock().unwrap().get(&link.url).cloned();
        async move { found.ok_or_else(|| BoxError::from("it is not on the shelf")) }
    });
    let config = Config::default().size_threshold(10).uploader(uploader).downloader(downloader);
    let bridge = Bridge::with_broker(MemoryBroker::new(), config)?;
    let mut subscriber = bridge.subscribe("lab").await?;
    bridge.message("lab").data("blob", vec![7; 1000], PayloadType::Binary).send().await?;
    if let Some(message) = subscriber.next().await {
        println!("{} bytes", message?.payload("blob")?.bytes().await?.len());
    }
    Ok(())
}
