//! The canonical form of a JSON file: two spaces, one item a line, no key twice. Strings and numbers stay as written.

/// The text in canonical form
///
/// # Errors
/// Says which key stands twice, or where the text ends too early.
pub(super) fn canonical(text: &str) -> Result<String, String> {
    let mut writer = Writer { rest: text, out: String::with_capacity(text.len()) };
    writer.value(0)?;
    writer.out.push('\n');
    Ok(writer.out)
}

/// Goes through text that a JSON reader has accepted before
struct Writer<'a> {
    rest: &'a str,
    out: String,
}

impl<'a> Writer<'a> {
    fn value(&mut self, level: usize) -> Result<(), String> {
        self.rest = self.rest.trim_start();
        match self.rest.chars().next() {
            Some('{') => self.items(level, '}', true),
            Some('[') => self.items(level, ']', false),
            Some('"') => {
                let string = self.string()?;
                self.out.push_str(string);
                Ok(())
            }
            Some(_) => {
                let end = self.rest.find([',', ']', '}', ' ', '\n', '\r', '\t']).unwrap_or(self.rest.len());
                let (word, rest) = self.rest.split_at(end);
                self.out.push_str(word);
                self.rest = rest;
                Ok(())
            }
            None => Err("the text ends too early".to_owned()),
        }
    }

    /// An object or list, whose opening bracket comes next
    fn items(&mut self, level: usize, closing: char, keyed: bool) -> Result<(), String> {
        self.out.push_str(&self.rest[..1]);
        self.rest = self.rest[1..].trim_start();
        let mut keys = Vec::new();
        let mut empty = true;
        while !self.rest.starts_with(closing) {
            if !empty {
                self.rest = self.rest.strip_prefix(',').ok_or("a comma is missing")?.trim_start();
                self.out.push(',');
            }
            empty = false;
            self.line(level + 1);
            if keyed {
                let key = self.string()?;
                // Two spellings of one key are one key.
                let plain: String = serde_json::from_str(key).map_err(|error| error.to_string())?;
                if keys.contains(&plain) {
                    return Err(format!("key {key} stands twice"));
                }
                keys.push(plain);
                self.out.push_str(key);
                self.rest = self.rest.trim_start().strip_prefix(':').ok_or("a colon is missing")?;
                self.out.push_str(": ");
            }
            self.value(level + 1)?;
            self.rest = self.rest.trim_start();
        }
        if !empty {
            self.line(level);
        }
        self.out.push(closing);
        self.rest = &self.rest[1..];
        Ok(())
    }

    fn line(&mut self, level: usize) {
        self.out.push('\n');
        self.out.extend(std::iter::repeat_n("  ", level));
    }

    /// The string that comes next, quotes included
    fn string(&mut self) -> Result<&'a str, String> {
        let mut escaped = false;
        for (at, letter) in self.rest.char_indices().skip(1) {
            match letter {
                '"' if !escaped => {
                    let (string, rest) = self.rest.split_at(at + 1);
                    self.rest = rest;
                    return Ok(string);
                }
                _ => escaped = letter == '\\' && !escaped,
            }
        }
        Err("a string does not end".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_indented_and_its_tokens_stay_as_they_are() {
        let text = r#" {"a":[1,2.50 , 1e2],"b":{},"c":[],"d\"}":{"e":"x\\","f":null}} "#;
        let form = "{\n  \"a\": [\n    1,\n    2.50,\n    1e2\n  ],\n  \"b\": {},\n  \"c\": [],\n  \"d\\\"}\": {\n    \"e\": \"x\\\\\",\n    \"f\": null\n  }\n}\n";
        assert_eq!(canonical(text).unwrap(), form);
        assert_eq!(canonical(form).unwrap(), form);
    }

    #[test]
    fn duplicate_key_is_found_in_any_spelling_and_depth() {
        for text in [r#"{"a":1,"a":2}"#, r#"[{"x":{"a":1,"\u0061":2}}]"#] {
            assert!(canonical(text).unwrap_err().contains("stands twice"), "{text}");
        }
        assert!(canonical(r#"[{"a":1},{"a":2}]"#).is_ok());
    }
}
