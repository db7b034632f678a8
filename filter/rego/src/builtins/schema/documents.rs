//! Where references lead: parts of the schema, and the drafts' own schemas. Source: schemaPool.go, jsonLoader.go, pointer.go.

use super::drafts::{self, Draft};
use super::reference::Reference;
use super::{Trouble, said};
use crate::builtins::encoding::unescape;
use crate::builtins::{Call, Fault};
use crate::value::{Object, Str, Value, lossy};
use std::collections::BTreeMap;
use std::rc::Rc;

/// What a URL means.
#[derive(Clone)]
pub(super) struct Document {
    pub(super) value: Value,
    pub(super) draft: Option<Draft>,
}

/// Documents by URL.
#[derive(Default)]
pub(super) struct Documents(BTreeMap<Vec<u8>, Document>);

/// A URL that OPA does not understand has no meaning here either; everything else ends the call.
fn known<T>(result: Result<T, Trouble>) -> Result<Option<T>, Trouble> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Trouble::Url) => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

fn shown(text: &[u8]) -> String {
    lossy(text).into_owned()
}

impl Documents {
    /// Takes a document in under its own URL and those that parts of it have; answers it with each reference in it made
    /// absolute, and its draft.
    pub(super) fn add(
        &mut self,
        call: &mut Call<'_>,
        value: &Value,
        url: &Reference,
    ) -> Result<Document, Trouble> {
        let draft = drafts::of_document(value)?;
        let value = self.absolute(call, value, url, draft)?;
        let document = Document { value, draft };
        self.0.insert(url.to_text(), document.clone());
        Ok(document)
    }

    fn absolute(
        &mut self,
        call: &mut Call<'_>,
        value: &Value,
        url: &Reference,
        draft: Option<Draft>,
    ) -> Result<Value, Trouble> {
        call.room(1)?;
        match value {
            Value::Array(items) => {
                let items = items.iter().map(|item| self.absolute(call, item, url, draft));
                let items = items.collect::<Result<_, _>>()?;
                Ok(Value::array(items).map_err(Fault::from)?)
            }
            Value::Object(object) => self.absolute_object(call, object, url, draft),
            scalar => Ok(scalar.clone()),
        }
    }

    fn absolute_object(
        &mut self,
        call: &mut Call<'_>,
        object: &Object,
        url: &Reference,
        draft: Option<Draft>,
    ) -> Result<Value, Trouble> {
        let own = self.own_url(call, object, url)?;
        let url = own.as_ref().unwrap_or(url);
        // Taken before what is in it, as others may not have it.
        let name = own.is_some().then(|| url.to_text());
        if let Some(name) = &name {
            if self.0.contains_key(name) {
                return Err(said(format!("Reference already exists: \"{}\"", shown(name))));
            }
            self.0.insert(name.clone(), Document { value: Value::Null, draft });
        }
        let mut pairs = Vec::with_capacity(object.len());
        for (key, value) in object.iter() {
            let value = match (key.as_bytes().unwrap_or_default(), value) {
                (b"$ref", Value::String(text)) => absolute_reference(call, text, url)?,
                (b"const" | b"enum", value) => value.clone(),
                // Names of these are not those of schemas.
                (b"properties" | b"dependencies" | b"patternProperties", value) => match value {
                    Value::Object(object) => {
                        let mut pairs = Vec::with_capacity(object.len());
                        for (key, value) in object.iter() {
                            pairs.push((key.clone(), self.absolute(call, value, url, draft)?));
                        }
                        sorted(pairs)?
                    }
                    value => value.clone(),
                },
                (_, value) => self.absolute(call, value, url, draft)?,
            };
            pairs.push((key.clone(), value));
        }
        let value = sorted(pairs)?;
        if let Some(name) = name {
            self.0.insert(name, Document { value: value.clone(), draft });
        }
        Ok(value)
    }

