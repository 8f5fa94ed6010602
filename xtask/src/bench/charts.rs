//! Which measures stand in which chart, and what each chart tells.

use serde_json::Value;

use super::chart::{Bar, Chart, Row, plain};
use super::table::shown;

/// Every chart with its file's name; one without measures is left out
pub(crate) fn all(report: &[Value]) -> Vec<(&'static str, Chart)> {
    let charts = [
        ("codec", codec(report)),
        ("throughput", throughput(report)),
        ("latency", latency(report)),
        ("links", links(report)),
        ("languages", languages(report)),
        ("memory", memory(report)),
    ];
    charts.into_iter().filter(|(_, chart)| !chart.rows.is_empty()).collect()
}

fn codec(report: &[Value]) -> Chart {
    let mut rows: Vec<Row> = Vec::new();
    for line in in_group(report, "codec") {
        let Some((verb, message)) = name(line).trim_end_matches(", against the textbook path").split_once(' ') else {
            continue;
        };
        let wanted = message.contains("10 KB") || message.ends_with(" binary") || message == "mixed message";
        let series = if verb == "encode" { 0 } else { 1 };
        if wanted {
            let text = format!("{} ×", shown(line["value"].as_f64()));
            let bar = Bar { series, value: value(line), range: ratios(line), text, target: line["target"].as_f64() };
            match rows.iter_mut().find(|row| row.label == message) {
                Some(row) => row.bars.push(bar),
                None => rows.push(Row { label: message.to_owned(), bars: vec![bar] }),
            }
        }
    }
    Chart {
        title: "A message is encoded and decoded several times faster than the textbook way",
        subtitle: "How many times faster than base64 into a string and serde_json with derived structs; longer is better",
        series: vec!["encode", "decode"],
        rows,
        logarithmic: None,
    }
}

fn throughput(report: &[Value]) -> Chart {
    let rows = in_group(report, "throughput").map(|line| {
        let rate = median(&samples(line, "natsbridge").1);
        let text = format!("{} ({}/s)", shown(line["value"].as_f64()), thousands(rate));
        let bar = Bar { series: 0, value: value(line), range: ratios(line), text, target: line["target"].as_f64() };
        Row { label: name(line).trim_end_matches(", against raw async-nats").to_owned(), bars: vec![bar] }
    });
    Chart {
        title: "What is left of raw NATS' throughput with envelopes, identifiers and checks",
        subtitle: "Messages per second by those of raw async-nats with the same bytes; 1 is no loss, longer is better",
        series: vec!["natsbridge"],
        rows: rows.collect(),
        logarithmic: None,
    }
}

fn latency(report: &[Value]) -> Chart {
    let rows = in_group(report, "latency").map(|line| {
        let label = label(line).replace("acknowledged delivery", "delivery");
        timed_row(line, &label, &[("natsbridge", 0), ("raw async-nats", 1), ("raw request-reply", 1)])
    });
    Chart {
        title: "How long one message takes, alone on the way",
        subtitle: "From before the send to the value in the receiver's hands; each step is ten times longer, shorter is better",
        series: vec!["natsbridge", "raw async-nats (delivery: request-reply)"],
        rows: rows.collect(),
        logarithmic: Some(axis_time),
    }
}

fn links(report: &[Value]) -> Chart {
    let series = [("natsbridge", 0), ("Object Store", 1), ("curl", 2), ("SHA-256 alone", 3)];
    let rows = in_group(report, "links").map(|line| timed_row(line, label(line), &series));
    Chart {
        title: "Large payloads by link, through the embedded file server",
        subtitle: "From before the send to verified bytes; each step is ten times longer, shorter is better",
        series: series.map(|(name, _)| name).to_vec(),
        rows: rows.collect(),
        logarithmic: Some(axis_time),
    }
}

fn languages(report: &[Value]) -> Chart {
    let mut rows: Vec<Row> = Vec::new();
    for line in in_group(report, "languages") {
        let row = timed_row(line, label(line), &[("Rust", 0), ("Node", 1), ("Python", 2)]);
        match rows.iter_mut().find(|row| row.label == label(line)) {
            // Rust's own bar is there already.
            Some(there) => there.bars.extend(row.bars.into_iter().filter(|bar| bar.series > 0)),
            None => rows.push(row),
        }
    }
    Chart {
        title: "The same message in three languages",
        subtitle: "Time of one call with 10 KB of bytes; each step is ten times longer, shorter is better",
        series: vec!["Rust", "Node", "Python"],
        rows,
        logarithmic: Some(axis_time),
    }
}

fn memory(report: &[Value]) -> Chart {
    let rows = in_group(report, "peak memory").map(|line| {
        let bars = ["natsbridge", "raw async-nats", "raw request-reply", "Object Store"].into_iter().filter_map(|of| {
            let (_, values) = samples(line, of);
            let value = (!values.is_empty()).then(|| median(&values))?;
            let text = format!("{value:.0} MiB");
            Some(Bar { series: usize::from(of != "natsbridge"), value, range: None, text, target: None })
        });
        let mut bars: Vec<Bar> = bars.collect();
        if bars.is_empty() {
            let text = format!("{:.0} MiB", value(line));
            bars.push(Bar { series: 0, value: value(line), range: None, text, target: None });
        }
        Row { label: name(line).split(" (").next().unwrap_or_default().to_owned(), bars }
    });
    Chart {
        title: "Memory of the whole process, sender and receiver together",
        subtitle: "Most resident memory at any time; each step is ten times more, shorter is better",
        series: vec!["natsbridge", "what it is compared with"],
        rows: rows.collect(),
        logarithmic: Some(axis_memory),
    }
}

