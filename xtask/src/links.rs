//! Links between the project's documents: whether they lead somewhere.

use fs_err as fs;

use crate::workspace::root;

/// The targets of a document's links that lead into this checkout
pub(crate) fn of(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', ' ']).next())
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
        .collect()
}

/// Why a link of this document leads nowhere
pub(crate) fn broken(document: &str, link: &str) -> Option<String> {
    let (path, heading) = link.split_once('#').map_or((link, None), |(path, heading)| (path, Some(heading)));
    let document = root().join(document);
    let target = match path {
        "" => document,
        path => document.with_file_name("").join(path),
    };
    if !target.exists() {
        return Some(format!("{link} leads to no file"));
    }
    let heading = heading.filter(|_| target.extension().is_some_and(|end| end == "md"))?;
    let text = fs::read_to_string(&target).unwrap_or_default();
    (!headings(&text).iter().any(|there| there == heading)).then(|| format!("{link} leads to no heading"))
}

/// What a document's headings are called in links
fn headings(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        in_code ^= line.trim_start().starts_with("```");
        if in_code || !line.starts_with('#') {
            continue;
        }
        let words = line.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        let name: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        // The second of one name is numbered.
        let before = found.iter().filter(|there| **there == name).count();
        found.push(if before == 0 { name } else { format!("{name}-{before}") });
    }
    found
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Documents of a folder and of those in it
    fn documents(folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = folder.join(&name);
            let hidden = name.starts_with('.') || ["target", "node_modules"].contains(&name.as_str());
            if entry.file_type().unwrap().is_dir() && !hidden {
                documents(&path, found);
            } else if name.ends_with(".md") {
                found.push(path.to_str().unwrap().to_owned());
            }
        }
    }

    #[test]
    fn links_between_documents_lead_somewhere() {
        let mut all = Vec::new();
        documents(Path::new(""), &mut all);
        assert!(all.len() > 8, "only {} documents", all.len());
        let mut faults = Vec::new();
        for document in all {
            let text = fs::read_to_string(root().join(&document)).unwrap();
            // The plots come with the first run of `cargo xtask bench --docs`, and the page says so.
            let links = of(&text).into_iter().filter(|link| !link.starts_with("benchmarks/"));
            let broken = links.filter_map(|link| broken(&document, link));
            faults.extend(broken.map(|fault| format!("{document}: {fault}")));
        }
        assert!(faults.is_empty(), "\n  {}", faults.join("\n  "));
    }

    #[test]
    fn links_into_the_checkout_are_found_and_others_are_not() {
        let text = "[a](b.md), ![c](d/e.svg \"title\"), [f](https://example.org/x), [g](#here)";
        assert_eq!(of(text), ["b.md", "d/e.svg", "#here"]);
    }

    #[test]
    fn heading_anchor_is_the_one_used_in_links() {
        let text = "# How it is *built*\n```sh\n# no heading\n```\n## `AC-001`, and more\n## Again\n## Again\n";
        assert_eq!(headings(text), ["how-it-is-built", "ac-001-and-more", "again", "again-1"]);
    }
}
