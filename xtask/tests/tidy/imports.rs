//! Which module of a crate uses which, read from the paths in its source: tests and comments are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A path as it is written, such as `crate::wire::Header`
type Names = Vec<String>;

/// The modules of one crate by their path, `""` for its root
#[derive(Debug, Default)]
pub(crate) struct Imports(BTreeMap<String, Module>);

#[derive(Debug, Default)]
struct Module {
    /// Every path that its code names
    named: Vec<Names>,
    /// What its `use` declarations bring in, by the name that it has here
    bound: BTreeMap<String, Names>,
}

impl Imports {
    /// Reads a crate from the file of its root: `src/lib.rs` or `src/main.rs`
    pub(crate) fn read(root: &Path) -> Self {
        let mut modules = Self::default();
        modules.file("", root, root.parent().unwrap());
        modules
    }

    fn file(&mut self, module: &str, file: &Path, folder: &Path) {
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        self.add(module, &tokens(&text), folder);
    }

    /// Adds a module of these tokens, whose children's files are in `folder`
    fn add(&mut self, module: &str, tokens: &[String], folder: &Path) {
        self.0.entry(module.to_owned()).or_default();
        let is = |at: usize, token: &str| tokens.get(at).is_some_and(|found| found == token);
        let mut at = 0;
        while at < tokens.len() {
            if tokens[at..].starts_with(&["#", "[", "cfg", "(", "test", ")", "]"].map(String::from)) {
                at = item_end(tokens, at + 7);
            } else if is(at, "mod") && (is(at + 2, ";") || is(at + 2, "{")) {
                let name = &tokens[at + 1];
                let child = join(module, name);
                let within = folder.join(name);
                let end = item_end(tokens, at);
                if is(at + 2, "{") {
                    self.add(&child, &tokens[at + 3..end - 1], &within);
                } else {
                    let beside = folder.join(format!("{name}.rs"));
                    let file = if beside.is_file() { beside } else { within.join("mod.rs") };
                    self.file(&child, &file, &within);
                }
                at = end;
            } else if is(at, "use") {
                let end = item_end(tokens, at);
                let found = self.0.get_mut(module).unwrap();
                for (name, path) in tree(&tokens[at + 1..end - 1], &[]) {
                    found.named.push(path.clone());
                    found.bound.insert(name, path);
                }
                at = end;
            } else if is_name(&tokens[at]) && is(at + 1, "::") {
                let mut path = vec![tokens[at].clone()];
                while is(at + 1, "::") && tokens.get(at + 2).is_some_and(|next| is_name(next)) {
                    path.push(tokens[at + 2].clone());
                    at += 2;
                }
                self.0.get_mut(module).unwrap().named.push(path);
                at += 1;
            } else {
                at += 1;
            }
        }
    }

    /// The module in which the thing is that `from` names so; none where it is of another crate
    fn find(&self, from: &str, path: &[String]) -> Option<String> {
        let (first, mut rest) = path.split_first()?;
        let mut place = match first.as_str() {
            "crate" => String::new(),
            "self" => from.to_owned(),
            "super" => parent(from).to_owned(),
            name => match self.0[from].bound.get(name) {
                _ if self.0.contains_key(&join(from, name)) => join(from, name),
                Some(bound) if bound.first() != Some(first) => return self.find(from, &[bound, rest].concat()),
                _ => return None,
            },
        };
        while let Some((name, further)) = rest.split_first() {
            if name == "super" {
                place = parent(&place).to_owned();
            } else if self.0.contains_key(&join(&place, name)) {
                place = join(&place, name);
            } else if let Some(bound) = self.0[&place].bound.get(name) {
                // It is handed on from somewhere else.
                return self.find(&place, &[bound, further].concat());
            } else {
                break;
            }
            rest = further;
        }
        Some(place)
    }

    /// The modules that each module uses
    ///
    /// A file may use the `mod.rs` of its own folder: together they are one room.
    fn uses(&self) -> BTreeMap<&str, BTreeSet<String>> {
        let used = |from: &str, module: &Module| {
            let found = module.named.iter().filter_map(|path| self.find(from, path));
            let own = |to: &str| from == to || (!to.is_empty() && from.starts_with(&join(to, "")));
            found.filter(|to| !own(to)).collect()
        };
        self.0.iter().map(|(from, module)| (from.as_str(), used(from, module))).collect()
    }

