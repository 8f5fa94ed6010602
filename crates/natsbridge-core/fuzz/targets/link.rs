//! Any text as a link: followed only where its host may be asked, and shown only without its secrets.
#![no_main]

use libfuzzer_sys::fuzz_target;
use natsbridge_core::redacted;
use natsbridge_fileserver::fuzzing::followed;
use natsbridge_fuzz::forbidden;
use url::Url;

/// Stands where the fuzzer puts it; `dictionaries/link` knows the word
const SECRET: &str = "s3cr3t";

fuzz_target!(|data: &[u8]| {
    let Ok(link) = std::str::from_utf8(data) else { return };
    let shown = redacted(link);
    let parsed = Url::parse(link);

    // Counted in the text, as the parsed path has lost what a `..` behind it removes.
    if let Ok(url) = &parsed {
        let plain: String = link.chars().filter(|c| !matches!(c, '\t' | '\r' | '\n')).collect();
        let plain = plain.split(['?', '#']).next().unwrap_or_default();
        let count = |text: &str| text.matches(SECRET).count();
        let user_info = count(url.username()) + url.password().map_or(0, count);
        assert!(count(plain) > user_info || !shown.contains(SECRET), "{link:?} is shown as {shown:?}");
    }

    for allowed in [&[][..], &["http://files.test"]] {
        match followed(allowed, link) {
            Ok(url) => {
                assert!(matches!(url.scheme(), "http" | "https"), "{link:?}");
                assert!(url.username().is_empty() && url.password().is_none(), "{link:?}");
                assert_eq!(parsed.as_ref(), Ok(&url));
                if allowed.is_empty() {
                    assert!(!forbidden(&url), "{link:?} leads to {url}");
                } else {
                    let host = url.host_str().unwrap_or_default();
                    assert!(host.trim_end_matches('.') == "files.test" && url.port_or_known_default() == Some(80));
                }
            }
            Err(said) => {
                let secret = parsed.as_ref().is_ok_and(|url| {
                    url.host_str().is_some_and(|host| host.contains(SECRET)) || url.scheme().contains(SECRET)
                });
                assert!(secret || !said.contains(SECRET), "{said}");
            }
        }
    }
});
