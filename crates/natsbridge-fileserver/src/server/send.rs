//! Sends a file: whole, in part, once or again.

use std::{fs::File, sync::Arc};

use axum::{
    Extension,
    body::Body,
    extract::{Path, Request, State},
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::{
    api::{App, live},
    claims::{Claim, Unsettled},
    connection::Outlet,
    disposition::content_disposition,
    error::Refusal,
    ids::Id,
    pieces::Pieces,
    record::{FileRecord, Status},
    sniff::served_type,
};

/// What a download found on disk
struct Found {
    content: File,
    record: FileRecord,
    one_shot: bool,
    /// Absent for an ordinary file and for HEAD
    claim: Option<Arc<Claim>>,
}

/// `GET` and `HEAD /file/{upload}/{file}/{name}`
pub(super) async fn download(
    State(app): State<Arc<App>>,
    Path((upload, file, name)): Path<(String, String, String)>,
    Extension(unsettled): Extension<Unsettled>,
    Extension(outlet): Extension<Outlet>,
    request: Request,
) -> Result<Response, Refusal> {
    app.check_host(request.headers())?;
    let wants_body = request.method() == Method::GET;
    let found = app.disk(move |app| find(app, &upload, &file, &name, wants_body)).await?;
    let mut headers = describe(&found, request.uri().query())?;

    // A part of a one-shot would leave the rest unreachable, so it is whole or nothing (step 5 of the exchanges).
    let size = found.record.file_size;
    let (status, start, length) = if found.one_shot {
        (StatusCode::OK, 0, size)
    } else {
        if names_tag(request.headers(), header::IF_NONE_MATCH, &etag(&found.record)) {
            headers.remove(header::CONTENT_LENGTH);
            return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
        }
        match wanted_part(request.headers(), &etag(&found.record), size).filter(|_| wants_body) {
            None => (StatusCode::OK, 0, size),
            Some(Ok((start, length))) => {
                let range = format!("bytes {start}-{}/{size}", (start + length).saturating_sub(1));
                headers.insert(header::CONTENT_RANGE, header_value(&range)?);
                (StatusCode::PARTIAL_CONTENT, start, length)
            }
            Some(Err(())) => {
                let refusal = Refusal::new(StatusCode::RANGE_NOT_SATISFIABLE, "invalid range: failed to overlap");
                let mut response = refusal.into_response();
                response.headers_mut().insert(header::CONTENT_RANGE, header_value(&format!("bytes */{size}"))?);
                return Ok(response);
            }
        }
    };
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    if !wants_body {
        return Ok((status, headers).into_response());
    }

    if let Some(claim) = &found.claim {
        unsettled.add(Arc::clone(claim));
    }
    let body = Pieces::new(Arc::clone(&app), outlet, found.content, found.claim, start..start + length).await?;
    Ok((status, headers, Body::from_stream(body)).into_response())
}

/// Looks the file up and claims it if it is a one-shot
fn find(app: &App, upload: &str, file: &str, name: &str, claims: bool) -> Result<Found, Refusal> {
    let (upload_id, record) = live(&app.store, upload)?;
    let file_id = Id::parse(file).filter(|id| record.file(*id).is_some());
    let file_id = file_id.ok_or_else(|| {
        Refusal::not_found(
            Id::parse(file).map_or_else(|| "file not found".to_owned(), |id| format!("file {id} not found")),
        )
    })?;
    let available = |file: Option<&FileRecord>| match file {
        Some(file) if file.file_name != name => Err(Refusal::bad_request("invalid file name")),
        Some(file) if file.status == Status::Uploaded => Ok(file.clone()),
        Some(file) => Err(unavailable(file, file.status.word())),
        None => Err(Refusal::not_found(format!("file {file_id} not found"))),
    };
    let one_shot = record.one_shot;
    let mut found = available(record.file(file_id))?;
    let mut claim = None;
    if one_shot && claims {
        // 404 would say that the file is gone for good, but the download that has it may yet break off.
        let busy = || unavailable_as(StatusCode::CONFLICT, &found, "downloading").retry_soon();
        claim = Some(app.claims.take(upload_id, file_id).ok_or_else(busy)?);
        // Another download may have ended between the look and the claim.
        found = available(live(&app.store, upload)?.1.file(file_id))?;
    }
    let content = app.store.content(upload_id, file_id)?;
    if content.metadata()?.len() != found.file_size {
        return Err(Refusal::internal(&"stored content has another size than its record"));
    }
    Ok(Found { content, record: found, one_shot, claim })
}

fn unavailable(file: &FileRecord, why: &str) -> Refusal {
    unavailable_as(StatusCode::NOT_FOUND, file, why)
}

fn unavailable_as(status: StatusCode, file: &FileRecord, why: &str) -> Refusal {
    Refusal::new(status, format!("file {} ({}) is not available : {why}", file.file_name, file.id))
}

/// The headers that every answer about a file has
fn describe(found: &Found, query: Option<&str>) -> Result<HeaderMap, Refusal> {
    let mut headers = HeaderMap::new();
    let attachment = query.is_some_and(|query| {
        query.split('&').any(|pair| pair.strip_prefix("dl=").is_some_and(|value| !value.is_empty()))
    });
    headers.insert(header::CONTENT_TYPE, header_value(served_type(&found.record.file_type))?);
    headers
        .insert(header::CONTENT_DISPOSITION, header_value(&content_disposition(&found.record.file_name, attachment))?);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(found.record.file_size));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    if found.one_shot {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
        headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
        headers.insert(header::EXPIRES, HeaderValue::from_static("0"));
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("none"));
    } else {
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(header::ETAG, header_value(&etag(&found.record))?);
    }
    Ok(headers)
}

