//! The flows of a watched subject: counted by subject, shown as a table of 80 columns, a line, or JSON.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::Passed;
use crate::listing::COLUMNS;
use crate::{output, units};

/// Subjects that are told apart; the messages of later ones are counted together, so that memory is bounded
const MAX_SUBJECTS: usize = 10_000;

/// Rows of the table: it fits a terminal of 24 lines
const ROWS: usize = 15;

/// Latencies of one second that are kept for their middle
const MAX_LATENCIES: usize = 1_024;

/// What passed on one subject
#[derive(Debug, Default)]
struct Flow {
    messages: u64,
    bytes: u64,
    direct: u64,
    links: u64,
    /// In this second
    now: Second,
}

#[derive(Debug, Default)]
struct Second {
    messages: u64,
    bytes: u64,
    latencies: Vec<Duration>,
}

impl Flow {
    fn note(&mut self, passed: &Passed) {
        self.messages += 1;
        self.bytes += passed.bytes;
        self.direct += passed.direct;
        self.links += passed.links;
        self.now.messages += 1;
        self.now.bytes += passed.bytes;
        if self.now.latencies.len() < MAX_LATENCIES {
            self.now.latencies.extend(passed.latency);
        }
    }

    /// The middle one of this second's latencies
    fn latency(&self) -> Option<Duration> {
        let mut latencies = self.now.latencies.clone();
        latencies.sort_unstable();
        latencies.get(latencies.len() / 2).copied()
    }

    fn row(&self, name: &str) -> String {
        let mean = self.bytes / self.messages.max(1);
        let latency = self.latency().map_or_else(|| "-".to_owned(), shown);
        let (rate, volume) = (self.now.messages, units::shown(self.now.bytes));
        format!(
            "{}  {:>8}  {rate:>6}  {volume:>8}  {:>8}  {:>6}  {:>5}  {latency:>6}",
            output::cell(&output::harmless(name), 19),
            self.messages,
            units::shown(mean),
            self.direct,
            self.links
        )
    }

    fn to_json(&self) -> Json {
        json!({
            "messages": self.messages,
            "bytes": self.bytes,
            "direct": self.direct,
            "links": self.links,
            "messages_a_second": self.now.messages,
            "bytes_a_second": self.now.bytes,
            "latency_us": self.latency().map(|latency| u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)),
        })
    }
}

/// A time in at most six columns
fn shown(time: Duration) -> String {
    match time.as_millis() {
        0 => "<1 ms".to_owned(),
        millis @ 1..1_000 => format!("{millis} ms"),
        1_000..1_000_000 => format!("{} s", time.as_secs()),
        _ => format!("{} h", (time.as_secs() / 3_600).min(9_999)),
    }
}

/// Everything that passed
#[derive(Debug, Default)]
pub(super) struct Flows {
    all: Flow,
    subjects: HashMap<String, Flow>,
    others: Flow,
    /// Messages that can't be read
    pub(super) unread: u64,
}

impl Flows {
    pub(super) fn note(&mut self, subject: &str, passed: &Passed) {
        self.all.note(passed);
        if let Some(flow) = self.subjects.get_mut(subject) {
            flow.note(passed);
        } else if self.subjects.len() < MAX_SUBJECTS {
            self.subjects.entry(subject.to_owned()).or_default().note(passed);
        } else {
            self.others.note(passed);
        }
    }

    /// Begins to count anew what is told by the second
    pub(super) fn next_second(&mut self) {
        for flow in self.subjects.values_mut().chain([&mut self.all, &mut self.others]) {
            flow.now = Second::default();
        }
    }

    /// Subjects by how many messages they have, the busiest first
    fn busiest(&self) -> Vec<(&str, &Flow)> {
        let mut flows: Vec<_> = self.subjects.iter().map(|(subject, flow)| (&**subject, flow)).collect();
        flows.sort_by(|(name, flow), (other, than)| than.messages.cmp(&flow.messages).then_with(|| name.cmp(other)));
        flows
    }

    pub(super) fn to_table(&self, missing: u64, repeated: u64) -> Vec<String> {
        let style = output::stdout_style();
        let flows = self.busiest();
        let mut lines = vec![style.dim(&format!(
            "{:<19}  {:>8}  {:>6}  {:>8}  {:>8}  {:>6}  {:>5}  {:>6}",
            "subject", "messages", "msg/s", "per s", "mean", "direct", "link", "delay"
        ))];
        lines.extend(flows.iter().take(ROWS).map(|(subject, flow)| flow.row(subject)));
        if flows.len() > ROWS || self.others.messages > 0 {
            lines.push(style.dim(&format!("and {} more subjects", flows.len().saturating_sub(ROWS))));
        }
        lines.push(style.bold(&self.all.row("all")));
        let rest = format!("missing {missing}, repeated {repeated}, unreadable {}", self.unread);
        lines.push(output::cut(&rest, COLUMNS));
        lines
    }

    pub(super) fn to_line(&self, missing: u64) -> String {
        let Flow { messages, direct, links, now, .. } = &self.all;
        let latency = self.all.latency().map_or_else(|| "-".to_owned(), shown);
        format!(
            "{messages} messages, {} msg/s, {}/s, direct {direct}, link {links}, delay {latency}, missing {missing}",
            now.messages,
            units::shown(now.bytes)
        )
    }

    pub(super) fn to_json(&self) -> Json {
        let mut line = self.all.to_json();
        if let Json::Object(fields) = &mut line {
            fields.insert("unreadable".to_owned(), self.unread.into());
            let subjects = self.busiest().into_iter().map(|(subject, flow)| (subject.to_owned(), flow.to_json()));
            fields.insert("subjects".to_owned(), Json::Object(subjects.collect()));
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr as _;

    use super::*;

    #[test]
    fn busiest_table_fits_the_terminal() {
        let mut flows = Flows::default();
        let latency = Some(Duration::from_secs(999));
        for n in 0..40 {
            let name = format!("{n}.{}", "世界\u{1b}.".repeat(20));
            flows.note(&name, &Passed { bytes: 999_900_000, direct: 999_999, links: 9_999, latency });
        }
        let mut all = Flow { messages: 99_999_999, ..Flow::default() };
        std::mem::swap(&mut flows.all, &mut all);
        let lines = flows.to_table(u64::MAX, u64::MAX);
        assert_eq!(lines.len(), ROWS + 4);
        for line in lines {
            assert!(line.width() <= COLUMNS && !line.contains('\u{1b}'), "{} {line}", line.width());
        }
    }

    #[test]
    fn rates_start_again_each_second_and_totals_go_on() {
        let mut flows = Flows::default();
        let passed = |millis| Passed { bytes: 10, direct: 1, links: 0, latency: Some(Duration::from_millis(millis)) };
        for millis in [1, 2, 100] {
            flows.note("a", &passed(millis));
        }
        assert_eq!(flows.to_json()["subjects"]["a"]["latency_us"], 2_000);
        flows.next_second();
        flows.note("a", &passed(5));
        let json = flows.to_json();
        assert_eq!((&json["messages"], &json["messages_a_second"], &json["bytes"]), (&json!(4), &json!(1), &json!(40)));
    }
}