    /// The URL that an object gives itself.
    #[inline(never)]
    fn own_url(
        &self,
        call: &mut Call<'_>,
        object: &Object,
        url: &Reference,
    ) -> Result<Option<Reference>, Trouble> {
        let id = object.get_str(b"id").or_else(|| object.get_str(b"$id"));
        let Some(Value::String(id)) = id else { return Ok(None) };
        count(call, id, url)?;
        let Some(id) = known(Reference::parse(id.as_bytes()))? else { return Ok(None) };
        known(url.resolve(&id))
    }

    /// What a reference leads to.
    pub(super) fn get(&mut self, call: &mut Call<'_>, reference: &Reference) -> Result<Document, Trouble> {
        let name = reference.to_text();
        call.step(name.len() / 8 + 16)?;
        if let Some(document) = self.0.get(&name) {
            return Ok(document.clone());
        }
        let base = reference.without_fragment();
        let base_name = base.to_text();
        if let Some(whole) = self.0.get(&base_name) {
            let value = pointed(call, &whole.value, reference)?;
            let document = Document { value, draft: whole.draft };
            call.bytes(name.len() + 64)?;
            self.0.insert(name, document.clone());
            return Ok(document);
        }
        if !reference.is_canonical() {
            return Err(said(format!("Reference {} must be canonical", shown(&name))));
        }
        let loaded = load(call, &base, &base_name)?;
        let whole = self.add(call, &loaded, &base)?;
        let value = pointed(call, &whole.value, reference)?;
        Ok(Document { value, draft: whole.draft })
    }
}

fn sorted(pairs: Vec<(Value, Value)>) -> Result<Value, Trouble> {
    Ok(Value::Object(Rc::new(Object::of_sorted(pairs).map_err(Fault::from)?)))
}

fn count(call: &mut Call<'_>, text: &Str, url: &Reference) -> Result<(), Fault> {
    let bytes = text.len() + url.to_text().len();
    call.step(bytes / 4 + 16)?;
    call.bytes(bytes.saturating_mul(8))
}

#[inline(never)]
fn absolute_reference(call: &mut Call<'_>, text: &Str, url: &Reference) -> Result<Value, Trouble> {
    count(call, text, url)?;
    let resolved = match known(Reference::parse(text.as_bytes()))? {
        Some(reference) => known(url.resolve(&reference))?,
        None => None,
    };
    Ok(resolved.map_or_else(|| Value::String(text.clone()), |url| Value::from(url.to_text())))
}

/// What is not in the schema: the drafts' own schemas are there, and nothing is asked of a network or a disk. OPA answers
/// so where its `allow_net` has no host, and where there is no such file.
fn load(call: &mut Call<'_>, url: &Reference, name: &[u8]) -> Result<Value, Trouble> {
    if url.is_file() {
        let path = name.strip_prefix(b"file://").unwrap_or(name);
        let path = unescape(path, true).ok_or(Trouble::Url)?;
        return Err(said(format!("open {}: no such file or directory", shown(&path))));
    }
    match drafts::of_url(name) {
        Some(draft) => Ok(drafts::schema(call, draft)?),
        None => Err(said(format!("remote reference loading disabled: {}", shown(name)))),
    }
}

/// What the fragment of a reference points to.
fn pointed(call: &mut Call<'_>, whole: &Value, reference: &Reference) -> Result<Value, Trouble> {
    let mut found = whole;
    for token in reference.pointer() {
        call.step(token.len() / 16 + 2)?;
        found = match found {
            Value::Object(object) => {
                let name = shown(token).replace("~1", "/").replace("~0", "~");
                let there = object.get_str(name.as_bytes());
                there.ok_or_else(|| said(format!("Object has no key '{name}'")))?
            }
            Value::Array(items) => {
                let text = shown(token);
                // Go's `Atoi`.
                let index: i64 = text.parse().map_err(|_| said(format!("Invalid array index '{text}'")))?;
                let there = usize::try_from(index).ok().and_then(|index| items.items().get(index));
                let count = items.len();
                there.ok_or_else(|| said(format!("Out of bound array[0,{count}] index '{index}'")))?
            }
            _ => return Err(said(format!("Invalid token reference '{}'", shown(token)))),
        };
    }
    Ok(found.clone())
}
