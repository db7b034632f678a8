//! Walking the engine's syntax tree, which has no visitor of its own.
//!
//! Always on a stack of our own: references chain as long as a file allows, and a Wasm VM's stack is short.

use regorus::{
    Value,
    unstable::{Expr, Literal, LiteralStmt, Query, Rule, RuleHead},
};

/// Keys of a reference up to its first part that is not constant; a leading `data` is left out.
pub(super) fn constant_path(reference: &Expr) -> Vec<String> {
    let mut parts: Vec<Option<String>> = Vec::new();
    let mut expression = reference;
    loop {
        match expression {
            Expr::RefDot { refr, field: (_, name), .. } => {
                parts.push(text_of(name));
                expression = refr;
            }
            Expr::RefBrack { refr, index, .. } => {
                parts.push(match index.as_ref() {
                    Expr::String { value, .. } | Expr::RawString { value, .. } => text_of(value),
                    _ => None,
                });
                expression = refr;
            }
            Expr::Var { value, .. } => {
                parts.push(text_of(value));
                break;
            }
            Expr::String { value, .. } | Expr::RawString { value, .. } => {
                parts.push(text_of(value));
                break;
            }
            _ => break,
        }
    }
    parts.into_iter().rev().map_while(|part| part).collect()
}

fn text_of(value: &Value) -> Option<String> {
    value.as_string().ok().map(|text| text.to_string())
}

/// The expressions of a rule that stand in no body, arguments included, and its bodies.
pub(super) fn children(rule: &Rule) -> (Vec<&Expr>, Vec<&Query>) {
    let mut expressions: Vec<&Expr> = Vec::new();
    let mut queries: Vec<&Query> = Vec::new();
    match rule {
        Rule::Default { value, .. } => expressions.push(value),
        Rule::Spec { head, bodies, .. } => {
            let assign = match head {
                RuleHead::Compr { refr, assign, .. } => {
                    expressions.push(refr);
                    assign.as_ref()
                }
                RuleHead::Set { refr, key, .. } => {
                    expressions.push(refr);
                    expressions.extend(key.iter().map(AsRef::as_ref));
                    None
                }
                RuleHead::Func { args, assign, .. } => {
                    expressions.extend(args.iter().map(AsRef::as_ref));
                    assign.as_ref()
                }
            };
            expressions.extend(assign.map(|assign| assign.value.as_ref()));
            for body in bodies {
                expressions.extend(body.assign.iter().map(|assign| assign.value.as_ref()));
                queries.push(&body.query);
            }
        }
    }
    (expressions, queries)
}

/// What a walk comes by.
pub(super) enum Node<'a> {
    Expression(&'a Expr),
    Statement(&'a LiteralStmt),
}

/// Visits every expression and statement of a rule.
pub(super) fn walk_rule<'a>(rule: &'a Rule, visit: &mut impl FnMut(Node<'a>)) {
    let (expressions, queries) = children(rule);
    walk(expressions, queries, visit);
}

/// Visits every expression and statement of a body.
pub(super) fn walk_query<'a>(query: &'a Query, visit: &mut impl FnMut(Node<'a>)) {
    walk(Vec::new(), vec![query], visit);
}

fn walk<'a>(mut expressions: Vec<&'a Expr>, mut queries: Vec<&'a Query>, visit: &mut impl FnMut(Node<'a>)) {
    loop {
        if let Some(expression) = expressions.pop() {
            visit(Node::Expression(expression));
            push_children(expression, &mut expressions, &mut queries);
        } else if let Some(query) = queries.pop() {
            for statement in &query.stmts {
                visit(Node::Statement(statement));
                push_statement(statement, &mut expressions, &mut queries);
            }
        } else {
            return;
        }
    }
}

/// Adds the expressions and bodies that a statement consists of.
pub(super) fn push_statement<'a>(
    statement: &'a LiteralStmt,
    expressions: &mut Vec<&'a Expr>,
    queries: &mut Vec<&'a Query>,
) {
    match &statement.literal {
        Literal::SomeVars { .. } => {}
        Literal::SomeIn { key, value, collection, .. } => {
            expressions.extend(key.iter().map(AsRef::as_ref));
            expressions.extend([value.as_ref(), collection.as_ref()]);
        }
        Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => expressions.push(expr),
        Literal::Every { domain, query, .. } => {
            expressions.push(domain);
            queries.push(query);
        }
    }
    // The target of `with` names a function without calling it; its replacement is an expression.
    expressions.extend(statement.with_mods.iter().map(|with| with.r#as.as_ref()));
}

/// Adds the expressions and bodies that an expression consists of, in the order of the text.
pub(super) fn push_children<'a>(
    expression: &'a Expr,
    expressions: &mut Vec<&'a Expr>,
    queries: &mut Vec<&'a Query>,
) {
    match expression {
        Expr::Array { items, .. } | Expr::Set { items, .. } => {
            expressions.extend(items.iter().map(AsRef::as_ref))
        }
        Expr::Object { fields, .. } => {
            expressions.extend(fields.iter().flat_map(|(_, key, value)| [key.as_ref(), value.as_ref()]));
        }
        Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
            expressions.push(term);
            queries.push(query);
        }
        Expr::ObjectCompr { key, value, query, .. } => {
            expressions.extend([key.as_ref(), value.as_ref()]);
            queries.push(query);
        }
        Expr::Call { params, .. } => expressions.extend(params.iter().map(AsRef::as_ref)),
        Expr::UnaryExpr { expr, .. } => expressions.push(expr),
        Expr::RefDot { refr, .. } => expressions.push(refr),
        Expr::RefBrack { refr, index, .. } => expressions.extend([refr.as_ref(), index.as_ref()]),
        Expr::BinExpr { lhs, rhs, .. }
        | Expr::BoolExpr { lhs, rhs, .. }
        | Expr::ArithExpr { lhs, rhs, .. }
        | Expr::AssignExpr { lhs, rhs, .. } => expressions.extend([lhs.as_ref(), rhs.as_ref()]),
        Expr::Membership { key, value, collection, .. } => {
            expressions.extend(key.iter().map(AsRef::as_ref));
            expressions.extend([value.as_ref(), collection.as_ref()]);
        }
        Expr::String { .. }
        | Expr::RawString { .. }
        | Expr::Number { .. }
        | Expr::Bool { .. }
        | Expr::Null { .. }
        | Expr::Var { .. } => {}
    }
}
