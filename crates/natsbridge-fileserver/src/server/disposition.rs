//! Reads and writes the `Content-Disposition` header: field and file names.

/// What the header of one multipart part says
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Disposition {
    /// The form field's name
    pub(super) field: String,
    /// The file's name with directories cut off, if one was given
    pub(super) file: Option<String>,
}

impl Disposition {
    /// Reads `form-data; name="…"; filename="…"; filename*=utf-8''…`
    ///
    /// `filename*` wins over `filename`, a path loses its directories (step 30 of the recorded exchanges).
    pub(super) fn parse(header: &[u8]) -> Self {
        let header = String::from_utf8_lossy(header);
        let mut found = Self::default();
        let mut extended = None;
        for parameter in parameters(&header) {
            let Some((key, value)) = parameter.split_once('=') else { continue };
            let value = value.trim();
            match key.trim().to_ascii_lowercase().as_str() {
                "name" => found.field = unquote(value),
                "filename" => found.file = Some(unquote(value)),
                "filename*" => extended = decode_extended(&unquote(value)),
                _ => {}
            }
        }
        found.file = extended.or(found.file).map(|name| base_name(&name).to_owned());
        found
    }
}

/// The `Content-Disposition` of a download
///
/// Plik sends no disposition type unless `dl` is asked for. Its spelling `attachement` and unescaped quotes are not
/// repeated: quotes, back slashes and control characters become `_`.
pub(super) fn content_disposition(name: &str, attachment: bool) -> String {
    let safe: String = name.chars().map(|c| if c.is_control() || c == '"' || c == '\\' { '_' } else { c }).collect();
    let kind = if attachment { "attachment; " } else { "" };
    format!("{kind}filename=\"{safe}\"")
}

/// Splits at `;` outside quotes
fn parameters(header: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (at, byte) in header.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b';' if !quoted => {
                found.extend(header.get(start..at));
                start = at + 1;
            }
            _ => {}
        }
    }
    found.extend(header.get(start..));
    found
}

/// Takes the quotes off; a back slash escapes a quote or a back slash only, since browsers send Windows paths raw
fn unquote(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut out = String::with_capacity(inner.len());
    let mut characters = inner.chars().peekable();
    while let Some(c) = characters.next() {
        match characters.peek() {
            Some(next @ ('"' | '\\')) if c == '\\' => {
                out.push(*next);
                characters.next();
            }
            _ => out.push(c),
        }
    }
    out
}

/// Reads RFC 5987's `charset'language'percent-encoded`, UTF-8 only
fn decode_extended(value: &str) -> Option<String> {
    let (charset, rest) = value.split_once('\'')?;
    let (_, encoded) = rest.split_once('\'')?;
    if !charset.eq_ignore_ascii_case("utf-8") {
        return None;
    }
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = tail.get(2..)?;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

fn base_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_every_recorded_form() {
        // Step 30 of the recorded exchanges, and what curl, reqwest, requests and browsers send.
        for (header, file) in [
            (r#"form-data; name="file"; filename="a b.bin""#, Some("a b.bin")),
            (r#"form-data; name="file"; filename="a;b.bin""#, Some("a;b.bin")),
            (r#"form-data; name="file"; filename="a\"b.bin""#, Some("a\"b.bin")),
            (r#"form-data; name="file"; filename="a/b.bin""#, Some("b.bin")),
            (r#"form-data; name="file"; filename="../../etc/passwd""#, Some("passwd")),
            (r"form-data; name=file; filename=plain.bin", Some("plain.bin")),
            (r#"form-data; name="file"; filename*=utf-8''%E6%97%A5.bin"#, Some("日.bin")),
            (r#"form-data; name="file"; filename="x.bin"; filename*=utf-8''y.bin"#, Some("y.bin")),
            (r#"form-data; name="file"; filename="é.bin""#, Some("é.bin")),
            (r#"form-data; name="file"; filename="""#, Some("")),
            (r#"form-data; name="file""#, None),
            (r#"Form-Data; NAME="file"; FileName="a%20b""#, Some("a%20b")),
        ] {
            let found = Disposition::parse(header.as_bytes());
            assert_eq!((found.field.as_str(), found.file.as_deref()), ("file", file), "{header}");
        }
    }

    #[test]
    fn broken_headers_give_no_name() {
        for header in
            ["", ";;;", "form-data; name", "form-data; filename*=utf-8''%zz", "form-data; filename*=latin1''x"]
        {
            assert_eq!(Disposition::parse(header.as_bytes()), Disposition::default(), "{header}");
        }
    }

    #[test]
    fn header_cannot_be_broken_out_of() {
        assert_eq!(content_disposition("a\"\r\nX: y\\", false), "filename=\"a___X: y_\"");
        assert_eq!(content_disposition("a.bin", true), "attachment; filename=\"a.bin\"");
    }
}
