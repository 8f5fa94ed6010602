//! Sizes, durations and addresses as people write them.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Reads a size: `500000`, `10GB` (powers of 1000), `10GiB` (powers of 1024); fractions where they are whole bytes
///
/// Written here because the crates for it take `10G` for one or the other, and the difference is 7 %.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("`{text}` is not a size; write bytes, or a number with kB, MB, GB, TB, KiB, MiB, GiB or TiB");
    let text = text.trim();
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let factor: u128 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return Err(wrong()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > 12 || (number.contains('.') && fraction.is_empty()) {
        return Err(wrong());
    }
    let digits = |text: &str| text.parse::<u128>().map_err(|_| wrong());
    let scale = 10_u128.pow(u32::try_from(fraction.len()).map_err(|_| wrong())?);
    let fraction = if fraction.is_empty() { 0 } else { digits(fraction)? };
    let scaled = digits(whole)?.checked_mul(factor * scale).and_then(|bytes| bytes.checked_add(fraction * factor));
    let scaled = scaled.ok_or_else(wrong)?;
    if scaled % scale != 0 {
        return Err(format!("`{text}` is not a whole number of bytes"));
    }
    u64::try_from(scaled / scale).map_err(|_| wrong())
}

/// Reads a duration: `30d`, `24h`, `90s`, `1h 30m`
///
/// By humantime, which reads what systemd and others do, and is among our dependencies' dependencies anyway.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text.trim())
        .map_err(|_| format!("`{text}` is not a duration; write a number with s, m, h or d, such as 90s or 24h"))
}

/// Reads a duration that is longer than nothing
pub(crate) fn some_time(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err(format!("`{text}` is no time at all; give some, such as 90s or 24h")),
        some => Ok(some),
    }
}

/// Reads a number of messages
pub(crate) fn count(text: &str) -> Result<u64, String> {
    text.trim().parse().ok().filter(|count| *count > 0).ok_or_else(|| "write a number from 1 on".to_owned())
}

/// Reads an address to listen on: `ADDRESS:PORT`, `localhost:PORT`, or a port of this machine alone
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let text = text.trim();
    let local = text.strip_prefix("localhost:").or_else(|| text.strip_prefix(':')).unwrap_or(text);
    if let Ok(port) = local.parse::<u16>() {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    text.parse().map_err(|_| format!("`{text}` is no address with a port; write 8080, localhost:8080 or 0.0.0.0:8080"))
}

/// A size for people: three digits, powers of 1000
pub(crate) fn shown(bytes: u64) -> String {
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    let mut unit = 1_000_u64;
    for name in ["kB", "MB", "GB", "TB", "PB", "EB"] {
        // Rounded to a tenth first, so that 999,999 bytes are 1.0 MB and not 1000.0 kB.
        let tenths = (u128::from(bytes) * 10 + u128::from(unit) / 2) / u128::from(unit);
        if tenths < 10_000 || name == "EB" {
            return format!("{}.{} {name}", tenths / 10, tenths % 10);
        }
        unit *= 1_000;
    }
    format!("{bytes} B")
}

/// A short time for people: microseconds below a millisecond, else milliseconds with a tenth
pub(crate) fn took(time: Duration) -> String {
    match time.as_micros() {
        micros @ 0..1_000 => format!("{micros} us"),
        micros => format!("{}.{} ms", (micros + 50) / 1_000, (micros + 50) % 1_000 / 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_is_read_as_people_write_it() {
        for (text, bytes) in [
            ("0", 0),
            ("500000", 500_000),
            ("10GB", 10_000_000_000),
            ("10 gb", 10_000_000_000),
            ("10GiB", 10_737_418_240),
            ("0.5MB", 500_000),
            ("1.5KiB", 1_536),
            ("7b", 7),
            ("16000000TB", 16_000_000_000_000_000_000),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "GB", "10G", "-1", "1e3", "1.MB", ".5MB", "0.5", "0.0001kB", "99999999TB", "1,5MB", "1.2.3MB"]
        {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn duration_is_read_as_people_write_it() {
        for (text, seconds) in [("30d", 2_592_000), ("24h", 86_400), ("90s", 90), ("1h 30m", 5_400)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "90", "s", "-1s", "soon"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn address_is_a_port_or_has_one() {
        for text in ["8080", ":8080", "localhost:8080", "127.0.0.1:8080", " 8080 "] {
            assert_eq!(address(text).map(|address| address.to_string()).as_deref(), Ok("127.0.0.1:8080"), "{text}");
        }
        assert_eq!(address("0.0.0.0:8080").map(|address| address.to_string()).as_deref(), Ok("0.0.0.0:8080"));
        for text in ["", "localhost", "8080x", "70000", "http://localhost:8080"] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn short_time_is_shown_in_its_unit() {
        for (micros, text) in [(0, "0 us"), (999, "999 us"), (1_000, "1.0 ms"), (1_051, "1.1 ms"), (1_949, "1.9 ms")] {
            assert_eq!(took(Duration::from_micros(micros)), text);
        }
        assert_eq!(took(Duration::from_millis(1_999)), "1999.0 ms");
    }

    #[test]
    fn size_is_shown_with_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (1_500_000, "1.5 MB"),
            (999_949, "999.9 kB"),
            (999_999, "1.0 MB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(shown(bytes), text);
        }
    }
}
