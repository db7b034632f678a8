//! References: their types, and what they cannot find.

use super::check::Checker;
use super::{Known, MOST_DEPTH, MOST_MEMBERS, MOST_PARTS, Type, keys, or, select, show, unifies, values};
use crate::plan::tree::NodeId;
use crate::syntax::Pos;
use crate::syntax::tree::{Expr, ExprKind, Sym, Term, TermValue};
use crate::value::Value;

impl Checker<'_> {
    /// Checks all references of an expression; those of bodies in it too.
    pub(super) fn references(&mut self, expr: &Expr) {
        match &expr.kind {
            ExprKind::Term(term) => self.references_of(term),
            ExprKind::Call(terms) | ExprKind::Some(terms) | ExprKind::SomeIn(terms) => {
                terms.iter().skip(1).for_each(|t| self.references_of(t));
            }
            ExprKind::Every(every) => {
                self.references_of(&every.domain);
                every.body.iter().for_each(|e| self.references(e));
                self.references_of_withs(expr);
            }
            ExprKind::Not(not) => not.body.iter().for_each(|e| self.references(e)),
            ExprKind::Logical(logical) => {
                logical.left.iter().chain(&logical.right).for_each(|e| self.references(e));
                self.references_of_withs(expr);
            }
        }
    }

    /// Of these kinds of expressions the `with`s are checked as what they are not: values.
    fn references_of_withs(&mut self, expr: &Expr) {
        for with in &expr.with {
            self.references_of(&with.target);
            self.references_of(&with.value);
        }
    }

    fn references_of(&mut self, term: &Term) {
        match &term.value {
            TermValue::Ref(path) => {
                self.reference(path, term.pos);
                path.iter().skip(1).for_each(|t| self.references_of(t));
            }
            TermValue::Call(terms) => terms.iter().skip(1).for_each(|t| self.references_of(t)),
            TermValue::Array(terms) | TermValue::Set(terms) => {
                terms.iter().for_each(|t| self.references_of(t))
            }
            TermValue::Object(pairs) => pairs.iter().for_each(|(k, v)| {
                self.references_of(k);
                self.references_of(v);
            }),
            _ => {}
        }
    }

    /// The type of what a reference finds.
    pub(super) fn reference_type(&mut self, path: &[Term]) -> Known {
        let (first, rest) = path.split_first()?;
        if let Some(root @ (Sym::INPUT | Sym::DATA)) = first.as_var() {
            for at in (0..self.layers.len()).rev() {
                if let Some(of) = self.in_layer(at, root, rest) {
                    return of;
                }
            }
        }
        match first.as_var() {
            Some(Sym::INPUT) => Some(Type::any()),
            Some(Sym::DATA) => self.data_type(rest),
            Some(sym) => {
                if let (Some(builtin), None) = (self.functions.find_path(path), self.variable(sym)) {
                    return Some(Type::Function(self.types.builtin(builtin)));
                }
                let of = self.variable(sym);
                self.select_path(of, rest)
            }
            None => None,
        }
    }

    /// The type of what a path finds in a layer; None if the layer says nothing of it.
    fn in_layer(&mut self, layer: usize, root: Sym, rest: &[Term]) -> Option<Known> {
        let mut at = self.layers.get(layer)?.root(root)?;
        for (index, step) in rest.iter().enumerate() {
            let child = if step.is_ground() { at.child(step, self.tree) } else { None };
            let of = match (at.leaf(), child) {
                (_, Some(child)) => {
                    at = child;
                    continue;
                }
                (Some(of), None) => of,
                (None, None) if !step.is_ground() => at.extent(self.tree),
                (None, None) => return None,
            };
            return Some(self.select_path(Some(of), rest.get(index..).unwrap_or_default()));
        }
        Some(Some(at.extent(self.tree)))
    }

    fn data_type(&mut self, rest: &[Term]) -> Known {
        let mut at: NodeId = 0;
        for (index, step) in rest.iter().enumerate() {
            if !self.types.is_on_path(at) && at != 0 {
                return Some(Type::any());
            }
            let child = step.as_scalar().and_then(|key| self.tree.child(at, key));
            let child = child.filter(|c| self.types.is_on_path(*c));
            if let Some(of) = self.types.node(at) {
                match child {
                    Some(child) => at = child,
                    None => return self.select_path(Some(of), rest.get(index..).unwrap_or_default()),
                }
                continue;
            }
            if step.as_scalar().is_none() {
                let of = self.values_at(at);
                return self.select_path(of, rest.get(index + 1..).unwrap_or_default());
            }
            match child {
                Some(child) => at = child,
                None => return Some(Type::any()),
            }
        }
        Some(self.extent(at))
    }

    /// The type of what is one step below a node: any base document may be there, but a value is no function.
    fn values_at(&self, id: NodeId) -> Known {
        let children = self.tree.node(id).filter(|n| n.children.len() <= MOST_MEMBERS);
        let mut all = None;
        for child in children.into_iter().flat_map(|n| n.children.values()) {
            if self.types.is_on_path(*child) {
                let function = self.types.node(*child).filter(|of| matches!(of, Type::Function(_)));
                all = or(all, Some(function.unwrap_or_else(Type::any)));
            }
        }
        or(all, Some(Type::any()))
    }

    /// The type of all that is at a node and below.
    fn extent(&self, id: NodeId) -> Type {
        self.extent_within(id, MOST_DEPTH, &mut MOST_PARTS.clone())
    }

    /// The same, with any value in place of what lies deeper than `depth`, or where more than `parts` would be taken.
    fn extent_within(&self, id: NodeId, depth: u32, parts: &mut u32) -> Type {
        if let Some(of) = self.types.node(id) {
            return of;
        }
        let Some(depth) = depth.checked_sub(1) else { return Type::any() };
        let mut fields = Vec::new();
        if let Some(node) = self.tree.node(id).filter(|n| n.children.len() <= MOST_MEMBERS) {
            for (key, child) in &node.children {
                if self.types.is_on_path(*child) {
                    let Some(left) = parts.checked_sub(1) else { return Type::any() };
                    *parts = left;
                    fields.push((key.clone(), Some(self.extent_within(*child, depth, parts))));
                }
            }
        }
        Type::object(fields, Some((Some(Type::String), Some(Type::any()))))
    }

    fn reference(&mut self, path: &[Term], pos: Pos) {
        let Some((first, rest)) = path.split_first() else { return };
        if let Some(Type::Function(_)) = self.reference_type(path) {
            self.fault(pos, "a function is no value; call it with arguments in parentheses".into());
            return;
        }
        if let Some(root @ (Sym::INPUT | Sym::DATA)) = first.as_var() {
            for at in (0..self.layers.len()).rev() {
                if self.steps_in_layer(at, root, path, pos) {
                    return;
                }
            }
        }
        match first.as_var() {
            Some(Sym::DATA) => self.data_reference(rest, path, pos),
            Some(Sym::INPUT) => self.steps(Type::any(), rest, path, pos),
            Some(sym) => {
                let of = match self.variable(sym) {
                    Some(of) => of,
                    None => {
                        // An argument: anything.
                        self.put(sym, Some(Type::any()));
                        Type::any()
                    }
                };
                self.steps(of, rest, path, pos);
            }
            None => {}
        }
    }

    /// The steps of a reference in a layer: whether it says all there is to say.
    fn steps_in_layer(&mut self, layer: usize, root: Sym, path: &[Term], pos: Pos) -> bool {
        for depth in 0..path.len() {
            // The place is found anew for each step: what is learned on the way changes this checker.
            let Some(mut at) = self.layers.get(layer).and_then(|layer| layer.root(root)) else {
                return false;
            };
            for step in path.iter().skip(1).take(depth) {
                match at.child(step, self.tree) {
                    Some(child) => at = child,
                    None => return false,
                }
            }
            let rest = path.get(depth + 1..).unwrap_or_default();
            if let Some(of) = at.leaf() {
                self.steps(of, rest, path, pos);
                return true;
            }
            let Some(step) = rest.first() else { return true };
            let wanted = keys(&at.extent(self.tree));
            if !self.is_name_near_root(depth, step, path, pos) || !self.key_fits(step, wanted, path, pos) {
                return true;
            }
        }
        true
    }

    /// The first two steps are strings.
    fn is_name_near_root(&mut self, depth: usize, step: &Term, path: &[Term], pos: Pos) -> bool {
        let is_name =
            matches!(&step.value, TermValue::Var(_) | TermValue::Scalar(Value::String(_))) || depth > 1;
        if !is_name {
            self.undefined(path, pos, "the first two steps are strings");
        }
        is_name
    }

    /// A variable as a step has the type of the keys there.
    fn key_fits(&mut self, step: &Term, wanted: Known, path: &[Term], pos: Pos) -> bool {
        let TermValue::Var(sym) = step.value else { return true };
        match self.variable(sym) {
            None => self.put(sym, wanted),
            have => {
                if !unifies(&wanted, &have) {
                    let why = format!("a step is a {} here, not a {}", show(&wanted), show(&have));
                    self.undefined(path, pos, &why);
                    return false;
                }
            }
        }
        true
    }

    /// The steps of a reference to `data`, along the tree of rules.
    fn data_reference(&mut self, rest: &[Term], path: &[Term], pos: Pos) {
        let mut at: NodeId = 0;
        for (index, step) in rest.iter().enumerate() {
            let here = rest.get(index..).unwrap_or_default();
            if !self.is_name_near_root(index, step, path, pos) {
                return;
            }
            if matches!(step.value, TermValue::Var(_)) {
                let known = self.keys_of(at);
                if self.key_fits(step, known, path, pos) {
                    // Whatever is there: variables behind it may be anything.
                    self.steps(Type::any(), here.get(1..).unwrap_or_default(), path, pos);
                }
                return;
            }
            let child = step.as_scalar().and_then(|key| self.tree.child(at, key));
            let Some(child) = child.filter(|c| self.types.is_on_path(*c)) else {
                return self.steps(Type::any(), here, path, pos);
            };
            if let Some(of) = self.types.node(child) {
                return self.steps(of, here.get(1..).unwrap_or_default(), path, pos);
            }
            at = child;
        }
    }

    fn keys_of(&self, id: NodeId) -> Known {
        if let Some(of) = self.types.node(id) {
            return keys(&of);
        }
        let children = self.tree.node(id).into_iter().flat_map(|n| n.children.keys());
        children.map(|key| Some(Type::of(key))).fold(Some(Type::String), or)
    }

    /// The steps below a type.
    fn steps(&mut self, of: Type, rest: &[Term], path: &[Term], pos: Pos) {
        let mut at = Some(of);
        for step in rest {
            let Some(here) = at else { return };
            let wanted = keys(&here);
            let Some(_) = &wanted else {
                let why = format!("a {} has nothing below it", show(&Some(here)));
                self.undefined(path, pos, &why);
                return;
            };
            match &step.value {
                TermValue::Scalar(value) => {
                    at = select(&here, value);
                    if at.is_none() {
                        let why = format!("the {} there has no such key", show(&Some(here)));
                        self.undefined(path, pos, &why);
                        return;
                    }
                    continue;
                }
                TermValue::Var(sym) => match self.variable(*sym) {
                    None => self.put(*sym, wanted),
                    have => {
                        if !unifies(&have, &wanted) {
                            let why = format!("a step is a {} here, not a {}", show(&wanted), show(&have));
                            self.undefined(path, pos, &why);
                            return;
                        }
                    }
                },
                TermValue::Ref(_) => {
                    let have = self.type_of(step);
                    if have.is_some() && !unifies(&have, &wanted) {
                        self.undefined(path, pos, "a step has the wrong type");
                        return;
                    }
                }
                TermValue::Array(_) | TermValue::Object(_) | TermValue::Set(_)
                    if !self.unify1(step, &wanted, false) =>
                {
                    self.undefined(path, pos, "a step has the wrong type");
                    return;
                }
                _ => {}
            }
            at = values(&here);
        }
    }

    fn undefined(&mut self, path: &[Term], pos: Pos, why: &str) {
        let mut text = String::new();
        for (index, term) in path.iter().enumerate() {
            match &term.value {
                TermValue::Var(sym) if index == 0 => text.push_str(self.names.text(*sym)),
                TermValue::Var(sym) => {
                    text.push('[');
                    text.push_str(self.names.text(*sym));
                    text.push(']');
                }
                TermValue::Scalar(Value::String(key)) => {
                    text.push('.');
                    text.push_str(&String::from_utf8_lossy(key.as_bytes()));
                }
                TermValue::Scalar(value) => {
                    text.push('[');
                    text.push_str(&value.to_rego());
                    text.push(']');
                }
                _ => text.push_str("[…]"),
            }
        }
        self.fault(pos, format!("undefined reference `{text}`: {why}"));
    }
}
