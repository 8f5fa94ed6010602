//! The report as a table for the terminal, 80 columns wide.

use serde_json::Value;

/// Columns of a measure's name
const NAME: usize = 49;

/// The whole report; what has a target comes first
pub(crate) fn of(report: &[Value]) -> String {
    let (aimed, rest): (Vec<&Value>, Vec<&Value>) = report.iter().partition(|line| line["target"].is_number());
    let met = aimed.iter().filter(|line| line["met"] == true).count();
    let mut text = String::new();
    section(&mut text, "measures with a target (medians)", &aimed);
    section(&mut text, "other measures", &rest);
    text.push_str(&format!("\n{met} of {} targets met\n", aimed.len()));
    for line in aimed.iter().filter(|line| line["met"] == false) {
        text.push_str(&format!("not met: {}\n", wrapped(line["measure"].as_str().unwrap_or_default()).join("\n")));
    }
    text
}

fn section(text: &mut String, title: &str, lines: &[&Value]) {
    text.push_str(&format!("\n{title:<NAME$}{:>17}{:>9}{:>5}\n", "value", "target", "met"));
    for line in lines {
        let name = wrapped(line["measure"].as_str().unwrap_or_default());
        let value = format!("{} {}", shown(line["value"].as_f64()), short(line["unit"].as_str().unwrap_or_default()));
        let target = target(line);
        let met = match line["met"].as_bool() {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "",
        };
        let (last, before) = name.split_last().map_or(("", [].as_slice()), |(last, before)| (last.as_str(), before));
        for part in before {
            text.push_str(part);
            text.push('\n');
        }
        text.push_str(format!("{last:<NAME$}{value:>17}{target:>9}{met:>5}").trim_end());
        text.push('\n');
    }
}

/// What a value should be, such as `≥ 0.80`
pub(crate) fn target(line: &Value) -> String {
    match (line["bound"].as_str(), line["target"].as_f64()) {
        (Some("at most"), Some(target)) => format!("≤ {}", plain(target)),
        (_, Some(target)) => format!("≥ {}", plain(target)),
        _ => String::new(),
    }
}

/// Three significant digits
pub(crate) fn shown(value: Option<f64>) -> String {
    match value {
        None => "?".to_owned(),
        Some(value) if value.abs() >= 10_000.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 99.95 => format!("{value:.0}"),
        Some(value) if value.abs() >= 9.995 => format!("{value:.1}"),
        Some(value) if value != 0.0 && value.abs() < 0.0995 => format!("{value:.4}"),
        Some(value) => format!("{value:.2}"),
    }
}

fn plain(value: f64) -> String {
    format!("{value}")
}

fn short(unit: &str) -> &str {
    match unit {
        "allocations" => "allocs",
        unit => unit,
    }
}

/// The name in lines that leave room for the next column, broken between words and indented from the second on
fn wrapped(name: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in name.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() < NAME => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) => lines.push(format!("  {word}")),
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn table_fits_the_terminal_and_names_missed_targets() {
        let name = "publish 10 KB by 64 connections, against raw async-nats, which is a long name to fit in a column";
        let report = [
            json!({"measure": name, "value": 0.785, "unit": "× the speed", "target": 0.8, "bound": "at least", "met": false}),
            json!({"measure": "encode", "value": 12345.6, "unit": "allocations per thing", "target": null, "met": null}),
        ];
        let table = of(&report);
        assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
        assert!(table.contains("≥ 0.8") && table.contains("NO") && table.contains("0 of 1 targets met"), "{table}");
    }

    #[test]
    fn values_have_three_digits() {
        let values = [0.001_23, 0.787_4, 7.0, 12.34, 123.4, 123_456.7].map(|value| shown(Some(value)));
        assert_eq!(values, ["0.0012", "0.79", "7.00", "12.3", "123", "123457"]);
    }
}
