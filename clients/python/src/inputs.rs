//! What a payload is given as in Python, to what the library sends.

use bytes::Bytes;
use natsbridge::store::Source;
use natsbridge::{Data, PayloadType, Value};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyList, PyString, PyTuple};

use crate::encode::{self, named};
use crate::failure::Failure;
use crate::table::Table;

/// Bytes up to which a copy is cheaper than a reference to Python's own
const COPIED: usize = 4096;

/// One payload to send
pub(crate) type Input = (String, Data, PayloadType);

/// The payloads of `data`: an iterable of `(dataname, data, type)`
pub(crate) fn inputs(data: &Bound<'_, PyAny>) -> Result<Vec<Input>, Failure> {
    let no_list = || {
        let text = format!("the payloads are a list of (dataname, data, type), and not {}", named(data));
        Failure::wrong(text)
    };
    if data.is_instance_of::<PyString>() || data.is_instance_of::<PyBytes>() || data.is_instance_of::<PyDict>() {
        return Err(no_list());
    }
    if let Ok(one) = data.cast::<PyTuple>()
        && one.len() == 3
        && one.get_item(0).is_ok_and(|name| name.is_instance_of::<PyString>())
    {
        return Err(Failure::wrong("the payloads are a list, of one too: [(dataname, data, type)]"));
    }
    let items = data.try_iter().map_err(|_| no_list())?;
    items.enumerate().map(|(at, item)| input(at, &item.map_err(Failure::Python)?)).collect()
}

fn input(at: usize, item: &Bound<'_, PyAny>) -> Result<Input, Failure> {
    let place = format!("#{at}");
    let triple = || {
        let count = item.len().ok().filter(|_| !item.is_instance_of::<PyString>());
        let count = count.map(|count| format!(" of {count}")).unwrap_or_default();
        Failure::wrong(format!("a payload is (dataname, data, type), and this is {}{count}", named(item))).about(&place)
    };
    let [name, data, word] = match (item.cast::<PyTuple>(), item.cast::<PyList>()) {
        (Ok(tuple), _) => <[_; 3]>::try_from(tuple.iter().collect::<Vec<_>>()).map_err(|_| triple())?,
        (_, Ok(list)) => <[_; 3]>::try_from(list.iter().collect::<Vec<_>>()).map_err(|_| triple())?,
        _ => return Err(triple()),
    };
    let name = text(&name, "dataname").map_err(|failure| failure.about(&place))?;
    let Some(payload_type) = word.cast::<PyString>().ok().and_then(|word| PayloadType::from_word(&word.to_cow().ok()?))
    else {
        return Err(Failure::own("WrongType", "unknown_payload_type", unknown(&word, &data)).about(&name));
    };
    let data = data_of(&data, payload_type).map_err(|failure| failure.about(&name))?;
    Ok((name, data, payload_type))
}

/// What to say of a word that is no payload type
fn unknown(word: &Bound<'_, PyAny>, data: &Bound<'_, PyAny>) -> String {
    const TYPES: &str = "text, dictionary, arrowtable, jsontable, image, audio, video and binary";
    let Ok(word) = word.cast::<PyString>().map(|word| word.to_string()) else {
        return format!("the payload type is {}, and no text; the types are {TYPES}", named(word));
    };
    let data = data.cast::<PyString>().ok().and_then(|data| PayloadType::from_word(&data.to_string()));
    let lower = word.to_lowercase();
    let meant = match &*lower {
        "table" | "dataframe" | "df" | "arrow" | "pandas" | "polars" | "parquet" => "`arrowtable` or `jsontable`",
        "json" | "dict" | "object" | "list" | "int" | "float" | "number" | "bool" => "`dictionary`",
        "str" | "string" | "txt" => "`text`",
        "bytes" | "bytearray" | "file" | "blob" | "raw" | "data" => "`binary`",
        "img" | "picture" | "photo" | "png" | "jpg" | "jpeg" => "`image`",
        "sound" | "wav" | "mp3" => "`audio`",
        "film" | "movie" | "mp4" => "`video`",
        other => match PayloadType::from_word(other) {
            Some(known) => {
                return format!("unknown payload type `{word}`; write it in lower case: `{}`", known.as_str());
            }
            None => "",
        },
    };
    let shown = natsbridge::wire::shown(&word);
    match (meant, data) {
        ("", Some(known)) => {
            format!("unknown payload type `{shown}`; the type, `{known}`, comes last: (dataname, data, type)")
        }
        ("", None) => format!("unknown payload type `{shown}`; the types are {TYPES}"),
        (meant, _) => format!("unknown payload type `{shown}`; did you mean {meant}? The types are {TYPES}"),
    }
}

/// Text that every receiver reads
pub(crate) fn text(value: &Bound<'_, PyAny>, what: &str) -> Result<String, Failure> {
    let Ok(text) = value.cast::<PyString>() else {
        return Err(Failure::wrong(format!("`{what}` is no string but {}", named(value))));
    };
    match text.to_cow() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(Failure::wrong(format!("`{what}` has a lone surrogate"))),
    }
}

