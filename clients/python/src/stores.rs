//! Stores: where large payloads go, by Plik's HTTP, in a bucket, by plain HTTP, or in memory.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use natsbridge::store::{BucketStore, Downloader, HttpStore, MemoryStore, PlikStore, Uploader};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::encode::named;
use crate::engine::locked;
use crate::failure::Failure;
use crate::options::Keywords;

/// Most Plik servers that are kept with their connections
const KEPT: usize = 32;

/// A store for large payloads
#[pyclass(frozen, module = "natsbridge._natsbridge")]
pub(crate) struct Store {
    uploader: Arc<dyn Uploader>,
    memory: Option<MemoryStore>,
}

impl Store {
    fn of<'py>(store: &Bound<'py, PyAny>) -> Result<Bound<'py, Self>, Failure> {
        // A store of `natsbridge` holds this one.
        let inner = store.getattr("_store").unwrap_or_else(|_| store.clone());
        let wrong = || Failure::wrong(format!("`store` is no store but {}", named(store)));
        inner.cast_into::<Self>().map_err(|_| wrong())
    }

    pub(crate) fn uploader_of(store: &Bound<'_, PyAny>) -> Result<Arc<dyn Uploader>, Failure> {
        Ok(Arc::clone(&Self::of(store)?.get().uploader))
    }

    /// What downloads the links of a store that is no server
    pub(crate) fn memory_of(store: &Bound<'_, PyAny>) -> Result<Option<MemoryStore>, Failure> {
        Ok(Self::of(store)?.get().memory.clone())
    }

    pub(crate) fn downloader_of(store: &Bound<'_, PyAny>) -> Result<Arc<dyn Downloader>, Failure> {
        match Self::memory_of(store)? {
            Some(memory) => Ok(Arc::new(memory)),
            None => Err(Failure::wrong(
                "`store`: links of this store are downloaded from its server; name its origin in `allowed_origins`",
            )),
        }
    }
}

#[pymethods]
impl Store {
    fn __len__(&self) -> usize {
        self.memory.as_ref().map_or(0, MemoryStore::len)
    }

    fn __bool__(&self) -> bool {
        true
    }

    /// What errors call it
    #[getter]
    fn name(&self) -> String {
        self.uploader.name().into_owned()
    }
}

/// Makes a store of a kind: `plik`, `s3`, `http` or `memory`
#[pyfunction]
#[pyo3(signature = (kind, options=None))]
pub(crate) fn store<'py>(py: Python<'py>, kind: &str, options: Option<&Bound<'py, PyDict>>) -> PyResult<Store> {
    Keywords::new(options).and_then(|given| made(kind, given)).map_err(|failure| failure.raise(py))
}

fn made(kind: &str, mut given: Keywords<'_>) -> Result<Store, Failure> {
    let unusable = |error: natsbridge::store::ConfigError| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Failure::own("Configuration", "configuration", format!("{error}{cause}"))
    };
    let login = match (given.maybe_text("login")?, given.maybe_text("password")?) {
        (None, None) => None,
        (Some(login), Some(password)) => Some((login, password)),
        _ => return Err(Failure::own("Configuration", "configuration", "`login` and `password` go together")),
    };
    let uploader: Arc<dyn Uploader> = match kind {
        "plik" => {
            let mut builder = PlikStore::builder(&given.text("url")?.unwrap_or_default());
            if let Some(token) = given.maybe_text("token")? {
                builder = builder.user_token(token);
            }
            if let Some((login, password)) = login {
                builder = builder.basic_auth(login, password);
            }
            Arc::new(builder.build().map_err(unusable)?)
        }
        "s3" => {
            let mut builder = BucketStore::s3(given.text("bucket")?.unwrap_or_default());
            if let Some(prefix) = given.maybe_text("prefix")? {
                builder = builder.prefix(prefix);
            }
            if let Some(endpoint) = given.maybe_text("endpoint")? {
                builder = builder.endpoint(endpoint);
            }
            if let Some(region) = given.maybe_text("region")? {
                builder = builder.region(region);
            }
            match (given.maybe_text("access_key_id")?, given.maybe_text("secret_access_key")?) {
                (Some(id), Some(secret)) => builder = builder.access_key(id, secret),
                (None, None) => {}
                _ => {
                    let text = "`access_key_id` and `secret_access_key` go together";
                    return Err(Failure::own("Configuration", "configuration", text));
                }
            }
            if let Some(allowed) = given.flag("instance_credentials")? {
                builder = builder.instance_credentials(allowed);
            }
            Arc::new(builder.build().map_err(unusable)?)
        }
        "http" => {
            let mut builder = HttpStore::builder(&given.text("template")?.unwrap_or_default());
            if let Some(token) = given.maybe_text("token")? {
                builder = builder.bearer(token);
            }
            if let Some((login, password)) = login {
                builder = builder.basic_auth(login, password);
            }
            Arc::new(builder.build().map_err(unusable)?)
        }
        _ => {
            let memory = MemoryStore::new();
            return Ok(Store { uploader: Arc::new(memory.clone()), memory: Some(memory) });
        }
    };
    given.finish("store")?;
    Ok(Store { uploader, memory: None })
}

/// The Plik client for a server, kept with its connections; nothing for a URL that can't be used
pub(crate) fn plik(url: &str, token: &str) -> Option<Arc<dyn Uploader>> {
    static MADE: LazyLock<Mutex<HashMap<(String, String), PlikStore>>> = LazyLock::new(Mutex::default);
    let mut made = locked(&MADE);
    let key = (url.to_owned(), token.to_owned());
    if let Some(store) = made.get(&key) {
        return Some(Arc::new(store.clone()));
    }
    let mut builder = PlikStore::builder(url);
    if !token.is_empty() {
        builder = builder.user_token(token);
    }
    let store = builder.build().ok()?;
    if made.len() >= KEPT {
        made.clear();
    }
    made.insert(key, store.clone());
    Some(Arc::new(store))
}
