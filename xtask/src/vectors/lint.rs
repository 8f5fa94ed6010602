//! What `cargo xtask vectors lint` runs: what must hold of the files themselves, whoever reads them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use boon::{Compiler, SchemaIndex, Schemas};
use fs_err as fs;
use serde_json::Value;

use super::{Vector, load, skips, testdata};
use crate::peers;
use crate::workspace::{entries, name_of, root, sha256};

/// The schema's name; nothing is fetched from there
const SCHEMA: &str = "https://natsbridge.test/vector-v1.json";

/// Shorter bodies stand in the vector itself
const LARGEST_INLINE: u64 = 1024;

/// Checks every file; a failure names all that is wrong
fn lint() -> Result<()> {
    let vectors = load()?;
    let rules = Rules::load()?;
    let mut faults = Vec::new();
    for vector in &vectors {
        faults.extend(rules.faults(vector).into_iter().map(|fault| format!("{}: {fault}", vector.name)));
    }
    faults.extend(blobs(&vectors)?);
    faults.extend(patterns(&vectors, &rules.specification));
    faults.extend(skip_list(&vectors)?);
    if faults.is_empty() {
        println!("{} vectors are as they should be", vectors.len());
        return Ok(());
    }
    Err(anyhow!("{} faults in testdata:\n  {}", faults.len(), faults.join("\n  ")))
}

/// What single vectors are held against
struct Rules {
    schemas: Schemas,
    schema: SchemaIndex,
    producers: Value,
    flags: BTreeSet<String>,
    codes: BTreeSet<String>,
    specification: String,
}

impl Rules {
    fn load() -> Result<Self> {
        let read = |path: &str| {
            let path = root().join(path);
            fs::read_to_string(&path)
        };
        let json = |path: &str| serde_json::from_str(&read(path)?).with_context(|| format!("{path} is not JSON"));
        let specification = read("docs/specification.md")?;
        let codes = section(&specification, "## 9. Error codes");
        let readme = read("testdata/README.md")?;
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        let failed = |error| anyhow!("the schema: {error}");
        compiler.add_resource(SCHEMA, json("testdata/schema/vector-v1.json")?).map_err(failed)?;
        let schema = compiler.compile(SCHEMA, &mut schemas).map_err(failed)?;
        Ok(Self {
            schemas,
            schema,
            producers: json("testdata/producers.json")?,
            flags: first_cells(section(&readme, "## Flags")),
            codes: first_cells(codes),
            specification,
        })
    }

    fn faults(&self, vector: &Vector) -> Vec<String> {
        let mut faults = Vec::new();
        let mut rule = |holds: bool, fault: String| {
            if !holds {
                faults.push(fault);
            }
        };
        let json = &vector.json;
        if let Err(fault) = self.schemas.validate(json, self.schema) {
            rule(false, format!("{fault:#}"));
        }
        // serde_json writes a plus before an exponent, which we leave out.
        let [text, again] = [&vector.text, &format!("{json:#}\n")].map(|text| text.replace("e+", "e"));
        rule(text == again, "not as it is written again: two spaces, one item a line, no key twice".to_owned());
        let stem = vector.name.rsplit('/').next().unwrap_or_default();
        let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
        rule(stem.chars().all(plain), "a name has a-z, 0-9 and _".to_owned());

        let flags: Vec<_> = json["flags"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        rule(flags.is_sorted_by(|a, b| a < b), "flags are sorted and stand once".to_owned());
        for flag in flags {
            rule(self.flags.contains(flag), format!("flag `{flag}` is not in README.md"));
        }
        let producer = &json["producer"];
        let known = producer["name"].as_str().map(|name| &self.producers[name]["version"]);
        rule(known == Some(&producer["version"]), format!("no such producer in producers.json: {producer}"));
        if let Some(code) = json["error"].as_str() {
            rule(self.codes.contains(code), format!("code `{code}` is not in the specification"));
        }

        let has = |field: &str| json.get(field).is_some();
        let messages = ["envelope", "envelope_base64", "envelope_pieces"].iter().filter(|field| has(field)).count();
        rule(messages == usize::from(vector.kind == "receive"), format!("{messages} messages"));
        let sends = json["given"].get("parts").is_some();
        rule(sends == (vector.kind == "send"), "`given` is of the other kind".to_owned());
        let result = json["result"].as_str().unwrap_or_default();
        let expected = match result {
            "valid" => has("expect") && !has("error"),
            "invalid" => has("error") && !has("expect"),
            _ => !has("error") && !has("expect"),
        };
        rule(expected, format!("what a {result} vector says of its outcome"));
        let placed = match vector.name.as_str() {
            name if name.starts_with("receive/valid/") => result == "valid",
            name if name.starts_with("receive/invalid/") => result != "valid",
            _ => true,
        };
        rule(placed, format!("a {result} vector in another folder"));
        let wanted = json["expect"].get(if sends { "envelope" } else { "parts" }).is_some();
        rule(wanted == has("expect"), "`expect` is of the other kind".to_owned());
        walk(json, &mut |key, value| {
            if key == "base64" || key == "envelope_base64" {
                rule(value.as_str().is_some_and(|text| STANDARD.decode(text).is_ok()), format!("{key} is no base64"));
            }
        });
        faults
    }
}

/// The text from a heading to the next
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let Some((_, rest)) = text.split_once(heading) else { return "" };
    rest.split("\n## ").next().unwrap_or_default()
}