/// A row of times in µs or ms: one bar for each series that has samples
fn timed_row(line: &Value, label: &str, series: &[(&str, usize)]) -> Row {
    let bars = series.iter().filter_map(|(of, series)| {
        let (unit, values) = samples(line, of);
        let micros: Vec<f64> = values.iter().map(|value| if unit == "ms" { value * 1e3 } else { *value }).collect();
        let value = (!micros.is_empty()).then(|| median(&micros))?;
        Some(Bar { series: *series, value, range: spread(&micros), text: duration(value), target: None })
    });
    Row { label: label.to_owned(), bars: bars.collect() }
}

/// Microseconds as people say them
fn duration(micros: f64) -> String {
    if micros >= 1e3 { format!("{} ms", shown(Some(micros / 1e3))) } else { format!("{} µs", shown(Some(micros))) }
}

fn axis_time(micros: f64) -> String {
    match micros {
        1e6.. => format!("{} s", plain(micros / 1e6)),
        1e3.. => format!("{} ms", plain(micros / 1e3)),
        _ => format!("{} µs", plain(micros)),
    }
}

fn axis_memory(mib: f64) -> String {
    format!("{} MiB", plain(mib))
}

fn in_group<'a>(report: &'a [Value], group: &'a str) -> impl Iterator<Item = &'a Value> {
    report.iter().filter(move |line| line["group"] == group)
}

fn name(line: &Value) -> &str {
    line["measure"].as_str().unwrap_or_default()
}

/// The name without what it is compared with
fn label(line: &Value) -> &str {
    name(line).split(", against").next().unwrap_or_default()
}

fn value(line: &Value) -> f64 {
    line["value"].as_f64().unwrap_or_default()
}

/// The unit and the values of one contender
fn samples<'a>(line: &'a Value, of: &str) -> (&'a str, Vec<f64>) {
    let samples = line["samples"].as_array().into_iter().flatten().find(|samples| samples["of"] == of);
    samples.map_or(("", Vec::new()), |samples| (samples["unit"].as_str().unwrap_or_default(), values(samples)))
}

fn values(samples: &Value) -> Vec<f64> {
    samples["values"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}

/// Lowest and highest of a line's ratios, round by round, whichever way they were formed
fn ratios(line: &Value) -> Option<(f64, f64)> {
    let [ours, other, ..] = line["samples"].as_array()?.as_slice() else { return None };
    let (ours, other) = (values(ours), values(other));
    let by = |of: &[f64], by: &[f64]| of.iter().zip(by).map(|(of, by)| of / by).collect::<Vec<_>>();
    let [direct, inverse] = [by(&ours, &other), by(&other, &ours)];
    let near = |ratios: &[f64]| (median(ratios) - value(line)).abs();
    spread(if near(&direct) <= near(&inverse) { &direct } else { &inverse })
}

fn spread(values: &[f64]) -> Option<(f64, f64)> {
    let low = values.iter().copied().min_by(f64::total_cmp)?;
    let high = values.iter().copied().max_by(f64::total_cmp)?;
    (values.len() > 1).then_some((low, high))
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = |at: usize| sorted.get(at).copied().unwrap_or_default();
    match sorted.len() {
        0 => f64::INFINITY,
        n if n % 2 == 1 => middle(n / 2),
        n => middle(n / 2 - 1).midpoint(middle(n / 2)),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let first = digits.len() % 3;
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && place % 3 == first {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ratio_spread_is_formed_the_way_the_ratio_was() {
        let line =
            |value: f64| json!({"value": value, "samples": [{"values": [1.0, 1.0, 1.0]}, {"values": [2.0, 4.0, 5.0]}]});
        assert_eq!(ratios(&line(4.0)), Some((2.0, 5.0)));
        assert_eq!(ratios(&line(0.25)), Some((0.2, 0.5)));
    }

    #[test]
    fn chart_has_the_bars_of_its_measures_or_is_left_out_if_empty() {
        let samples =
            json!([{"of": "Rust", "unit": "µs", "values": [3.0]}, {"of": "Node", "unit": "ms", "values": [0.02]}]);
        let line =
            json!({"group": "languages", "measure": "smartsend, against Node", "value": 6.7, "samples": samples});
        let charts = all(&[line]);
        let [(name, chart)] = charts.as_slice() else { panic!("{} charts", charts.len()) };
        let texts: Vec<&str> = chart.rows[0].bars.iter().map(|bar| bar.text.as_str()).collect();
        assert_eq!((*name, texts), ("languages", vec!["3.00 µs", "20.0 µs"]));
    }

    #[test]
    fn memory_of_every_measure_is_named_in_full() {
        let measure = "send and receive 100,000 messages of 1 KB, sender alone (raw async-nats: 22 MiB)";
        let line = json!({"group": "peak memory", "measure": measure, "value": 1.0});
        assert_eq!(memory(&[line]).rows[0].label, "send and receive 100,000 messages of 1 KB, sender alone");
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([999.0, 1_000.0, 123_456.0].map(thousands), ["999", "1,000", "123,456"]);
    }
}
