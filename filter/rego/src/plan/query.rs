//! Queries go through the same stages as bodies of rules, but for heads and `==`.

use super::error::{Code, CompileError, CompileErrors, Fault};
use super::ops::{Arg, Op, Plan};
use super::tree::RuleTree;
use super::vars::{ALL, Scope, VarSet};
use super::{Functions, arity_of, checks, hoist, locals, lower, names, prints, safety, templates};
use crate::syntax::tree::{Expr, ExprKind, Names, Sym, Term, TermValue};
use crate::syntax::{self, Pos};

/// A compiled query.
pub(crate) struct QueryPlan {
    pub(crate) block: Box<[Op]>,
    /// Registers to show, and their names; the query's own value has none.
    pub(crate) shown: Vec<u32>,
    pub(crate) names: Vec<String>,
    pub(crate) registers: u32,
}

/// Compiles a query against a plan.
pub(crate) fn query(plan: &Plan, text: &str) -> Result<QueryPlan, CompileErrors> {
    compile(plan, text).map_err(|faults| {
        let error = |fault: Fault| CompileError {
            code: fault.code,
            file: "query".into(),
            line: fault.pos.line,
            col: fault.pos.col,
            message: fault.message,
        };
        CompileErrors(faults.into_iter().map(error).collect())
    })
}

fn compile(plan: &Plan, text: &str) -> Result<QueryPlan, Vec<Fault>> {
    let mut names = Names::default();
    let functions = Functions::new(&mut names);
    let mut body = syntax::parse_query(0, text, &mut names).map_err(|error| {
        let pos = Pos { file: 0, line: error.line, col: error.col };
        vec![Fault::new(Code::Parse, pos, error.message)]
    })?;
    let (tree, arities) = tree_of(plan);
    names::resolve_query(&names::Globals::default(), &mut body);
    // The value of a query that is one term: it is put into a variable, and then tested for nothing.
    let whole = match body.as_slice() {
        [Expr { kind: ExprKind::Term(_), negated: false, .. }] => true,
        [expr @ Expr { kind: ExprKind::Call(_), negated: false, .. }] => {
            !matches!(expr.op(), Some(Sym::EQ | Sym::ASSIGN))
        }
        _ => false,
    };
    let mut written = VarSet::new();
    ALL.body(&body, &mut written);
    written.retain(|v| !names.is_wildcard(*v) && *v != Sym::INPUT && *v != Sym::DATA);
    let result = names.fresh("");
    if whole {
        for expr in &mut body {
            let pos = expr.pos;
            let term = match std::mem::replace(&mut expr.kind, ExprKind::Some(Vec::new())) {
                ExprKind::Term(term) => term,
                ExprKind::Call(terms) => Term::new(TermValue::Call(terms), pos),
                other => {
                    expr.kind = other;
                    continue;
                }
            };
            let with = std::mem::take(&mut expr.with);
            *expr = Expr::equality(Term::var(result, pos), term, pos);
            expr.with = with;
        }
    }
    let mut faults = Vec::new();
    let shown = {
        let is_builtin = |_: Sym| false;
        let mut locals = locals::Locals::new(&mut names, &is_builtin);
        locals.query(&mut body);
        faults.extend(locals.faults.drain(..).map(|(pos, m)| Fault::new(Code::Compile, pos, m)));
        locals.outermost()
    };
    check(&mut faults)?;
    {
        let arity = |op: &Term| arity_of(&functions, &tree, &arities, op);
        let mut templates = templates::Templates {
            names: &mut names,
            always: &|_| false,
            is_relation: &|op| {
                functions.find(op).is_some_and(|b| matches!(b.run, crate::builtins::Run::Relation))
            },
            arity: &arity,
            faults: Vec::new(),
        };
        templates.body(&mut body, &mut Scope::of_query());
        faults.extend(templates.faults.drain(..).map(|(pos, m)| Fault::new(Code::Compile, pos, m)));
    }
    prints::erase_prints(&mut body);
    hoist::expand_body(&mut names, &mut body);
    hoist::comprehension_body(&mut names, &mut body);
    hoist::with_values(&mut names, &mut body, &mut |target, value, pos| {
        checks::with(&tree, &[], &functions, target, value).unwrap_or_else(|message| {
            faults.push(Fault::new(Code::Compile, pos, message));
            false
        })
    });
    check(&mut faults)?;
    let arity = |op: &Term| arity_of(&functions, &tree, &arities, op);
    let mut found = checks::Found::new();
    let mut holder = super::placeholder();
    holder.body = body;
    checks::calls(&mut holder, &arity, &functions, &names, &mut found);
    body = holder.body;
    faults.extend(found.into_iter().map(|(pos, m)| Fault::new(Code::Type, pos, m)));
    check(&mut faults)?;
    let mut missing = safety::Unsafe::new();
    safety::reorder(&mut body, &mut Scope::of_query(), &arity, &mut missing);
    faults.extend(missing.into_iter().map(|(sym, pos)| {
        Fault::new(Code::UnsafeVar, pos, format!("variable `{}` is unsafe", names.text(sym)))
    }));
    check(&mut faults)?;
    hoist::dynamic_terms(&mut names, &mut body);
    let scope =
        lower::Scope { tree: &tree, functions: &functions, names: &names, arities: &arities, places: false };
    let mut syms: Vec<Sym> = Vec::new();
    let mut texts: Vec<String> = Vec::new();
    if whole {
        syms.push(result);
        texts.push(String::new());
    }
    for sym in written {
        let to = shown.get(&sym).copied().unwrap_or(sym);
        let name = names.text(sym).to_owned();
        if functions.find(&Term::var(sym, Pos::default())).is_none() || shown.contains_key(&sym) {
            syms.push(to);
            texts.push(name);
        }
    }
    let (block, shown, registers) = lower::query(&body, &scope, &syms).map_err(|fault| vec![fault])?;
    Ok(QueryPlan { block, shown, names: texts, registers })
}

fn check(faults: &mut Vec<Fault>) -> Result<(), Vec<Fault>> {
    if faults.is_empty() { Ok(()) } else { Err(std::mem::take(faults)) }
}

/// The rule tree of a plan, and the number of arguments of its rules.
fn tree_of(plan: &Plan) -> (RuleTree, Vec<usize>) {
    let mut tree = RuleTree::new();
    tree.nodes.resize_with(plan.nodes.len().max(1), Default::default);
    for (id, node) in plan.nodes.iter().enumerate() {
        for (key, child) in &node.children {
            if let Some(below) = tree.nodes.get_mut(*child as usize) {
                below.key = key.clone();
                below.depth = plan.node(*child).map_or(0, |n| n.depth);
                below.hide = plan.node(*child).is_some_and(|n| n.hide);
            }
            if let Some(here) = tree.nodes.get_mut(id) {
                here.children.insert(key.clone(), *child);
            }
        }
    }
    for (index, rule) in plan.rules.iter().enumerate() {
        let constant = rule.path.iter().map_while(|a| match a {
            Arg::Const(value) => Some(value),
            _ => None,
        });
        let id = tree.add(constant);
        if let Some(node) = tree.nodes.get_mut(id as usize) {
            node.rules.push(index);
        }
    }
    (tree, plan.rules.iter().map(|r| r.args.len()).collect())
}
