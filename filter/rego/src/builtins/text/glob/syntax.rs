//! Text of a glob to its tree: the grammar of `gobwas/glob`, its oddities included.
//!
//! Source: `gobwas/glob` v0.2.3, `syntax/lexer/lexer.go`, `syntax/ast/parser.go`.

use super::super::rune;
use crate::builtins::{Fault, Limit};
use std::collections::VecDeque;

/// How deep braces may nest.
const MOST_NESTING: usize = 32;

/// A node of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// What an alternative is when all of it was factored out.
    Nothing,
    /// One after another.
    Pattern(Vec<Node>),
    /// `[abc]`, `[!abc]`
    List { chars: Vec<char>, not: bool },
    /// `[a-z]`, `[!a-z]`
    Range { low: char, high: char, not: bool },
    /// Plain text.
    Text(Vec<u8>),
    /// `*`
    Any,
    /// `**`
    Super,
    /// `?`
    Single,
    /// `{a,b}`
    AnyOf(Vec<Node>),
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    End,
    Text(Vec<u8>),
    Any,
    Super,
    Single,
    Comma,
    Open,
    Close,
    List { chars: Vec<char>, not: bool },
    Range { low: char, high: char, not: bool },
}

fn bad(why: &'static str) -> Fault {
    Fault::undefined(why)
}

/// Reads characters; NUL reads as the end does.
struct Lexer<'a> {
    data: &'a [u8],
    at: usize,
    /// The character that was put back, and its width.
    back: Option<(char, usize)>,
    last: (char, usize),
    nesting: usize,
    /// A character that cannot be read was met: an error, but at the next token only.
    broken: bool,
    tokens: VecDeque<Token>,
}

const END: char = '\0';

impl Lexer<'_> {
    fn peek(&mut self) -> (char, usize) {
        let (c, width) = rune::decode(rune::from(self.data, self.at));
        if width == 0 {
            (END, 0)
        } else if c == char::REPLACEMENT_CHARACTER {
            self.broken = true;
            (END, 0)
        } else {
            (c, width)
        }
    }

    fn read(&mut self) -> char {
        let (c, width) = match self.back.take() {
            Some(back) => back,
            None => self.peek(),
        };
        self.at += width;
        self.last = (c, width);
        c
    }

    fn unread(&mut self) {
        self.at -= self.last.1;
        self.back = Some(self.last);
    }

    fn next(&mut self) -> Result<Token, Fault> {
        loop {
            if self.broken {
                return Err(bad("a character of the glob is not UTF-8"));
            }
            if let Some(token) = self.tokens.pop_front() {
                return Ok(token);
            }
            self.fetch()?;
        }
    }

    fn fetch(&mut self) -> Result<(), Fault> {
        let inside = self.nesting > 0;
        let token = match self.read() {
            END => Token::End,
            '{' => {
                self.nesting += 1;
                if self.nesting > MOST_NESTING {
                    return Err(Fault::Limit(Limit::Depth));
                }
                Token::Open
            }
            ',' if inside => Token::Comma,
            '}' if inside => {
                self.nesting -= 1;
                Token::Close
            }
            '[' => return self.class(),
            '?' => Token::Single,
            '*' => {
                if self.read() == '*' {
                    Token::Super
                } else {
                    self.unread();
                    Token::Any
                }
            }
            _ => {
                self.unread();
                let text = self.text(if inside { "?*[{}," } else { "?*[{" });
                if !text.is_empty() {
                    self.tokens.push_back(Token::Text(text));
                }
                return Ok(());
            }
        };
        self.tokens.push_back(token);
        Ok(())
    }

    /// After `[`: either exactly one range, or a list.
    fn class(&mut self) -> Result<(), Fault> {
        let mut not = false;
        let token = loop {
            let c = self.read();
            if c == END {
                return Err(bad("the class of the glob has no end"));
            }
            if !not && c == '!' {
                not = true;
                continue;
            }
            let (next, width) = self.peek();
            if next == '-' {
                self.at += width;
                let high = self.read();
                if high == END {
                    return Err(bad("the class of the glob has no end"));
                }
                if high < c {
                    return Err(bad("the range of the glob is out of order"));
                }
                break Token::Range { low: c, high, not };
            }
            self.unread();
            let text = self.text("]");
            if text.is_empty() {
                return Err(bad("the class of the glob is empty"));
            }
            break Token::List { chars: rune::runes(&text).map(|(_, c)| c).collect(), not };
        };
        if self.read() != ']' {
            return Err(bad("the class of the glob is neither a list nor one range"));
        }
        self.tokens.push_back(token);
        Ok(())
    }

    fn text(&mut self, breakers: &str) -> Vec<u8> {
        let mut text = Vec::new();
        let mut escaped = false;
        loop {
            let c = self.read();
            if c == END {
                return text;
            }
            if !escaped {
                if c == '\\' {
                    escaped = true;
                    continue;
                }
                if breakers.contains(c) {
                    self.unread();
                    return text;
                }
            }
            escaped = false;
            rune::push(&mut text, c);
        }
    }
}

/// What is open: the alternatives that are finished, and the nodes of the one that is not.
#[derive(Default)]
struct Level {
    alternatives: Vec<Node>,
    nodes: Vec<Node>,
}

impl Level {
    fn close(mut self) -> Node {
        self.alternatives.push(Node::Pattern(self.nodes));
        Node::AnyOf(self.alternatives)
    }
}

/// The tree of a glob. What is open at the end closes itself.
pub(super) fn parse(pattern: &[u8]) -> Result<Node, Fault> {
    let mut lexer = Lexer {
        data: pattern,
        at: 0,
        back: None,
        last: (END, 0),
        nesting: 0,
        broken: false,
        tokens: VecDeque::new(),
    };
    let mut above: Vec<Level> = Vec::new();
    let mut level = Level::default();
    loop {
        let node = match lexer.next()? {
            Token::End => break,
            Token::Text(text) => Node::Text(text),
            Token::Any => Node::Any,
            Token::Super => Node::Super,
            Token::Single => Node::Single,
            Token::List { chars, not } => Node::List { chars, not },
            Token::Range { low, high, not } => Node::Range { low, high, not },
            Token::Open => {
                above.push(std::mem::take(&mut level));
                continue;
            }
            Token::Comma => {
                let nodes = std::mem::take(&mut level.nodes);
                level.alternatives.push(Node::Pattern(nodes));
                continue;
            }
            Token::Close => {
                let Some(outer) = above.pop() else { continue };
                std::mem::replace(&mut level, outer).close()
            }
        };
        level.nodes.push(node);
    }
    while let Some(outer) = above.pop() {
        let closed = std::mem::replace(&mut level, outer).close();
        level.nodes.push(closed);
    }
    Ok(Node::Pattern(level.nodes))
}