    /// The sets of modules of which each uses each, directly or by others
    pub(crate) fn circles(&self) -> Vec<Vec<String>> {
        let uses = self.uses();
        let reached = |from: &str| {
            let mut reached = BTreeSet::new();
            let mut next = vec![from.to_owned()];
            while let Some(module) = next.pop() {
                next.extend(uses[module.as_str()].iter().filter(|to| reached.insert((*to).clone())).cloned());
            }
            reached
        };
        let reached: BTreeMap<&str, BTreeSet<String>> = uses.keys().map(|from| (*from, reached(from))).collect();
        let of = |module: &str| {
            let others = reached[module].iter().filter(|other| reached[other.as_str()].contains(module));
            others.map(|name| if name.is_empty() { "crate".to_owned() } else { name.clone() }).collect()
        };
        let circles: BTreeSet<Vec<String>> = reached.keys().map(|module| of(module)).collect();
        circles.into_iter().filter(|circle| circle.len() > 1).collect()
    }

    /// `a → b` for each use of one of these modules by another, to show where a circle can be cut
    pub(crate) fn among(&self, circle: &[String]) -> String {
        let name = |module: &str| if module.is_empty() { "crate".to_owned() } else { module.to_owned() };
        let mut text = String::new();
        for (from, used) in self.uses() {
            let within: Vec<_> = used.iter().map(|to| name(to)).filter(|to| circle.contains(to)).collect();
            if circle.contains(&name(from)) {
                text.push_str(&format!("\n    {} → {}", name(from), within.join(", ")));
            }
        }
        text
    }
}

/// The path of a module's child
fn join(module: &str, name: &str) -> String {
    if module.is_empty() { name.to_owned() } else { format!("{module}::{name}") }
}

fn parent(module: &str) -> &str {
    module.rsplit_once("::").map_or("", |(parent, _)| parent)
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Where the item that begins here ends: behind its `;`, or behind its braces
fn item_end(tokens: &[String], from: usize) -> usize {
    let mut depth = 0_usize;
    let is_use = tokens[from..].first().is_some_and(|first| first == "use");
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match token.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => {
                depth = depth.saturating_sub(1);
                if depth == 0 && token == "}" && !is_use {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// The paths of a `use` declaration, each with the name that it gives
fn tree(tokens: &[String], before: &[String]) -> Vec<(String, Names)> {
    let mut path = before.to_vec();
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].as_str() {
            "::" => {}
            "{" => {
                let mut found = Vec::new();
                let (mut depth, mut start) = (0, at + 1);
                for (end, token) in tokens.iter().enumerate().skip(at) {
                    match token.as_str() {
                        "{" => depth += 1,
                        "}" => depth -= 1,
                        _ => {}
                    }
                    if (depth == 1 && token == ",") || depth == 0 {
                        found.extend(tree(&tokens[start..end], &path));
                        start = end + 1;
                    }
                }
                return found;
            }
            "as" => return vec![(tokens[at + 1].clone(), path)],
            "self" if !path.is_empty() => {}
            name => path.push(name.to_owned()),
        }
        at += 1;
    }
    path.last().cloned().filter(|_| !tokens.is_empty()).map(|name| (name, path)).into_iter().collect()
}

/// Names and signs of Rust source; comments, strings, characters and lifetimes are left out
fn tokens(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if first == '"' {
            quoted(rest)
        } else if rest.starts_with("r\"") || rest.starts_with("r#\"") || rest.starts_with("r##\"") {
            let marks = rest[1..].find('"').unwrap();
            let end = format!("\"{}", "#".repeat(marks));
            let from = marks + 2;
            rest[from..].find(&end).map_or(rest.len(), |at| from + at + end.len())
        } else if first == '\'' {
            // A character, or the mark of a lifetime, whose name does no harm.
            let mut inside = rest[1..].char_indices();
            match (inside.next(), inside.next()) {
                (Some((_, '\\')), _) => rest[3..].find('\'').map_or(rest.len(), |end| end + 4),
                (Some(_), Some((at, '\''))) => at + 2,
                _ => 1 + rest[1..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(0),
            }
        } else if first.is_alphanumeric() || first == '_' {
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            found.push(rest[..length].to_owned());
            length
        } else if rest.starts_with("::") {
            found.push("::".to_owned());
            2
        } else {
            if !first.is_whitespace() {
                found.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    found
}

/// The length of a string in quotes at the start of a text
fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}
