//! Asking a Plik whether a link's file is still there, which does not consume it (plik contract §6).

use serde::Deserialize;
use url::Url;

/// What a server knows of an upload
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

/// Where to ask about one file
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// `{BASE}/upload/{id}`
    pub(crate) url: Url,
    file: String,
}

impl Question {
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

    /// Whether the answer says that the file can still be read; `None` if it does not know the file
    pub(crate) fn still_there(&self, upload: &Upload) -> Option<bool> {
        let file = upload.files.iter().flatten().find(|file| file.id == self.file)?;
        Some(file.status == "uploaded")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plik_link_leads_to_its_upload() {
        for (link, url) in [
            ("http://h:1/file/U/F/payload.bin", Some("http://h:1/upload/U")),
            ("http://h/sub/path/file/U/F/a%20b?dl=1", Some("http://h/sub/path/upload/U")),
            ("http://h/bucket/key?X-Amz-Signature=s", None),
            ("http://h/file/U", None),
        ] {
            let question = Url::parse(link).ok().and_then(|link| Question::about(&link));
            assert_eq!(question.map(|question| question.url.to_string()).as_deref(), url, "{link}");
        }
    }

    #[test]
    fn the_recorded_answers_say_what_became_of_a_file() -> Result<(), Box<dyn std::error::Error>> {
        let question = Question::about(&Url::parse("http://h/file/fx42p6dwO4x3MKWX/2LNrp1EGZY8zV4Hb/payload.bin")?)
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
