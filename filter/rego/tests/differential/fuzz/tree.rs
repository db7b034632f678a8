//! Generated text as a tree, so that what differs can be made smaller without knowing Rego.

use std::borrow::Cow;
use std::fmt;

/// A piece of text and what may be taken out of it.
#[derive(Clone, Debug)]
pub enum Node {
    /// As it stands.
    Text(Cow<'static, str>),
    /// All parts, one after the other.
    Join(Vec<Node>),
    /// Items of which any may go, as long as `least` stay.
    List { items: Vec<Node>, between: &'static str, least: usize },
    /// An operand: may become a constant, or any operand inside it.
    Term(Box<Node>),
    /// A statement of a body: may become any statement inside it.
    Statement(Box<Node>),
}

/// `text` as a node.
pub fn text(text: impl Into<Cow<'static, str>>) -> Node {
    Node::Text(text.into())
}

/// All parts, one after the other.
pub fn join(parts: impl IntoIterator<Item = Node>) -> Node {
    Node::Join(parts.into_iter().collect())
}

/// Items of which any may go.
pub fn list(items: Vec<Node>, between: &'static str, least: usize) -> Node {
    Node::List { items, between, least }
}

/// A part that may go.
pub fn optional(node: Node) -> Node {
    list(vec![node], "", 0)
}

/// An operand.
pub fn term(node: Node) -> Node {
    Node::Term(Box::new(node))
}

/// A statement.
pub fn statement(node: Node) -> Node {
    Node::Statement(Box::new(node))
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Text(text) => f.write_str(text),
            Node::Join(parts) => parts.iter().try_for_each(|p| p.fmt(f)),
            Node::List { items, between, .. } => items.iter().enumerate().try_for_each(|(i, item)| {
                if i > 0 {
                    f.write_str(between)?;
                }
                item.fmt(f)
            }),
            Node::Term(inner) | Node::Statement(inner) => inner.fmt(f),
        }
    }
}

type Path = Vec<usize>;

/// One way to make a tree smaller.
enum Edit {
    Remove(Path, std::ops::Range<usize>),
    Replace(Path, Node),
}

impl Node {
    fn children(&self) -> &[Node] {
        match self {
            Node::Text(_) => &[],
            Node::Join(parts) => parts,
            Node::List { items, .. } => items,
            Node::Term(inner) | Node::Statement(inner) => std::slice::from_ref(inner),
        }
    }

    fn at_mut(&mut self, path: &[usize]) -> Option<&mut Node> {
        let Some((first, rest)) = path.split_first() else { return Some(self) };
        let child = match self {
            Node::Text(_) => None,
            Node::Join(parts) => parts.get_mut(*first),
            Node::List { items, .. } => items.get_mut(*first),
            Node::Term(inner) | Node::Statement(inner) => (*first == 0).then_some(&mut **inner),
        };
        child?.at_mut(rest)
    }

    fn walk<'a>(&'a self, path: &mut Path, visit: &mut impl FnMut(&Path, &'a Node)) {
        visit(path, self);
        for (i, child) in self.children().iter().enumerate() {
            path.push(i);
            child.walk(path, visit);
            path.pop();
        }
    }

    /// The nearest nodes below that are of the kind `wanted`.
    fn inner<'a>(&'a self, wanted: fn(&Node) -> bool, out: &mut Vec<&'a Node>) {
        for child in self.children() {
            if wanted(child) {
                out.push(child);
            } else {
                child.inner(wanted, out);
            }
        }
    }

    fn edits(&self) -> Vec<Edit> {
        let mut edits = Vec::new();
        self.walk(&mut Vec::new(), &mut |path, node| match node {
            Node::List { items, least, .. } => {
                let most = items.len().saturating_sub(*least);
                let mut size = most;
                while size > 0 {
                    for start in (0..items.len()).step_by(size) {
                        let end = (start + size).min(items.len());
                        if end - start <= most {
                            edits.push(Edit::Remove(path.clone(), start..end));
                        }
                    }
                    size /= 2;
                }
            }
            Node::Term(_) => {
                let now = node.to_string();
                let mut inside = Vec::new();
                node.inner(|n| matches!(n, Node::Term(_)), &mut inside);
                edits.extend(inside.into_iter().map(|n| Edit::Replace(path.clone(), n.clone())));
                for simple in ["1", "\"a\"", "true", "x", "input.x", "[]", "{}"] {
                    if now.len() > simple.len() {
                        edits.push(Edit::Replace(path.clone(), term(text(simple))));
                    }
                }
            }
            Node::Statement(_) => {
                let mut inside = Vec::new();
                node.inner(|n| matches!(n, Node::Statement(_)), &mut inside);
                edits.extend(inside.into_iter().map(|n| Edit::Replace(path.clone(), n.clone())));
                if node.to_string().len() > 4 {
                    edits.push(Edit::Replace(path.clone(), statement(text("true"))));
                }
            }
            Node::Text(_) | Node::Join(_) => {}
        });
        edits
    }

    fn edited(&self, edit: &Edit) -> Option<Node> {
        let mut copy = self.clone();
        match edit {
            Edit::Remove(path, range) => match copy.at_mut(path)? {
                Node::List { items, .. } if range.end <= items.len() => {
                    items.drain(range.clone());
                }
                _ => return None,
            },
            Edit::Replace(path, with) => *copy.at_mut(path)? = with.clone(),
        }
        Some(copy)
    }

    /// Makes the tree smaller while `still` holds.
    pub fn shrink(&mut self, still: &mut impl FnMut(&Node) -> bool) -> bool {
        let mut any = false;
        loop {
            let mut progress = false;
            let mut from = 0;
            // After a success the edits are made anew, and those before the place are not tried again in this round.
            'round: loop {
                let edits = self.edits();
                for (i, edit) in edits.iter().enumerate().skip(from) {
                    let Some(smaller) = self.edited(edit) else { continue };
                    if smaller.to_string().len() < self.to_string().len() && still(&smaller) {
                        *self = smaller;
                        progress = true;
                        from = i;
                        continue 'round;
                    }
                }
                break;
            }
            if !progress {
                return any;
            }
            any = true;
        }
    }
}