/// The words in back quotes of each row's first cell
fn first_cells(section: &str) -> BTreeSet<String> {
    let rows = section.lines().filter_map(|line| line.strip_prefix('|')?.split('|').next());
    rows.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

/// Visits every field of every object within
fn walk(value: &Value, visit: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            visit(key, value);
            walk(value, visit);
        }),
        Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
        _ => {}
    }
}

/// Blobs are there, named by their hash, large enough to be one, and used
fn blobs(vectors: &[Vector]) -> Result<Vec<String>> {
    let mut used = BTreeMap::new();
    for vector in vectors {
        let mut find = |value: &Value| {
            if let (Some(name), Some(size)) = (value["blob"].as_str(), value["size"].as_u64()) {
                used.insert((name.to_owned(), size), vector.name.clone());
            }
        };
        find(&vector.json);
        walk(&vector.json, &mut |_, value| find(value));
    }
    let mut faults = Vec::new();
    let mut held = BTreeMap::new();
    for path in entries(&testdata().join("blobs"))? {
        let name = name_of(&path);
        let bytes = fs::read(&path)?;
        let digest = sha256(&bytes);
        if digest != name {
            faults.push(format!("blobs/{name}: its SHA-256 is {digest}"));
        }
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if size <= LARGEST_INLINE {
            faults.push(format!("blobs/{name}: {size} bytes go into the vector"));
        }
        if !used.contains_key(&(name.clone(), size)) {
            faults.push(format!("blobs/{name}: no vector uses it"));
        }
        held.insert(name, size);
    }
    for ((name, size), vector) in used {
        if held.get(&name) != Some(&size) {
            faults.push(format!("{vector}: there is no blob {name} of {size} bytes"));
        }
    }
    Ok(faults)
}

/// The specification's patterns name vectors that are there, and every vector
fn patterns(vectors: &[Vector], specification: &str) -> Vec<String> {
    let lines = specification.lines().filter_map(|line| line.strip_prefix("Vectors: "));
    let patterns: Vec<&str> = lines.flat_map(|line| line.split('`').skip(1).step_by(2)).collect();
    let dead = patterns.iter().filter(|pattern| !vectors.iter().any(|vector| skips::matches(pattern, &vector.name)));
    let dead = dead.map(|pattern| format!("docs/specification.md: no vector is named {pattern}"));
    let unnamed = vectors.iter().filter(|vector| !patterns.iter().any(|pattern| skips::matches(pattern, &vector.name)));
    let unnamed = unnamed.map(|vector| format!("{}: no section of docs/specification.md names it", vector.name));
    dead.chain(unnamed).collect()
}

/// Every skip names a peer and vectors that are there, once
fn skip_list(vectors: &[Vector]) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    for skip in skips::load()? {
        if !peers::NAMES.contains(&skip.runner.as_str()) {
            faults.push(format!("skips.json: no peer {}", skip.runner));
        }
        if !vectors.iter().any(|vector| skips::matches(&skip.vector, &vector.name)) {
            faults.push(format!("skips.json: no vector is named {}", skip.vector));
        }
        if !seen.insert((skip.runner.clone(), skip.vector.clone())) {
            faults.push(format!("skips.json: {} {} stands twice", skip.runner, skip.vector));
        }
    }
    Ok(faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_as_they_should_be() {
        lint().unwrap();
    }

    fn faults_of(change: impl Fn(&mut Value)) -> Vec<String> {
        let mut vector = load().unwrap().into_iter().find(|vector| vector.name == "receive/valid/text_ascii").unwrap();
        change(&mut vector.json);
        vector.text = format!("{:#}\n", vector.json);
        Rules::load().unwrap().faults(&vector)
    }

    #[test]
    fn rules_each_find_their_fault() {
        assert_eq!(faults_of(|_| ()), [""; 0]);
        type Change = fn(&mut Value);
        let cases: [(Change, &str); 8] = [
            (|json| json["colour"] = "red".into(), "'colour' not allowed"),
            (|json| json["schema"] = "vector-v2".into(), "/schema"),
            (|json| json["flags"] = serde_json::json!(["Link", "Empty"]), "sorted"),
            (|json| json["flags"] = serde_json::json!(["Nonsense"]), "not in README.md"),
            (|json| json["producer"]["version"] = "0".into(), "no such producer"),
            (|json| json["result"] = "invalid".into(), "says of its outcome"),
            (|json| json["envelope_base64"] = "e30=".into(), "2 messages"),
            (|json| json["links"] = serde_json::json!({"u": {"base64": "a"}}), "no base64"),
        ];
        for (change, said) in cases {
            let faults = faults_of(change);
            assert!(faults.iter().any(|fault| fault.contains(said)), "{said}: {faults:?}");
        }
    }

    #[test]
    fn pattern_or_vector_without_the_other_is_found() {
        let vectors = load().unwrap();
        let faults = patterns(&vectors, "Vectors: `receive/*`, `send/nonsense_*`, `send/[a-z]`\n");
        assert!(faults.iter().any(|fault| fault.contains("send/nonsense_*")), "{faults:?}");
        assert!(faults.iter().any(|fault| fault.starts_with("send/text_ascii: no section")), "{faults:?}");
    }
}
