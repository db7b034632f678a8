//! What a name means: rules of the package and imports become full paths of `data` and `input`.
//!
//! Source: `v1/ast/compile.go` (`resolveRefsInRule`, `declaredVars`).

use std::rc::Rc;

use super::vars::{VarSet, vars_of};
use crate::hash::Map;
use crate::syntax::Pos;
use crate::syntax::order::{compare, unique_keys};
use crate::syntax::tree::{
    Body, Expr, ExprKind, Import, Module, Names, Rule, Sym, TemplatePart, Term, TermValue,
};
use crate::value::Value;

/// Name → path.
pub(crate) type Paths = Map<Sym, Vec<Term>>;

/// The names that a module sees.
#[derive(Clone, Debug, Default)]
pub(crate) struct Globals {
    /// Rules of its package, in any module: all modules of the package share them.
    rules: Rc<Paths>,
    /// Its imports, which win.
    imports: Paths,
}

impl Globals {
    pub(crate) fn new(module: &Module, rules: Rc<Paths>, names: &mut Names) -> Globals {
        let named = |import: &Import| Some((import_name(import, names)?, import.path.clone()));
        Globals { rules, imports: module.imports.iter().filter_map(named).collect() }
    }

    fn get(&self, sym: Sym) -> Option<&Vec<Term>> {
        self.imports.get(&sym).or_else(|| self.rules.get(&sym))
    }
}

/// The paths of a package's rules.
pub(crate) fn package_paths(package: &[Value], rules: &[Sym], names: &Names) -> Paths {
    let pos = Pos::default();
    let mut prefix = vec![Term::var(Sym::DATA, pos)];
    prefix.extend(package.iter().map(|step| Term::scalar(step.clone(), pos)));
    let path = |sym: &Sym| {
        let mut path = prefix.clone();
        path.push(Term::string(names.text(*sym), pos));
        (*sym, path)
    };
    rules.iter().map(path).collect()
}

/// The name that an import gives; none for imports of `future` and `rego`.
pub(crate) fn import_name(import: &Import, names: &mut Names) -> Option<Sym> {
    let root = import.path.first().and_then(Term::as_var)?;
    if root == Sym::FUTURE || root == Sym::REGO {
        return None;
    }
    written_name(import, names)
}

/// The name that an import goes by, whatever it imports.
pub(crate) fn written_name(import: &Import, names: &mut Names) -> Option<Sym> {
    let root = import.path.first().and_then(Term::as_var)?;
    if import.alias.is_some() {
        return import.alias;
    }
    match import.path.last()?.as_scalar() {
        Some(Value::String(text)) => Some(names.intern(&String::from_utf8_lossy(text.as_bytes()))),
        _ => Some(root),
    }
}

/// Resolves a rule and its branches. The error is the name of a root that an argument hides.
pub(crate) fn resolve(globals: &Globals, rule: &mut Rule) -> Result<(), &'static str> {
    let mut resolver = Resolver { globals, ignore: Vec::new() };
    resolver.rule(rule)?;
    for branch in &mut rule.branches {
        resolver.ignore.clear();
        resolver.rule(branch)?;
    }
    Ok(())
}

/// Resolves a query.
pub(crate) fn resolve_query(globals: &Globals, body: &mut Body) {
    let mut resolver = Resolver { globals, ignore: vec![declared(body)] };
    resolver.body(body);
}

struct Resolver<'a> {
    globals: &'a Globals,
    ignore: Vec<VarSet>,
}

