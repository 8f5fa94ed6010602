//! The fenced blocks of a page: what is typed, where, which files are written, and what is printed then.

use anyhow::{Result, bail};

/// Stands for anything within a line, and by itself for any number of lines
const ANYTHING: &str = "…";

/// One fenced block
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Where it begins in the page, for failures
    pub(super) line: usize,
    pub(super) kind: Kind,
    pub(super) text: String,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// ```` ```sh ````: typed into the first terminal, and its end awaited
    Typed,
    /// ```` ```sh terminal:NAME ````: typed into a terminal of its own, where it goes on
    Left(String),
    /// ```` ```text ````: all that the block before it printed
    Printed,
    /// ```` ```text terminal:NAME ````: what that terminal prints next
    PrintedBy(String),
    /// ```` ```LANGUAGE file:PATH ````: the content of a file
    File(String),
}

/// The blocks of a page, in order; a block that is none of these is refused, so that nothing goes unchecked
pub(super) fn blocks(page: &str) -> Result<Vec<Block>> {
    let mut found = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let line = at + 1;
        let text: Vec<&str> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        // Rust's own test runner reads these, and cargo those.
        if info.starts_with("rust,") || info == "toml" {
            continue;
        }
        let words: Vec<&str> = info.split_whitespace().collect();
        let kind = match words.as_slice() {
            ["sh"] => Kind::Typed,
            ["text"] => Kind::Printed,
            ["sh", word] if word.starts_with("terminal:") => Kind::Left(value(word)),
            ["text", word] if word.starts_with("terminal:") => Kind::PrintedBy(value(word)),
            [_, word] if word.starts_with("file:") => Kind::File(value(word)),
            _ => bail!("line {line}: `{info}` says not what to do with the block"),
        };
        found.push(Block { line, kind, text: text.join("\n") });
    }
    Ok(found)
}

fn value(word: &str) -> String {
    word.split_once(':').map(|(_, value)| value.to_owned()).unwrap_or_default()
}

/// Whether a line is as the page has it
pub(super) fn is_line(expected: &str, found: &str) -> bool {
    let mut pieces = expected.trim_end().split(ANYTHING);
    let Some(mut rest) = pieces.next().and_then(|first| found.trim_end().strip_prefix(first)) else { return false };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

/// Whether all lines are as the page has them
pub(super) fn are_lines(expected: &[&str], found: &[&str]) -> bool {
    match expected {
        [] => found.is_empty(),
        [first, rest @ ..] if is_gap(first) => (0..=found.len()).any(|skipped| are_lines(rest, &found[skipped..])),
        [first, rest @ ..] => {
            let [line, after @ ..] = found else { return false };
            is_line(first, line) && are_lines(rest, after)
        }
    }
}

/// Whether a line of the page stands for any number of lines
pub(super) fn is_gap(expected: &str) -> bool {
    expected.trim() == ANYTHING
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_blocks_are_told_apart() {
        let page = "# Title\n```sh\ncd walk\nls\n```\n```text\na\n```\n```sh terminal:nats\nnats-server\n```\n\
                    ```text terminal:nats\n…\n```\n```python file:lab.py\nprint()\n```\n```rust,no_run\nmain();\n```\n";
        let found = blocks(page).unwrap();
        let kinds: Vec<_> = found.iter().map(|block| &block.kind).collect();
        let (nats, file) = ("nats".to_owned(), "lab.py".to_owned());
        let expected =
            [&Kind::Typed, &Kind::Printed, &Kind::Left(nats.clone()), &Kind::PrintedBy(nats), &Kind::File(file)];
        assert_eq!(kinds, expected);
        assert_eq!((found[0].line, found[0].text.as_str()), (2, "cd walk\nls"));
    }

    #[test]
    fn block_that_would_go_unchecked_is_refused() {
        let failure = blocks("\n```console\n$ ls\n```\n").unwrap_err();
        assert_eq!(failure.to_string(), "line 2: `console` says not what to do with the block");
    }

    #[test]
    fn ellipsis_matches_what_differs_and_nothing_else() {
        for (expected, found, fits) in [
            ("64 KiB in … ms", "64 KiB in 18 ms", true),
            ("64 KiB in … ms", "64 KiB in 18 s", false),
            ("id … of … bytes", "id 7 of 12 bytes", true),
            ("done", "done ", true),
            ("done", "done already", false),
            ("… ends", "starts", false),
        ] {
            assert_eq!(is_line(expected, found), fits, "{expected} / {found}");
        }
        assert!(are_lines(&["a", "…", "z"], &["a", "z"]));
        assert!(are_lines(&["a", "…", "z"], &["a", "b", "z", "z"]));
        assert!(!are_lines(&["a", "…", "z"], &["a", "b"]));
        assert!(!are_lines(&["a"], &["a", "b"]), "more than the page says");
    }
}
