//! The verdict on a failed request: whether to retry it, and whether it counts for the circuit breaker.

use http::StatusCode;

use crate::roots::is_untrusted;

/// What a failed request says about the server
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The same request would fail again
    Permanent,
    /// The server works; a retry may succeed
    Temporary,
    /// The server answers with an error of its own; a retry may succeed
    Failing,
    /// The server can't be reached, is silent, or a gateway reports that; a retry may succeed
    Unreachable,
}

impl Verdict {
    /// The verdict on a status other than success; `retry_after` is whether the response has that header
    ///
    /// The embedded server sends 409 with `Retry-After` while another client reads a one-shot: the file is available
    /// again if that download breaks. 501, 505, 507 and similar are about the request or the disk; a retry can't help.
    pub(crate) fn of_status(status: StatusCode, retry_after: bool) -> Self {
        match status.as_u16() {
            408 | 425 | 429 => Self::Temporary,
            409 if retry_after => Self::Temporary,
            502..=504 => Self::Unreachable,
            501 | 505..=508 | 510 | 511 => Self::Permanent,
            500.. => Self::Failing,
            _ => Self::Permanent,
        }
    }

    /// The verdict on a failure below HTTP
    pub(crate) fn of_error(error: &reqwest::Error) -> Self {
        if is_untrusted(error) || error.is_builder() { Self::Permanent } else { Self::Unreachable }
    }

    /// Whether a retry may succeed
    pub(crate) const fn is_temporary(self) -> bool {
        !matches!(self, Self::Permanent)
    }

    /// Whether it counts as a failure for the circuit breaker of uploads
    pub(crate) const fn opens_breaker(self) -> bool {
        matches!(self, Self::Unreachable | Self::Failing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_decides_about_the_retry_and_the_circuit_breaker() {
        for (status, waits, verdict) in [
            (400, false, Verdict::Permanent),
            (404, true, Verdict::Permanent),
            (405, false, Verdict::Permanent),
            (408, false, Verdict::Temporary),
            (409, false, Verdict::Permanent),
            (409, true, Verdict::Temporary),
            (411, false, Verdict::Permanent),
            (413, false, Verdict::Permanent),
            (422, false, Verdict::Permanent),
            (425, false, Verdict::Temporary),
            (429, false, Verdict::Temporary),
            (500, false, Verdict::Failing),
            (501, false, Verdict::Permanent),
            (502, false, Verdict::Unreachable),
            (503, false, Verdict::Unreachable),
            (504, false, Verdict::Unreachable),
            (505, false, Verdict::Permanent),
            (507, true, Verdict::Permanent),
            (520, false, Verdict::Failing),
            (301, false, Verdict::Permanent),
        ] {
            let found = StatusCode::from_u16(status).map(|status| Verdict::of_status(status, waits));
            assert_eq!(found.ok(), Some(verdict), "{status}");
        }
    }
}
