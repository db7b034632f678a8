//! URLs that refer to schemas. Source: gojsonreference, Go's `net/url`.

use super::Trouble;
use crate::builtins::Fault;
use crate::builtins::encoding::digit_of;
use crate::builtins::uri::uri;

/// A URL, its path and host as they are written.
#[derive(Clone, Default)]
pub(super) struct Reference {
    scheme: Vec<u8>,
    opaque: Vec<u8>,
    /// Escapes undone.
    host: Vec<u8>,
    path: Vec<u8>,
    query: Vec<u8>,
    empty_query: bool,
    omit_host: bool,
    /// Escapes undone.
    fragment: Vec<u8>,
    written_fragment: Vec<u8>,
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte)
}

/// Whether Go keeps a fragment as it is written.
fn is_kept(text: &[u8]) -> bool {
    text.iter().all(|byte| is_plain(*byte) || b"!'()*[]%?".contains(byte))
}

fn escaped(text: &[u8], is_plain: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        if is_plain(*byte) {
            out.push(*byte);
        } else {
            out.extend([b'%', digit_of(byte >> 4), digit_of(byte & 15)]);
        }
    }
    out
}

impl Reference {
    pub(super) fn parse(text: &[u8]) -> Result<Reference, Trouble> {
        let uri = uri(text).ok_or(Trouble::Url)?;
        if uri.has_user {
            return Err(Trouble::Fault(Fault::Halt("a schema with a user in a URL".into())));
        }
        let written = text.iter().position(|byte| *byte == b'#');
        let written = written.and_then(|at| text.get(at + 1..)).unwrap_or_default();
        Ok(Reference {
            path: uri.path_text(),
            scheme: uri.scheme,
            opaque: uri.opaque,
            host: uri.host,
            query: uri.query,
            empty_query: uri.empty_query,
            omit_host: uri.omit_host,
            fragment: uri.fragment,
            written_fragment: written.to_vec(),
        })
    }

    pub(super) fn without_fragment(&self) -> Reference {
        Reference { fragment: Vec::new(), written_fragment: Vec::new(), ..self.clone() }
    }

    /// What the child is below this one.
    pub(super) fn resolve(&self, child: &Reference) -> Result<Reference, Trouble> {
        let mut url = child.clone();
        if child.scheme.is_empty() {
            url.scheme.clone_from(&self.scheme);
        }
        if !child.scheme.is_empty() || !child.host.is_empty() {
            url.path = resolved_path(&child.path, b"");
        } else {
            if child.path.is_empty() && !child.empty_query && child.query.is_empty() {
                url.query.clone_from(&self.query);
            }
            if child.path.is_empty() && !self.opaque.is_empty() {
                url.opaque.clone_from(&self.opaque);
            } else {
                url.host.clone_from(&self.host);
                url.path = resolved_path(&self.path, &child.path);
            }
        }
        Reference::parse(&url.to_text())
    }

    pub(super) fn to_text(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.scheme.is_empty() {
            out.extend_from_slice(&self.scheme);
            out.push(b':');
        }
        if self.opaque.is_empty() {
            let has_place = !self.scheme.is_empty() || !self.host.is_empty();
            let omitted = self.omit_host && self.host.is_empty();
            if has_place && !omitted && (!self.host.is_empty() || !self.path.is_empty()) {
                out.extend_from_slice(b"//");
            }
            out.extend(escaped(&self.host, |byte| {
                byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"".contains(&byte)
            }));
            if !self.path.is_empty() && !self.path.starts_with(b"/") && !self.host.is_empty() {
                out.push(b'/');
            }
            let first = self.path.split(|byte| *byte == b'/').next().unwrap_or_default();
            if out.is_empty() && first.contains(&b':') {
                out.extend_from_slice(b"./");
            }
            out.extend_from_slice(&self.path);
        } else {
            out.extend_from_slice(&self.opaque);
        }
        if self.empty_query || !self.query.is_empty() {
            out.push(b'?');
            out.extend_from_slice(&self.query);
        }
        if !self.fragment.is_empty() {
            out.push(b'#');
            if is_kept(&self.written_fragment) {
                out.extend_from_slice(&self.written_fragment);
            } else {
                out.extend(escaped(&self.fragment, |byte| is_plain(byte) || b"?!()*".contains(&byte)));
            }
        }
        out
    }

    /// The path of a file, if it is one's.
    pub(super) fn is_file(&self) -> bool {
        self.scheme == b"file"
    }

    /// Whether something could be loaded by it.
    pub(super) fn is_canonical(&self) -> bool {
        if self.is_file() {
            self.path.starts_with(b"/")
        } else {
            !self.scheme.is_empty() && !self.host.is_empty()
        }
    }

    /// The steps into a document that the fragment says; none if it is no JSON pointer.
    pub(super) fn pointer(&self) -> Vec<&[u8]> {
        match self.fragment.as_slice() {
            [b'/', rest @ ..] => rest.split(|byte| *byte == b'/').collect(),
            _ => Vec::new(),
        }
    }
}

/// Dots in paths taken as steps. Source: url.go, `resolvePath`.
fn resolved_path(base: &[u8], child: &[u8]) -> Vec<u8> {
    let full = match child {
        [] => base.to_vec(),
        [b'/', ..] => child.to_vec(),
        _ => {
            let folder = base.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
            [base.get(..folder).unwrap_or_default(), child].concat()
        }
    };
    if full.is_empty() {
        return full;
    }
    let mut out = vec![b'/'];
    let (mut first, mut last): (bool, &[u8]) = (true, b"");
    for part in full.split(|byte| *byte == b'/') {
        last = part;
        match part {
            b"." => first = false,
            b".." => {
                let slash = out.iter().skip(1).rposition(|byte| *byte == b'/');
                out.truncate(slash.map_or(1, |at| at + 1));
                first = out.len() == 1;
            }
            _ => {
                if !first {
                    out.push(b'/');
                }
                out.extend_from_slice(part);
                first = false;
            }
        }
    }
    if last == b"." || last == b".." {
        out.push(b'/');
    }
    if out.get(1) == Some(&b'/') {
        out.remove(0);
    }
    out
}
