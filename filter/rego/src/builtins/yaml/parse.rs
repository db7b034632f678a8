//! Tokens of YAML to a tree of nodes. Source: go.yaml.in/yaml/v2, parserc.go.

use super::super::{Call, Fault};
use super::scan::{Invalid, Scanner, Token};
use crate::builtins::Limit;
use std::collections::HashMap;

/// The deepest nesting: less than of values, since each level takes more of the stack to read.
pub(super) const MOST_NESTED: u32 = 256;

const YAML_TAGS: &str = "tag:yaml.org,2002:";

#[derive(Debug)]
pub(super) enum Node {
    Scalar {
        text: String,
        /// The tag, written out; empty if there is none.
        tag: String,
        /// Plain and without a tag: its type is to be found out.
        plain: bool,
    },
    Sequence(Vec<usize>),
    /// Keys and values.
    Mapping(Vec<(usize, usize)>),
    Alias(usize),
}

/// The nodes of one document.
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    pub(super) root: Option<usize>,
}

pub(super) const INVALID: Fault = Fault::undefined("not YAML");

impl From<Invalid> for Fault {
    fn from(_: Invalid) -> Fault {
        INVALID
    }
}

struct Parser<'c, 'b> {
    call: &'c mut Call<'b>,
    scanner: Scanner,
    nodes: Vec<Node>,
    anchors: HashMap<String, usize>,
    tags: Vec<(String, String)>,
}

/// The first document of the text; also how far it was read.
pub(super) fn parse(call: &mut Call<'_>, text: &[u8], line: &mut usize) -> Result<Tree, Fault> {
    parse_ahead(call, text, line, 1)
}

/// The same, where so many tokens after the document must be tokens.
pub(super) fn parse_ahead(
    call: &mut Call<'_>,
    text: &[u8],
    line: &mut usize,
    ahead: usize,
) -> Result<Tree, Fault> {
    call.step(text.len() * 2 + 8)?;
    call.bytes(text.len().saturating_mul(8))?;
    let scanner = Scanner::new(text)?;
    let mut parser = Parser { call, scanner, nodes: Vec::new(), anchors: HashMap::new(), tags: Vec::new() };
    let root = parser.document(ahead);
    *line = parser.scanner.line();
    Ok(Tree { nodes: parser.nodes, root: root? })
}

