//! The part of JSON Schema that `testdata/schema/` uses; a keyword that is not known here is a failure, never ignored.

use serde_json::Value;

/// Keywords that say something to people only
const REMARKS: [&str; 6] = ["$schema", "$id", "$defs", "title", "description", "comment"];

/// Says where `value` is not as the schema wants it
pub(super) fn check(root: &Value, value: &Value) -> Result<(), String> {
    against(root, root, value, "")
}

fn against(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let Some(keywords) = schema.as_object() else { return Err(format!("{at}: the schema is no object")) };
    for (keyword, wanted) in keywords {
        let holds = match keyword.as_str() {
            "$ref" => {
                let target = wanted.as_str().and_then(|target| target.strip_prefix("#/$defs/"));
                let target = target.and_then(|name| root["$defs"].get(name));
                against(root, target.ok_or_else(|| format!("no such definition: {wanted}"))?, value, at)?;
                true
            }
            "oneOf" => {
                let outcomes: Vec<_> = list(wanted).iter().map(|one| against(root, one, value, at)).collect();
                match outcomes.iter().filter(|outcome| outcome.is_ok()).count() {
                    1 => true,
                    0 => return Err(format!("{at}: none of {}", reasons(&outcomes))),
                    _ => return Err(format!("{at}: more than one form fits")),
                }
            }
            "type" => match wanted {
                Value::Array(kinds) => kinds.iter().any(|kind| is(kind, value)),
                kind => is(kind, value),
            },
            "const" => value == wanted,
            "enum" => list(wanted).contains(value),
            "required" => list(wanted).iter().filter_map(Value::as_str).all(|key| value.get(key).is_some()),
            "minLength" => number(wanted) <= length(value),
            "maxLength" => number(wanted) >= length(value),
            "minItems" => number(wanted) <= value.as_array().map_or(u64::MAX, |items| count(items.len())),
            "minimum" => value.as_f64() >= wanted.as_f64(),
            "maximum" => value.as_f64() <= wanted.as_f64(),
            "properties" => {
                for (key, schema) in wanted.as_object().into_iter().flatten() {
                    if let Some(value) = value.get(key) {
                        against(root, schema, value, &format!("{at}/{key}"))?;
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = schema["properties"].as_object();
                let others = value.as_object().into_iter().flatten();
                let mut others = others.filter(|(key, _)| known.is_none_or(|known| !known.contains_key(*key)));
                match wanted {
                    Value::Bool(false) => match others.next() {
                        Some((key, _)) => return Err(format!("{at}: `{key}` is no field of it")),
                        None => true,
                    },
                    schema => {
                        others.try_for_each(|(key, value)| against(root, schema, value, &format!("{at}/{key}")))?;
                        true
                    }
                }
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    against(root, wanted, item, &format!("{at}/{index}"))?;
                }
                true
            }
            remark if REMARKS.contains(&remark) => true,
            other => return Err(format!("the schema uses `{other}`, which the linter does not know")),
        };
        if !holds {
            return Err(format!("{at}: not as `{keyword}` wants it: {wanted}"));
        }
    }
    Ok(())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn reasons(outcomes: &[Result<(), String>]) -> String {
    let reasons: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err().map(String::as_str)).collect();
    format!("the forms fits ({})", reasons.join("; "))
}

fn is(kind: &Value, value: &Value) -> bool {
    match kind.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("null") => value.is_null(),
        _ => false,
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(u64::MAX)
}

/// Characters of a string; keywords about strings hold for everything else
fn length(value: &Value) -> u64 {
    value.as_str().map_or(u64::MAX, |text| count(text.chars().count()))
}

fn count(items: usize) -> u64 {
    u64::try_from(items).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_schema_does_not_allow_is_named_with_its_place() {
        let schema = json!({
            "type": "object", "required": ["a"], "additionalProperties": false,
            "properties": {"a": {"type": "array", "items": {"$ref": "#/$defs/word"}}, "b": {"oneOf": [{"const": 1}, {"type": "null"}]}},
            "$defs": {"word": {"type": "string", "minLength": 2}},
        });
        for good in [json!({"a": []}), json!({"a": ["xy"], "b": null}), json!({"a": ["éé"], "b": 1})] {
            assert_eq!(check(&schema, &good), Ok(()), "{good}");
        }
        for (bad, place) in [
            (json!([]), ": not as `type`"),
            (json!({}), ": not as `required`"),
            (json!({"a": ["x"]}), "/a/0: not as `minLength`"),
            (json!({"a": [], "c": 1}), "`c` is no field"),
            (json!({"a": [], "b": 2}), "/b: none of"),
        ] {
            let said = check(&schema, &bad).unwrap_err();
            assert!(said.contains(place), "{bad}: {said}");
        }
        assert!(check(&json!({"pattern": "x"}), &json!("x")).unwrap_err().contains("does not know"));
    }
}