fn header_value(text: &str) -> Result<HeaderValue, Refusal> {
    HeaderValue::from_bytes(text.as_bytes()).map_err(|error| Refusal::internal(&error))
}

/// A strong entity tag: the identifier, under which content never changes
fn etag(file: &FileRecord) -> String {
    format!("\"{}\"", file.id)
}

/// Whether the header is `*` or lists the tag, weakly or strongly
fn names_tag(headers: &HeaderMap, name: header::HeaderName, tag: &str) -> bool {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(
        |candidate| {
            let candidate = candidate.trim();
            candidate == "*" || candidate.strip_prefix("W/").unwrap_or(candidate) == tag
        },
    )
}

/// Which part of the file is asked for: nothing for the whole, start and length, or an error beyond the end
///
/// Several ranges, other units and what can't be read are answered with the whole, as RFC 9110 allows.
fn wanted_part(headers: &HeaderMap, tag: &str, size: u64) -> Option<Result<(u64, u64), ()>> {
    let range = headers.get(header::RANGE)?.to_str().ok()?;
    // `If-Range` wants the strong form; a date never matches, since no date is given out.
    if headers.get(header::IF_RANGE).is_some_and(|condition| condition.as_bytes() != tag.as_bytes()) {
        return None;
    }
    let (first, last) = range.strip_prefix("bytes=")?.trim().split_once('-')?;
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    let (start, end) = match (first, last) {
        ("", suffix) => (size.saturating_sub(number(suffix)?), size),
        (first, "") => (number(first)?, size),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            (first, last.saturating_add(1).min(size))
        }
    };
    Some(if start < end { Ok((start, end - start)) } else { Err(()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(range: &str, condition: Option<&str>) -> Option<Result<(u64, u64), ()>> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, range.parse().unwrap());
        if let Some(condition) = condition {
            headers.insert(header::IF_RANGE, condition.parse().unwrap());
        }
        wanted_part(&headers, "\"tag\"", 1000)
    }

    #[test]
    fn range_is_read_as_rfc_9110_says() {
        for (range, expected) in [
            ("bytes=0-9", Some(Ok((0, 10)))),
            ("bytes=990-", Some(Ok((990, 10)))),
            ("bytes=-10", Some(Ok((990, 10)))),
            ("bytes=-5000", Some(Ok((0, 1000)))),
            ("bytes=999-5000", Some(Ok((999, 1)))),
            ("bytes=0-18446744073709551615", Some(Ok((0, 1000)))),
            ("bytes=1000-", Some(Err(()))),
            ("bytes=1000-1001", Some(Err(()))),
            ("bytes=-0", Some(Err(()))),
            ("bytes=9-0", None),
            ("bytes=0-1,5-6", None),
            ("bytes=a-b", None),
            ("bytes=-", None),
            ("bytes=+1-2", None),
            ("lines=0-9", None),
        ] {
            assert_eq!(part(range, None), expected, "{range}");
        }
    }

    #[test]
    fn range_of_another_version_gets_the_whole_file() {
        assert_eq!(part("bytes=0-9", Some("\"tag\"")), Some(Ok((0, 10))));
        for condition in ["\"other\"", "W/\"tag\"", "Sun, 22 Nov 2026 07:41:18 GMT"] {
            assert_eq!(part("bytes=0-9", Some(condition)), None, "{condition}");
        }
    }
}