impl Resolver<'_> {
    fn rule(&mut self, rule: &mut Rule) -> Result<(), &'static str> {
        let mut vars = VarSet::new();
        for arg in &rule.head.args {
            argument_vars(arg, &mut vars)?;
        }
        self.ignore.push(vars);
        self.ignore.push(declared(&rule.body));
        rule.head.reference.iter_mut().skip(1).for_each(|t| self.term(t));
        rule.head.key.iter_mut().for_each(|t| self.term(t));
        rule.head.value.iter_mut().for_each(|t| self.term(t));
        self.body(&mut rule.body);
        Ok(())
    }

    fn lookup(&self, sym: Sym) -> Option<&Vec<Term>> {
        let path = self.globals.get(sym)?;
        (!self.ignore.iter().any(|vars| vars.contains(&sym))).then_some(path)
    }

    fn body(&mut self, body: &mut Body) {
        body.iter_mut().for_each(|e| self.expr(e));
    }

    fn expr(&mut self, expr: &mut Expr) {
        match &mut expr.kind {
            ExprKind::Term(term) => self.term(term),
            ExprKind::Call(terms) | ExprKind::SomeIn(terms) => terms.iter_mut().for_each(|t| self.term(t)),
            ExprKind::Some(_) => {}
            ExprKind::Every(every) => {
                let mut locals: VarSet = every.key.iter().filter_map(Term::as_var).collect();
                locals.extend(every.value.as_var());
                self.ignore.push(locals);
                self.term(&mut every.domain);
                self.body(&mut every.body);
                self.ignore.pop();
            }
            ExprKind::Not(not) => self.body(&mut not.body),
            ExprKind::Logical(logical) => {
                self.body(&mut logical.left);
                self.body(&mut logical.right);
            }
        }
        for with in &mut expr.with {
            self.term(&mut with.target);
            self.term(&mut with.value);
        }
    }

    fn term(&mut self, term: &mut Term) {
        match &mut term.value {
            TermValue::Scalar(_) => {}
            TermValue::Var(sym) => {
                if let Some(path) = self.lookup(*sym) {
                    term.value = TermValue::Ref(placed(path, term.pos));
                }
            }
            TermValue::Ref(terms) => {
                let head = terms.first().and_then(Term::as_var).and_then(|sym| self.lookup(sym));
                let head = head.map(|path| placed(path, term.pos));
                terms.iter_mut().skip(usize::from(head.is_some())).for_each(|t| self.term(t));
                if let Some(mut path) = head {
                    path.extend(terms.drain(..).skip(1));
                    *terms = path;
                } else if let Some(first) = terms.first_mut() {
                    // A head that is a root stays one.
                    if let TermValue::Ref(inner) = &mut first.value
                        && let (1, Some(root)) = (inner.len(), inner.pop())
                    {
                        *first = root;
                    }
                }
            }
            TermValue::Call(terms) | TermValue::Array(terms) | TermValue::Set(terms) => {
                terms.iter_mut().for_each(|t| self.term(t));
            }
            TermValue::Object(pairs) => {
                pairs.sort_by(|a, b| compare(&a.0, &b.0));
                pairs.iter_mut().for_each(|(k, v)| {
                    self.term(k);
                    self.term(v);
                });
                // A rule by its name and by its path is one key.
                unique_keys(pairs);
            }
            TermValue::ArrayCompr(parts) | TermValue::SetCompr(parts) => {
                self.ignore.push(declared(&parts.1));
                self.term(&mut parts.0);
                self.body(&mut parts.1);
                self.ignore.pop();
            }
            TermValue::ObjectCompr(parts) => {
                self.ignore.push(declared(&parts.2));
                self.term(&mut parts.0);
                self.term(&mut parts.1);
                self.body(&mut parts.2);
                self.ignore.pop();
            }
            TermValue::Template(parts) => {
                for part in parts {
                    if let TemplatePart::Expr(expr) = part {
                        self.expr(expr);
                    }
                }
            }
        }
    }
}

fn placed(path: &[Term], pos: Pos) -> Vec<Term> {
    path.iter().map(|t| Term::new(t.value.clone(), pos)).collect()
}

/// The variables of an argument's pattern.
fn argument_vars(term: &Term, out: &mut VarSet) -> Result<(), &'static str> {
    match &term.value {
        TermValue::Var(sym) => {
            out.insert(*sym);
        }
        TermValue::Object(pairs) => {
            for (_, value) in pairs {
                argument_vars(value, out)?;
            }
        }
        TermValue::Array(terms) => {
            for term in terms {
                argument_vars(term, out)?;
            }
        }
        TermValue::Ref(terms) => match terms.first().and_then(Term::as_var) {
            Some(Sym::INPUT) if terms.len() == 1 => return Err("input"),
            Some(Sym::DATA) if terms.len() == 1 => return Err("data"),
            _ => {
                for term in terms {
                    argument_vars(term, out)?;
                }
            }
        },
        _ => {}
    }
    Ok(())
}

/// The variables that a body declares: by `:=`, `some` and `some … in`, not in comprehensions.
pub(crate) fn declared(body: &Body) -> VarSet {
    let mut out = VarSet::new();
    body.iter().for_each(|e| declared_in(e, &mut out));
    out
}

/// The same of one expression.
pub(crate) fn declared_in(expr: &Expr, out: &mut VarSet) {
    match &expr.kind {
        ExprKind::Call(terms) if expr.op() == Some(Sym::ASSIGN) && terms.len() == 3 => {
            out.extend(terms.get(1).map(vars_of).into_iter().flatten());
        }
        ExprKind::Some(terms) => out.extend(terms.iter().filter_map(Term::as_var)),
        ExprKind::SomeIn(terms) => {
            let names = terms.len().saturating_sub(2);
            for term in terms.iter().skip(1).take(names) {
                out.extend(vars_of(term));
            }
        }
        ExprKind::Every(every) => every.body.iter().for_each(|e| declared_in(e, out)),
        ExprKind::Not(not) => not.body.iter().for_each(|e| declared_in(e, out)),
        ExprKind::Logical(logical) => {
            logical.left.iter().chain(&logical.right).for_each(|e| declared_in(e, out));
        }
        _ => {}
    }
}
