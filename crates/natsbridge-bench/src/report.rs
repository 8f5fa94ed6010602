//! One line of the report: a measure, its value, what it should be, and the samples behind it.

use serde::Serialize;

/// What a value should be
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Target {
    /// This or more
    AtLeast(f64),
    /// This or less
    AtMost(f64),
}

/// Raw values, in the order in which they were taken
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Samples {
    /// What was measured, such as `natsbridge` or `raw async-nats`
    pub of: String,
    /// Unit of the values
    pub unit: String,
    /// The values
    pub values: Vec<f64>,
}

impl Samples {
    /// Values of one contender
    #[must_use]
    pub fn new(of: impl Into<String>, unit: impl Into<String>, values: Vec<f64>) -> Self {
        Self { of: of.into(), unit: unit.into(), values }
    }

    /// Seconds, shown in the unit that suits them
    #[must_use]
    pub fn times(of: impl Into<String>, seconds: &[f64]) -> Self {
        let (unit, per_second) = if seconds.iter().all(|value| *value >= 0.01) { ("ms", 1e3) } else { ("µs", 1e6) };
        Self::new(of, unit, seconds.iter().map(|value| value * per_second).collect())
    }
}

/// One line of the report
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Which table and plot it belongs to
    pub group: &'static str,
    /// What was measured
    pub measure: String,
    /// Its value
    pub value: f64,
    /// Unit of the value; that of a ratio begins with `×`
    pub unit: &'static str,
    /// What it should be, where the project has set a figure
    pub target: Option<Target>,
    /// The values behind it
    pub samples: Vec<Samples>,
}

impl Line {
    /// A line without a target
    #[must_use]
    pub fn new(group: &'static str, measure: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { group, measure: measure.into(), value, unit, target: None, samples: Vec::new() }
    }

    /// Sets what the value should be
    #[must_use]
    pub const fn target(mut self, target: Option<Target>) -> Self {
        self.target = target;
        self
    }

    /// Adds the values behind it
    #[must_use]
    pub fn samples(mut self, samples: impl IntoIterator<Item = Samples>) -> Self {
        self.samples.extend(samples);
        self
    }

    /// Whether the value is what it should be
    #[must_use]
    pub fn met(&self) -> Option<bool> {
        Some(match self.target? {
            Target::AtLeast(bound) => self.value >= bound,
            Target::AtMost(bound) => self.value <= bound,
        })
    }

    /// The line as an object of the report's array
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let (bound, target) = match self.target {
            Some(Target::AtLeast(target)) => (Some("at least"), Some(target)),
            Some(Target::AtMost(target)) => (Some("at most"), Some(target)),
            None => (None, None),
        };
        serde_json::json!({
            "measure": self.measure,
            "value": self.value,
            "unit": self.unit,
            "target": target,
            "met": self.met(),
            "bound": bound,
            "group": self.group,
            "samples": self.samples,
        })
    }
}

/// How much less time it takes than what it is compared with
pub const FASTER: &str = "× faster";
/// Its speed by the speed of what it is compared with
pub const SPEED: &str = "× the speed";
/// Its time by the time of what it is compared with
pub const TIME: &str = "× the time";

/// A size in bytes as people say it
#[must_use]
pub fn size(bytes: usize) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 if bytes.is_multiple_of(1_000) && bytes < 500_000 => format!("{} KB", bytes / 1_000),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000).replace(".0 ", " "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_is_met_only_on_its_right_side() {
        let line = Line::new("codec", "encode", 7.0, FASTER);
        assert_eq!(line.met(), None);
        assert_eq!(line.clone().target(Some(Target::AtLeast(7.0))).met(), Some(true));
        assert_eq!(line.target(Some(Target::AtMost(6.9))).met(), Some(false));
    }

    #[test]
    fn sizes_are_named_as_people_write_them() {
        let sizes = [100, 1_000, 400_000, 500_000, 10_000_000].map(size);
        assert_eq!(sizes, ["100 B", "1 KB", "400 KB", "0.5 MB", "10 MB"]);
    }
}
