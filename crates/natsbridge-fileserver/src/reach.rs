//! What a failure says about the server: the one judgement that retries, circuit breakers and errors' kinds go by.

use http::StatusCode;

use crate::roots::is_untrusted;

/// What a failure says about the server
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It did its work: the same request fails again
    Final,
    /// It is there, and another try may succeed
    Again,
    /// It is there and fails at this; another try may succeed
    Failing,
    /// It can't be reached, stays silent, or a gateway says so; another try may succeed
    Away,
}

impl Verdict {
    /// What an answer other than success says; `waits` is whether the server said when to come back
    ///
    /// 409 with that is the embedded server's word while somebody else reads a one-shot, which comes back if that
    /// download is cut. 501, 505, 507 and their like are about the request or the disk, and no retry mends them.
    pub(crate) fn of_status(status: StatusCode, waits: bool) -> Self {
        match status.as_u16() {
            408 | 425 | 429 => Self::Again,
            409 if waits => Self::Again,
            502..=504 => Self::Away,
            501 | 505..=508 | 510 | 511 => Self::Final,
            500.. => Self::Failing,
            _ => Self::Final,
        }
    }

    /// What a failure below HTTP says
    pub(crate) fn of_error(error: &reqwest::Error) -> Self {
        if is_untrusted(error) || error.is_builder() { Self::Final } else { Self::Away }
    }

    /// Whether another try may succeed
    pub(crate) const fn is_passing(self) -> bool {
        !matches!(self, Self::Final)
    }

    /// Whether it counts against the server to which something is sent: only that it is away, or fails
    pub(crate) const fn counts(self) -> bool {
        matches!(self, Self::Away | Self::Failing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_whether_to_try_again_and_whom_it_counts_against() {
        for (status, waits, verdict) in [
            (400, false, Verdict::Final),
            (404, true, Verdict::Final),
            (405, false, Verdict::Final),
            (408, false, Verdict::Again),
            (409, false, Verdict::Final),
            (409, true, Verdict::Again),
            (411, false, Verdict::Final),
            (413, false, Verdict::Final),
            (422, false, Verdict::Final),
            (425, false, Verdict::Again),
            (429, false, Verdict::Again),
            (500, false, Verdict::Failing),
            (501, false, Verdict::Final),
            (502, false, Verdict::Away),
            (503, false, Verdict::Away),
            (504, false, Verdict::Away),
            (505, false, Verdict::Final),
            (507, true, Verdict::Final),
            (520, false, Verdict::Failing),
            (301, false, Verdict::Final),
        ] {
            let found = StatusCode::from_u16(status).map(|status| Verdict::of_status(status, waits));
            assert_eq!(found.ok(), Some(verdict), "{status}");
        }
    }
}
