//! Whether a link's file still exists: by a request to Plik, or by the expiry in a presigned link.

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use url::Url;

/// An upload, as Plik describes it
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Upload {
    #[serde(default)]
    pub(crate) one_shot: bool,
    #[serde(default)]
    files: Option<Vec<File>>,
}

#[derive(Debug, Deserialize)]
struct File {
    id: String,
    #[serde(default)]
    status: String,
}

/// A request for the status of one file
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StatusQuery {
    /// `{BASE}/upload/{id}`
    pub(crate) url: Url,
    file: String,
}

impl StatusQuery {
    /// Reads a link of Plik's form, `{BASE}/file/{upload}/{file}/{name}`; `None` for any other
    pub(crate) fn about(link: &Url) -> Option<Self> {
        let segments: Vec<&str> = link.path_segments()?.collect();
        let [base @ .., "file", upload, file, _name] = segments.as_slice() else { return None };
        let mut url = link.clone();
        url.set_query(None);
        url.set_fragment(None);
        url.set_path(&[base, &["upload", upload]].concat().join("/"));
        Some(Self { url, file: (*file).to_owned() })
    }

    /// Whether the response says that the file can still be downloaded; `None` if it does not list the file
    pub(crate) fn still_there(&self, upload: &Upload) -> Option<bool> {
        let file = upload.files.iter().flatten().find(|file| file.id == self.file)?;
        Some(file.status == "uploaded")
    }
}

/// The expiry in a presigned link of S3, Google or Azure, if it has one
pub(crate) fn signed_until(link: &Url) -> Option<OffsetDateTime> {
    let value = |name: &str| {
        let found = link.query_pairs().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.into_owned())
    };
    if value("sig").is_some() {
        return OffsetDateTime::parse(&value("se")?, &Rfc3339).ok();
    }
    let (date, seconds) = ["amz", "goog"]
        .into_iter()
        .find_map(|cloud| Some((value(&format!("x-{cloud}-date"))?, value(&format!("x-{cloud}-expires"))?)))?;
    // 20260513T081530Z, as RFC 3339 writes it
    let part = |range: std::ops::Range<usize>| date.get(range);
    let date = format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0..4)?,
        part(4..6)?,
        part(6..8)?,
        part(9..11)?,
        part(11..13)?,
        part(13..15)?
    );
    let signed = OffsetDateTime::parse(&date, &Rfc3339).ok()?;
    signed.checked_add(time::Duration::seconds(seconds.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presigned_link_states_when_it_expires() -> Result<(), Box<dyn std::error::Error>> {
        let until = OffsetDateTime::parse("2026-05-13T09:15:30Z", &Rfc3339)?;
        for (query, found) in [
            ("X-Amz-Date=20260513T081530Z&X-Amz-Expires=3600&X-Amz-Signature=s", Some(until)),
            ("X-Goog-Expires=3600&X-Goog-Date=20260513T081530Z", Some(until)),
            ("sv=2024&se=2026-05-13T09%3A15%3A30Z&sig=s", Some(until)),
            ("X-Amz-Date=20260513&X-Amz-Expires=3600", None),
            ("X-Amz-Date=20260513T081530Z&X-Amz-Expires=-x", None),
            ("X-Amz-Date=20260513T081530Z&X-Amz-Expires=9223372036854775807", None),
            ("X-Amz-Date=\u{2026}\u{2026}\u{2026}\u{2026}\u{2026}\u{2026}&X-Amz-Expires=1", None),
            ("", None),
        ] {
            assert_eq!(signed_until(&Url::parse(&format!("http://h/b/k?{query}"))?), found, "{query}");
        }
        Ok(())
    }

    #[test]
    fn plik_link_leads_to_its_upload() {
        for (link, url) in [
            ("http://h:1/file/U/F/payload.bin", Some("http://h:1/upload/U")),
            ("http://h/sub/path/file/U/F/a%20b?dl=1", Some("http://h/sub/path/upload/U")),
            ("http://h/bucket/key?X-Amz-Signature=s", None),
            ("http://h/file/U", None),
        ] {
            let question = Url::parse(link).ok().and_then(|link| StatusQuery::about(&link));
            assert_eq!(question.map(|question| question.url.to_string()).as_deref(), url, "{link}");
        }
    }

    #[test]
    fn recorded_responses_tell_what_became_of_a_file() -> Result<(), Box<dyn std::error::Error>> {
        let question = StatusQuery::about(&Url::parse("http://h/file/fx42p6dwO4x3MKWX/2LNrp1EGZY8zV4Hb/payload.bin")?)
            .ok_or("not a link")?;
        for (status, there) in [("uploaded", true), ("removed", false), ("deleted", false)] {
            let upload: Upload = serde_json::from_str(&format!(
                r#"{{"id":"fx42p6dwO4x3MKWX","files":[{{"id":"2LNrp1EGZY8zV4Hb","fileName":"payload.bin","status":"{status}"}}],"oneShot":true}}"#
            ))?;
            assert!(upload.one_shot);
            assert_eq!(question.still_there(&upload), Some(there));
        }
        assert_eq!(question.still_there(&serde_json::from_str(r#"{"files":null}"#)?), None);
        Ok(())
    }
}
