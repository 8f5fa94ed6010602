//! `docs/benchmarks.md`: the results between its marks are written anew, its own words stay; and the plots.

use std::path::Path;

use anyhow::{Context as _, Result};
use fs_err as fs;
use serde_json::Value;

use super::charts;
use super::table::{shown, target};
use crate::workspace::between;

/// Writes the page's results and the plots
pub(crate) fn write(docs: &Path, report: &[Value]) -> Result<()> {
    let page = docs.join("benchmarks.md");
    let text = fs::read_to_string(&page)?;
    let text = replaced(&text, "facts", &facts(report)?)?;
    let text = replaced(&text, "targets", &lines(report.iter().filter(|line| line["target"].is_number())))?;
    let text = replaced(&text, "others", &lines(report.iter().filter(|line| !line["target"].is_number())))?;
    fs::write(&page, text)?;

    let folder = docs.join("benchmarks");
    fs::create_dir_all(&folder)?;
    for (name, chart) in charts::all(report) {
        let file = folder.join(name).with_extension("svg");
        fs::write(&file, chart.svg())?;
    }
    println!("written: {} and the plots in {}", page.display(), folder.display());
    Ok(())
}

/// The page with other content between the marks of this name
fn replaced(page: &str, name: &str, content: &str) -> Result<String> {
    let [begin, end] =
        [format!("<!-- {name}: written by cargo xtask bench --docs -->\n"), format!("<!-- end of {name} -->")];
    between(page, &begin, &end, content).with_context(|| format!("docs/benchmarks.md lost its marks for `{name}`"))
}

/// Where and when it was measured, which a report read from a file says as well
fn facts(report: &[Value]) -> Result<String> {
    let facts = report.iter().find_map(|line| line["facts"].as_object());
    let facts =
        facts.context("the report does not say where it was taken; take it with `cargo xtask bench --json FILE`")?;
    let mut text = "| | |\n|---|---|\n".to_owned();
    for (name, fact) in facts {
        text.push_str(&format!("| {name} | {} |\n", fact.as_str().unwrap_or_default()));
    }
    Ok(text)
}

fn lines<'a>(lines: impl Iterator<Item = &'a Value>) -> String {
    let mut text = "| measure | value | target | met |\n|---|---:|---:|---|\n".to_owned();
    for line in lines {
        let met = match line["met"].as_bool() {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "",
        };
        let [measure, unit] = ["measure", "unit"].map(|key| line[key].as_str().unwrap_or_default());
        text.push_str(&format!(
            "| {measure} | {} {unit} | {} | {met} |\n",
            shown(line["value"].as_f64()),
            target(line)
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_changes_between_its_marks_only() {
        let page = "before\n<!-- facts: written by cargo xtask bench --docs -->\nold\n<!-- end of facts -->\nafter\n";
        let new = replaced(page, "facts", "new\n").unwrap();
        assert_eq!(new, page.replace("old", "new"));
        assert!(replaced(page, "targets", "").is_err());
    }

    #[test]
    fn facts_come_from_the_report_whenever_it_was_taken() {
        let run = serde_json::json!({"measure": "the whole run", "facts": {"date": "2026-01-02", "cores": "2"}});
        let page = facts(&[serde_json::json!({"measure": "encode"}), run]).unwrap();
        assert!(page.contains("| date | 2026-01-02 |") && page.contains("| cores | 2 |"), "{page}");
        assert!(facts(&[]).unwrap_err().to_string().contains("--json FILE"));
    }

    #[test]
    fn page_in_the_checkout_has_its_marks() {
        let page = fs::read_to_string(crate::workspace::root().join("docs/benchmarks.md")).unwrap();
        for name in ["facts", "targets", "others"] {
            replaced(&page, name, "").unwrap();
        }
    }
}
