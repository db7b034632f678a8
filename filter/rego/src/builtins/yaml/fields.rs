//! The fields of a mapping, as `go.yaml.in/yaml/v3` reads annotations of policies: YAML 1.2's booleans, no key twice.

use super::parse::{MOST_NESTED, Node, parse_ahead};
use super::{Decoded, Decoder, to_value};
use crate::builtins::{Budget, Call, Fault, Kept, Limit};
use crate::value::Value;

/// What stands at a key.
#[derive(Clone, Debug)]
pub(crate) enum Field {
    Null,
    /// As it is written, and what it is.
    Scalar(String, Value),
    Sequence(Vec<Field>),
    Mapping(Value),
}

/// The fields of the first document, and whether there is what is not read here: infinity, times of day. The error is the line
/// up to which it was read, from 1.
pub(crate) fn fields(text: &[u8], budget: &mut Budget) -> Result<(Vec<(String, Field)>, bool), usize> {
    let mut kept = Kept::default();
    let mut call = Call::beside(budget, &mut kept);
    let mut line = 1;
    let found = parse_ahead(&mut call, text, &mut line, 2).and_then(|tree| {
        let Some(root) = tree.root else { return Ok((Vec::new(), false)) };
        let v3 = Some(false);
        let mut decoder =
            Decoder { call: &mut call, tree: &tree, open: Vec::new(), decoded: 1, aliased: 0, v3 };
        let pairs = match tree.nodes.get(root) {
            Some(Node::Mapping(pairs)) => pairs,
            Some(Node::Scalar { text, plain: true, .. }) if is_null(text) => return Ok((Vec::new(), false)),
            _ => return Err(super::INVALID),
        };
        let mut seen = std::collections::BTreeSet::new();
        let mut fields = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            let Some(Node::Scalar { text, .. }) = tree.nodes.get(*key) else { return Err(super::INVALID) };
            if !seen.insert(text) {
                return Err(super::INVALID);
            }
            fields.push((text.clone(), decoder.field(*value, 1)?));
        }
        Ok((fields, decoder.v3 == Some(true)))
    });
    found.map_err(|_| line)
}

/// What plain text is.
pub(super) fn plain(text: &str, unread: &mut bool) -> Decoded {
    let word = || Decoded::Text(text.as_bytes().to_vec());
    match super::resolve(text) {
        Decoded::Bool(_) if !matches!(text, "true" | "True" | "TRUE" | "false" | "False" | "FALSE") => word(),
        Decoded::Float(value) if !value.is_finite() => {
            *unread = true;
            word()
        }
        Decoded::Text(_) if super::is_timestamp(text) => {
            // A day is a time too; other times are not read.
            if text.len() == "2006-01-02".len() {
                return Decoded::Text(format!("{text}T00:00:00Z").into_bytes());
            }
            *unread = true;
            word()
        }
        found => found,
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

impl Decoder<'_, '_, '_> {
    fn field(&mut self, at: usize, depth: u32) -> Result<Field, Fault> {
        if depth > MOST_NESTED {
            return Err(Fault::Limit(Limit::Depth));
        }
        self.count()?;
        Ok(match self.get(at)? {
            Node::Scalar { text, plain: true, .. } if is_null(text) => Field::Null,
            Node::Scalar { text, .. } => {
                let decoded = self.node(at, depth)?;
                Field::Scalar(text.clone(), to_value(self.call, decoded)?)
            }
            Node::Sequence(items) => {
                let mut all = Vec::with_capacity(items.len());
                for item in items {
                    all.push(self.field(*item, depth + 1)?);
                }
                Field::Sequence(all)
            }
            &Node::Alias(target) => self.follow(at, |decoder| decoder.field(target, depth + 1))?,
            Node::Mapping(_) => {
                let decoded = self.node(at, depth)?;
                if !has_text_keys(&decoded, true) {
                    return Err(super::INVALID);
                }
                Field::Mapping(to_value(self.call, decoded)?)
            }
        })
    }
}

/// Whether the keys of all mappings are texts; of the outermost one they may be any scalars.
fn has_text_keys(decoded: &Decoded, outermost: bool) -> bool {
    match decoded {
        Decoded::Sequence(items) => items.iter().all(|item| has_text_keys(item, false)),
        Decoded::Mapping(pairs) => {
            pairs.iter().all(|(k, v)| (outermost || matches!(k, Decoded::Text(_))) && has_text_keys(v, false))
        }
        _ => true,
    }
}