fn data_of(value: &Bound<'_, PyAny>, payload_type: PayloadType) -> Result<Data, Failure> {
    static CONVERT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    if let Some(data) = plain(value, payload_type)? {
        return Ok(data);
    }
    let convert = CONVERT.import(value.py(), "natsbridge._inputs", "convert").map_err(Failure::Python)?;
    let converted = convert.call1((value, payload_type.as_str())).map_err(Failure::Python)?;
    match plain(&converted, payload_type)? {
        Some(data) => Ok(data),
        None => {
            let name = named(value);
            let advice = match (&*name, payload_type) {
                ("coroutine", _) => format!("; {}", encode::AWAIT),
                ("str", PayloadType::Text | PayloadType::Dictionary) => String::new(),
                ("str", PayloadType::ArrowTable | PayloadType::JsonTable) => {
                    "; read a file of rows by pandas or polars first".to_owned()
                }
                ("str", _) => "; make a file's name a pathlib.Path, and text bytes by .encode()".to_owned(),
                _ => String::new(),
            };
            let expected = expected(payload_type);
            Err(Failure::wrong(format!(
                "a payload of type {payload_type} holds {expected}, but was given {name}{advice}"
            )))
        }
    }
}

const fn expected(payload_type: PayloadType) -> &'static str {
    match payload_type {
        PayloadType::Text => "text (str, or a Path)",
        PayloadType::Dictionary => "a JSON value",
        PayloadType::JsonTable => "rows (a list of dictionaries), columns or a table",
        PayloadType::ArrowTable => "a table: a DataFrame, anything of Arrow's, rows or columns",
        _ => "bytes: bytes, a buffer, a Path, a file or an iterator of bytes",
    }
}

/// What needs no conversion
fn plain(value: &Bound<'_, PyAny>, payload_type: PayloadType) -> Result<Option<Data>, Failure> {
    let serialized = |bytes: Bytes| Ok(Some(Data::Serialized(Source::Bytes(bytes))));
    match payload_type {
        PayloadType::Text => {
            if let Ok(text) = value.cast::<PyString>() {
                let lone = |_| Failure::wrong("text with a lone surrogate, which is no Unicode");
                return serialized(text.to_cow().map_err(lone)?.into_owned().into());
            }
        }
        PayloadType::Dictionary => {
            if path(value)?.is_none() {
                return serialized(encode::dictionary(value)?.into());
            }
        }
        PayloadType::JsonTable | PayloadType::ArrowTable => {
            if let Ok(table) = value.cast::<Table>() {
                return Ok(Some(Data::Value(Value::Table(table.get().inner().clone()))));
            }
            if payload_type == PayloadType::JsonTable
                && (value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>())
            {
                return serialized(encode::rows(value)?.into());
            }
        }
        _ => {
            if let Ok(bytes) = value.cast::<PyBytes>() {
                let slice = bytes.as_bytes();
                if slice.len() <= COPIED {
                    return serialized(Bytes::copy_from_slice(slice));
                }
                return serialized(Bytes::from_owner(PyBackedBytes::from(bytes.clone())));
            }
            if let Ok(bytes) = value.cast::<PyByteArray>() {
                return serialized(bytes.to_vec().into());
            }
        }
    }
    let path = path(value)?;
    let suffix = path.as_ref().and_then(|path| path.extension()).and_then(|suffix| suffix.to_str());
    let table = matches!(payload_type, PayloadType::JsonTable | PayloadType::ArrowTable);
    if let Some(suffix @ ("csv" | "tsv" | "parquet" | "xlsx")) = suffix.filter(|_| table) {
        let text = format!(
            "a file of type {payload_type} holds {}, and no {suffix}; read it first",
            match payload_type {
                PayloadType::JsonTable => "a JSON array of rows",
                _ => "an Arrow IPC stream or file",
            }
        );
        return Err(Failure::wrong(format!("{text}, such as by pandas or polars")));
    }
    Ok(path.map(Data::File))
}

/// A path, where it is one and no text
fn path(value: &Bound<'_, PyAny>) -> Result<Option<std::path::PathBuf>, Failure> {
    if value.is_instance_of::<PyString>() || !value.hasattr(pyo3::intern!(value.py(), "__fspath__")).unwrap_or(false) {
        return Ok(None);
    }
    value.extract().map(Some).map_err(Failure::Python)
}

/// Bytes that are surely sent inside the message, each payload below the threshold, or nothing where it can't be known
pub(crate) fn direct_bytes(inputs: &[Input], threshold: u64) -> Option<u64> {
    let mut sum: u64 = 0;
    for (name, data, _) in inputs {
        let size = match data {
            Data::Serialized(source @ Source::Bytes(_)) => source.len(),
            Data::Value(Value::Table(table)) => {
                let bytes = table.batches().iter().map(natsbridge::arrow::array::RecordBatch::get_array_memory_size);
                // As JSON or with its schema a table is larger than in memory; small ones are far below every limit.
                u64::try_from(bytes.sum::<usize>()).unwrap_or(u64::MAX).saturating_mul(4).saturating_add(8192)
            }
            _ => return None,
        };
        if size >= threshold {
            return None;
        }
        // Base64, and what stands around it.
        let name = u64::try_from(name.len()).unwrap_or(u64::MAX);
        sum = sum.saturating_add(size / 3 * 4).saturating_add(512).saturating_add(name.saturating_mul(6));
    }
    Some(sum)
}
