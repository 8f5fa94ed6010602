//! Keywords of a call, by name: each checked, and named where it can't be used.

use std::time::Duration;

use natsbridge::{Config, LinkLifetime, Metadata, Purpose, ReceiverKind};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyInt, PyString};

use crate::encode::{self, named};
use crate::failure::Failure;
use crate::inputs;

/// The keywords of one call
pub(crate) struct Keywords<'py>(Vec<(String, Bound<'py, PyAny>)>);

impl<'py> Keywords<'py> {
    pub(crate) fn new(options: Option<&Bound<'py, PyDict>>) -> Result<Self, Failure> {
        let mut all = Vec::new();
        for (name, value) in options.into_iter().flatten() {
            let name = name.extract::<String>().map_err(Failure::Python)?;
            all.push((name, value));
        }
        Ok(Self(all))
    }

    /// Takes one keyword, where it was given and is not `None`
    pub(crate) fn take(&mut self, name: &str) -> Option<Bound<'py, PyAny>> {
        let at = self.0.iter().position(|(given, _)| given == name)?;
        let (_, value) = self.0.swap_remove(at);
        (!value.is_none()).then_some(value)
    }

    /// Whether a keyword was given, and not as `None`
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(given, value)| given == name && !value.is_none())
    }

    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, Failure> {
        // None is no text, where the default is one: whoever passes it has made a mistake.
        let at = self.0.iter().position(|(given, _)| given == name);
        at.map(|at| inputs::text(&self.0.swap_remove(at).1, name)).transpose()
    }

    /// Text of which nothing is the default
    pub(crate) fn some_text(&mut self, name: &str) -> Result<Option<String>, Failure> {
        Ok(self.text(name)?.filter(|text| !text.is_empty()))
    }

    pub(crate) fn maybe_text(&mut self, name: &str) -> Result<Option<String>, Failure> {
        self.take(name).map(|value| inputs::text(&value, name)).transpose()
    }

    pub(crate) fn number(&mut self, name: &str) -> Result<Option<u64>, Failure> {
        let at = self.0.iter().position(|(given, _)| given == name);
        let Some((_, value)) = at.map(|at| self.0.swap_remove(at)) else { return Ok(None) };
        let wrong = || Failure::wrong(format!("`{name}` is no whole number of at least 0 but {}", shown(&value)));
        if value.is_instance_of::<PyBool>() || !value.is_instance_of::<PyInt>() {
            return Err(wrong());
        }
        value.extract().map(Some).map_err(|_| wrong())
    }

    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>, Failure> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match value.cast::<PyBool>() {
            Ok(flag) => Ok(Some(flag.is_true())),
            Err(_) => Err(Failure::wrong(format!("`{name}` is True or False, and not {}", shown(&value)))),
        }
    }

    /// A time in seconds, or a `timedelta`
    pub(crate) fn seconds(&mut self, name: &str) -> Result<Option<Duration>, Failure> {
        self.take(name).map(|value| seconds(&value, name)).transpose()
    }

    /// A time in milliseconds, as requirements 11.2 have it
    pub(crate) fn milliseconds(&mut self, name: &str) -> Result<Option<Duration>, Failure> {
        Ok(self.number(name)?.map(Duration::from_millis))
    }

    pub(crate) fn metadata(&mut self, name: &str) -> Result<Option<Metadata>, Failure> {
        let Some(value) = self.take(name) else { return Ok(None) };
        if !value.is_instance_of::<PyDict>() {
            return Err(Failure::wrong(format!("`{name}` is no dictionary but {}", named(&value))));
        }
        let json = encode::dictionary(&value)?;
        serde_json::from_slice(&json).map(Some).map_err(|error| Failure::wrong(format!("`{name}`: {error}")))
    }

    pub(crate) fn receiver(&mut self) -> Result<Option<ReceiverKind>, Failure> {
        match self.some_text("receiver")?.as_deref() {
            None => Ok(None),
            Some("desktop") => Ok(Some(ReceiverKind::Desktop)),
            Some("browser") => Ok(Some(ReceiverKind::Browser)),
            Some("micropython") => Ok(Some(ReceiverKind::MicroPython)),
            Some(_) => Err(Failure::wrong("`receiver` is desktop, browser or micropython")),
        }
    }

    pub(crate) fn purpose(&mut self) -> Result<Option<Purpose>, Failure> {
        Ok(self.some_text("msg_purpose")?.map(|word| Purpose::from(&*word)))
    }

    /// How links live, by `one_shot` and `ttl`; `one_reader` says what holds where nothing was asked for
    pub(crate) fn lifetime(&mut self, one_reader: bool) -> Result<Option<LinkLifetime>, Failure> {
        let ttl = self.seconds("ttl")?;
        let one_shot = self.flag("one_shot")?;
        if ttl.is_none() && one_shot.is_none() {
            return Ok(None);
        }
        let ttl = ttl.unwrap_or(LinkLifetime::DEFAULT_TTL);
        Ok(Some(if one_shot.unwrap_or(one_reader) { LinkLifetime::one_shot(ttl) } else { LinkLifetime::expiring(ttl) }))
    }

    /// One text or several
    pub(crate) fn texts(&mut self, name: &str) -> Result<Option<Vec<String>>, Failure> {
        let Some(value) = self.take(name) else { return Ok(None) };
        if value.is_instance_of::<PyString>() {
            return Ok(Some(vec![inputs::text(&value, name)?]));
        }
        let no_list = |_| Failure::wrong(format!("`{name}` is no list of texts but {}", named(&value)));
        let items = value.try_iter().map_err(no_list)?;
        items.map(|item| inputs::text(&item.map_err(Failure::Python)?, name)).collect::<Result<_, _>>().map(Some)
    }

    /// Refuses what nobody took
    pub(crate) fn finish(self, function: &str) -> Result<(), Failure> {
        match self.0.first() {
            None => Ok(()),
            Some((name, value)) => {
                let options = value.py().import("natsbridge._options").map_err(Failure::Python)?;
                let error = options.getattr("unexpected").and_then(|error| error.call1((function, name)));
                Err(Failure::Python(error.map_or_else(|error| error, PyErr::from_value)))
            }
        }
    }
}

/// A time in seconds, or a `timedelta`
pub(crate) fn seconds(value: &Bound<'_, PyAny>, name: &str) -> Result<Duration, Failure> {
    let wrong = || Failure::wrong(format!("`{name}` is no time in seconds but {}", shown(value)));
    if value.is_instance_of::<PyBool>() {
        return Err(wrong());
    }
    let total = value.call_method0("total_seconds").unwrap_or_else(|_| value.clone());
    let seconds = total.extract::<f64>().map_err(|_| wrong())?;
    if seconds == f64::INFINITY {
        return Ok(Duration::MAX);
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

fn shown(value: &Bound<'_, PyAny>) -> String {
    let text = value.repr().map(|text| text.to_string()).unwrap_or_default();
    natsbridge::wire::shown(&text).into_owned()
}

/// What the environment says of this call: read now, a bad value named
pub(crate) fn environment() -> Result<Option<Config>, Failure> {
    const NAMES: [&str; 5] = ["NATS_URL", "FILESERVER_URL", "FILESERVER_TOKEN", "FILESERVER_CA", "SIZE_THRESHOLD"];
    if NAMES.iter().all(|name| std::env::var_os(name).is_none()) {
        return Ok(None);
    }
    let read = |name| if NAMES.contains(&name) { std::env::var(name) } else { Err(std::env::VarError::NotPresent) };
    Ok(Some(Config::from_variables(read)?))
}
