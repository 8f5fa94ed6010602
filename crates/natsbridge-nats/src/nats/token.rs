//! Random tokens for the subjects of an inbox, compared in constant time.

use std::fmt;

use subtle::ConstantTimeEq as _;

/// 128 bits from the operating system's generator, as 32 hexadecimal digits
///
/// A program that may publish to all of `_INBOX.>` but can't read a subject has to guess its token among 2^128.
#[derive(Clone, Copy)]
pub(crate) struct Token(u128);

impl Token {
    pub(crate) fn draw() -> Self {
        Self(rand::random())
    }

    /// Whether `text` is this token, in constant time
    pub(crate) fn is(self, text: &str) -> bool {
        let plain = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'));
        let given = u128::from_str_radix(if plain { text } else { "" }, 16).unwrap_or(0);
        plain & bool::from(given.to_be_bytes().ct_eq(&self.0.to_be_bytes()))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(token)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_match_their_own_text_only() {
        let (one, other) = (Token::draw(), Token::draw());
        let text = one.to_string();
        assert!(one.is(&text) && !other.is(&text) && !one.is(&other.to_string()));
        for wrong in
            ["", "+", &text[1..], &format!("+{}", &text[1..]), &text.replace(|c: char| c.is_ascii_digit(), "g")]
        {
            assert!(!one.is(wrong), "{wrong}");
        }
        assert!(Token(0).is("00000000000000000000000000000000") && !Token(0).is("") && !Token(0).is("0"));
        assert_eq!(format!("{one:?}"), "(token)");
    }
}
