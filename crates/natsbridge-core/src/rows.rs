//! The rows of a table as JSON objects.

use serde_json::{Map, Value as Json};

/// The rows of a `jsontable`: JSON objects, in order; an Arrow table is a `Table`
///
/// Keys keep the order in which they came.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows(Vec<Map<String, Json>>);

impl Rows {
    /// A table of these rows; rows may lack columns that others have
    #[must_use]
    pub const fn new(rows: Vec<Map<String, Json>>) -> Self {
        Self(rows)
    }

    /// Column names in the order in which rows first name them (specification, section 3)
    #[must_use]
    pub fn columns(&self) -> Vec<&str> {
        let mut seen = std::collections::HashSet::new();
        let names = self.0.iter().flat_map(Map::keys).map(String::as_str);
        names.filter(|name| seen.insert(*name)).collect()
    }

    /// The rows in order
    #[must_use]
    pub fn as_slice(&self) -> &[Map<String, Json>] {
        &self.0
    }

    /// Consumes the table and returns its rows in order
    #[must_use]
    pub fn into_vec(self) -> Vec<Map<String, Json>> {
        self.0
    }

    /// The number of rows
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no rows
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Vec<Map<String, Json>>> for Rows {
    fn from(rows: Vec<Map<String, Json>>) -> Self {
        Self(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_come_in_first_seen_order() {
        let rows: Vec<Map<String, Json>> = serde_json::from_str(r#"[{"b":1},{"a":2,"b":3},{"c":4}]"#).unwrap();
        assert_eq!(Rows::new(rows).columns(), ["b", "a", "c"]);
    }
}