impl Parser<'_, '_> {
    fn add(&mut self, node: Node, anchor: Option<String>) -> Result<usize, Fault> {
        self.call.step(1)?;
        self.call.bytes(64)?;
        let at = self.nodes.len();
        self.nodes.push(node);
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, at);
        }
        Ok(at)
    }

    fn empty(&mut self) -> Result<usize, Fault> {
        self.add(Node::Scalar { text: String::new(), tag: String::new(), plain: true }, None)
    }

    fn document(&mut self, ahead: usize) -> Result<Option<usize>, Fault> {
        self.scanner.take()?;
        let explicit = match self.scanner.peek()? {
            Token::StreamEnd => return Ok(None),
            Token::Version(..) | Token::TagDirective(..) | Token::DocumentStart => true,
            _ => false,
        };
        self.directives()?;
        let root = if explicit {
            if self.scanner.take()? != Token::DocumentStart {
                return Err(INVALID);
            }
            match self.scanner.peek()? {
                Token::Version(..)
                | Token::TagDirective(..)
                | Token::DocumentStart
                | Token::DocumentEnd
                | Token::StreamEnd => self.empty()?,
                _ => self.node(true, false, 1)?,
            }
        } else {
            self.node(true, false, 1)?
        };
        // What comes next must be a token, whichever.
        for more in (0..ahead).rev() {
            if *self.scanner.peek()? == Token::StreamEnd || more == 0 {
                break;
            }
            self.scanner.take()?;
        }
        Ok(Some(root))
    }

    fn directives(&mut self) -> Result<(), Fault> {
        let mut versioned = false;
        loop {
            match self.scanner.peek()? {
                Token::Version(1, 1) if !versioned => versioned = true,
                Token::Version(..) => return Err(INVALID),
                Token::TagDirective(handle, prefix) => {
                    let (handle, prefix) = (handle.clone(), prefix.clone());
                    self.call.step(self.tags.len())?;
                    if self.tags.iter().any(|(have, _)| *have == handle) {
                        return Err(INVALID);
                    }
                    self.tags.push((handle, prefix));
                }
                _ => break,
            }
            self.scanner.take()?;
        }
        for (handle, prefix) in [("!", "!"), ("!!", YAML_TAGS)] {
            if !self.tags.iter().any(|(have, _)| have == handle) {
                self.tags.push((handle.to_owned(), prefix.to_owned()));
            }
        }
        Ok(())
    }

    /// Takes anchor and tag, in any order.
    fn properties(&mut self) -> Result<(Option<String>, String), Fault> {
        let (mut anchor, mut tag) = (None, None);
        for _ in 0..2 {
            match self.scanner.peek()? {
                Token::Anchor(_) if anchor.is_none() => {
                    if let Token::Anchor(name) = self.scanner.take()? {
                        anchor = Some(name);
                    }
                }
                Token::Tag(..) if tag.is_none() => {
                    if let Token::Tag(handle, suffix) = self.scanner.take()? {
                        tag = Some((handle, suffix));
                    }
                }
                _ => break,
            }
        }
        let tag = match tag {
            None => String::new(),
            Some((handle, suffix)) if handle.is_empty() => suffix,
            Some((handle, suffix)) => {
                self.call.step(self.tags.len())?;
                let prefix = self.tags.iter().find(|(have, _)| *have == handle);
                let (_, prefix) = prefix.ok_or(INVALID)?;
                self.call.bytes(prefix.len() + suffix.len())?;
                format!("{prefix}{suffix}")
            }
        };
        Ok((anchor, tag))
    }

    fn node(&mut self, block: bool, indentless: bool, depth: u32) -> Result<usize, Fault> {
        if depth > MOST_NESTED {
            return Err(Fault::Limit(Limit::Depth));
        }
        if let Token::Alias(_) = self.scanner.peek()? {
            let Token::Alias(name) = self.scanner.take()? else { return Err(INVALID) };
            let target = *self.anchors.get(&name).ok_or(INVALID)?;
            return self.add(Node::Alias(target), None);
        }
        let (anchor, tag) = self.properties()?;
        match self.scanner.peek()? {
            Token::BlockEntry if indentless => {
                let at = self.add(Node::Sequence(Vec::new()), anchor)?;
                let mut items = Vec::new();
                while *self.scanner.peek()? == Token::BlockEntry {
                    self.scanner.take()?;
                    items.push(match self.scanner.peek()? {
                        Token::BlockEntry | Token::Key | Token::Value | Token::BlockEnd => self.empty()?,
                        _ => self.node(true, false, depth + 1)?,
                    });
                }
                self.put(at, Node::Sequence(items))
            }
            Token::Scalar(..) => {
                let Token::Scalar(text, plain) = self.scanner.take()? else { return Err(INVALID) };
                let plain = (tag.is_empty() && plain) || tag == "!";
                self.add(Node::Scalar { text, tag, plain }, anchor)
            }
            Token::FlowSequenceStart => self.flow_sequence(anchor, depth),
            Token::FlowMappingStart => self.flow_mapping(anchor, depth),
            Token::SequenceStart if block => self.block_sequence(anchor, depth),
            Token::MappingStart if block => self.block_mapping(anchor, depth),
            _ if anchor.is_some() || !tag.is_empty() => {
                let plain = tag.is_empty();
                self.add(Node::Scalar { text: String::new(), tag, plain }, anchor)
            }
            _ => Err(INVALID),
        }
    }

    fn put(&mut self, at: usize, node: Node) -> Result<usize, Fault> {
        if let Some(slot) = self.nodes.get_mut(at) {
            *slot = node;
        }
        Ok(at)
    }

    fn block_sequence(&mut self, anchor: Option<String>, depth: u32) -> Result<usize, Fault> {
        let at = self.add(Node::Sequence(Vec::new()), anchor)?;
        self.scanner.take()?;
        let mut items = Vec::new();
        loop {
            match self.scanner.take()? {
                Token::BlockEntry => items.push(match self.scanner.peek()? {
                    Token::BlockEntry | Token::BlockEnd => self.empty()?,
                    _ => self.node(true, false, depth + 1)?,
                }),
                Token::BlockEnd => return self.put(at, Node::Sequence(items)),
                _ => return Err(INVALID),
            }
        }
    }

    fn block_mapping(&mut self, anchor: Option<String>, depth: u32) -> Result<usize, Fault> {
        let at = self.add(Node::Mapping(Vec::new()), anchor)?;
        self.scanner.take()?;
        let mut pairs = Vec::new();
        loop {
            match self.scanner.take()? {
                Token::Key => {
                    let key = self.block_part(depth)?;
                    let value = if *self.scanner.peek()? == Token::Value {
                        self.scanner.take()?;
                        self.block_part(depth)?
                    } else {
                        self.empty()?
                    };
                    pairs.push((key, value));
                }
                Token::BlockEnd => return self.put(at, Node::Mapping(pairs)),
                _ => return Err(INVALID),
            }
        }
    }

    fn block_part(&mut self, depth: u32) -> Result<usize, Fault> {
        match self.scanner.peek()? {
            Token::Key | Token::Value | Token::BlockEnd => self.empty(),
            _ => self.node(true, true, depth + 1),
        }
    }

    fn flow_sequence(&mut self, anchor: Option<String>, depth: u32) -> Result<usize, Fault> {
        let at = self.add(Node::Sequence(Vec::new()), anchor)?;
        self.scanner.take()?;
        let mut items = Vec::new();
        while *self.scanner.peek()? != Token::FlowSequenceEnd {
            if !items.is_empty() && self.scanner.take()? != Token::FlowEntry {
                return Err(INVALID);
            }
            match self.scanner.peek()? {
                Token::Key => items.push(self.single_pair(depth)?),
                Token::FlowSequenceEnd => break,
                _ => items.push(self.node(false, false, depth + 1)?),
            }
        }
        self.scanner.take()?;
        self.put(at, Node::Sequence(items))
    }

    /// `[a: b]`: a mapping of one pair.
    fn single_pair(&mut self, depth: u32) -> Result<usize, Fault> {
        let at = self.add(Node::Mapping(Vec::new()), None)?;
        self.scanner.take()?;
        let key = match self.scanner.peek()? {
            Token::Value | Token::FlowEntry | Token::FlowSequenceEnd => {
                // Also what comes next is taken: so does the original.
                self.scanner.take()?;
                self.empty()?
            }
            _ => self.node(false, false, depth + 2)?,
        };
        let value = if *self.scanner.peek()? == Token::Value {
            self.scanner.take()?;
            match self.scanner.peek()? {
                Token::FlowEntry | Token::FlowSequenceEnd => self.empty()?,
                _ => self.node(false, false, depth + 2)?,
            }
        } else {
            self.empty()?
        };
        self.put(at, Node::Mapping(vec![(key, value)]))
    }

    fn flow_mapping(&mut self, anchor: Option<String>, depth: u32) -> Result<usize, Fault> {
        let at = self.add(Node::Mapping(Vec::new()), anchor)?;
        self.scanner.take()?;
        let mut pairs = Vec::new();
        while *self.scanner.peek()? != Token::FlowMappingEnd {
            if !pairs.is_empty() && self.scanner.take()? != Token::FlowEntry {
                return Err(INVALID);
            }
            match self.scanner.peek()? {
                Token::FlowMappingEnd => break,
                Token::Key => {
                    self.scanner.take()?;
                    let key = match self.scanner.peek()? {
                        Token::Value | Token::FlowEntry | Token::FlowMappingEnd => self.empty()?,
                        _ => self.node(false, false, depth + 1)?,
                    };
                    let value = if *self.scanner.peek()? == Token::Value {
                        self.scanner.take()?;
                        match self.scanner.peek()? {
                            Token::FlowEntry | Token::FlowMappingEnd => self.empty()?,
                            _ => self.node(false, false, depth + 1)?,
                        }
                    } else {
                        self.empty()?
                    };
                    pairs.push((key, value));
                }
                _ => {
                    let key = self.node(false, false, depth + 1)?;
                    let value = self.empty()?;
                    pairs.push((key, value));
                }
            }
        }
        self.scanner.take()?;
        self.put(at, Node::Mapping(pairs))
    }
}
