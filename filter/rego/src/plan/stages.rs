//! The stages, each on one rule.

use std::collections::BTreeMap;

use super::error::Code;
use super::vars::{ALL, SAFETY, Scope, VarSet};
use super::{
    Compiler, Entry, NodeId, arity_of, checks, each, hoist, locals, lower, metadata, names, placeholder,
    prints, safety, templates, types, vars,
};
use crate::builtins::Run;
use crate::hash::Map;
use crate::index::Building;
use crate::syntax::Pos;
use crate::syntax::annotations::Target;
use crate::syntax::tree::{Names, Rule, Sym, Term};
use crate::value::Value;

/// A rule's path from `data`, as far as it is constant.
fn ground_path(rule: &Rule, package: &[Value], names: &Names) -> Vec<Value> {
    let mut path = package.to_vec();
    path.extend(rule.head.name().map(|name| Value::from(names.text(name))));
    path.extend(rule.head.reference.iter().skip(1).map_while(|t| t.as_scalar().cloned()));
    path
}

impl Compiler {
    pub(super) fn with_rule(&mut self, index: usize, f: impl FnOnce(&mut Compiler, &mut Entry)) {
        // The rule is taken out while it is rewritten, so that the compiler's tables can be used.
        let Some(slot) = self.rules.get_mut(index) else { return };
        let empty = Entry { module: slot.module, rule: placeholder() };
        let mut entry = std::mem::replace(slot, empty);
        f(self, &mut entry);
        if let Some(slot) = self.rules.get_mut(index) {
            *slot = entry;
        }
    }

    pub(super) fn resolve(&mut self, index: usize) {
        self.with_rule(index, |this, entry| {
            let Some(globals) = this.globals.get(entry.module) else { return };
            if let Err(root) = names::resolve(globals, &mut entry.rule) {
                let message = format!("an argument hides `{root}`; give it another name");
                this.fault(Code::Compile, entry.rule.pos, message);
            }
        });
    }

    pub(super) fn head_references(&mut self, index: usize) {
        self.with_rule(index, |this, entry| hoist::head_reference(&mut this.names, &mut entry.rule));
    }

    pub(super) fn keyword_overrides(&mut self, index: usize) {
        self.with_rule(index, |this, entry| {
            if this.modules.get(entry.module).is_some_and(|m| m.strict_v1) {
                for (pos, name) in checks::root_overrides(&entry.rule) {
                    let message = format!("`{name}` is a document and cannot be a name here; choose another");
                    this.fault(Code::Compile, pos, message);
                }
            }
        });
    }

    pub(super) fn duplicate_imports(&mut self) {
        let mut found = Vec::new();
        for module in &self.modules {
            let mut seen = Map::default();
            for import in module.imports.iter().filter(|_| module.strict_v1) {
                if let Some(name) = names::written_name(import, &mut self.names)
                    && seen.insert(name, ()).is_some()
                {
                    found.push((import.pos, name));
                }
            }
        }
        for (pos, name) in found {
            let message =
                format!("a second import is called `{}`; give one another name", self.names.text(name));
            self.fault(Code::Compile, pos, message);
        }
    }

    pub(super) fn enter_tree(&mut self, index: usize) {
        let Some(entry) = self.rules.get(index) else { return };
        let Some(module) = self.modules.get(entry.module) else { return };
        let name = entry.rule.head.name().map(|sym| Value::from(self.names.text(sym)));
        let rest = entry.rule.head.reference.iter().skip(1).map_while(Term::as_scalar);
        let id = self.tree.add(module.package.iter().chain(&name).chain(rest));
        self.homes.resize(self.rules.len(), 0);
        if let Some(home) = self.homes.get_mut(index) {
            *home = id;
        }
        if let Some(node) = self.tree.nodes.get_mut(id as usize) {
            node.rules.push(index);
        }
    }

    pub(super) fn empty_packages(&mut self) {
        let mut filled: BTreeMap<&[Value], bool> = BTreeMap::new();
        for entry in &self.rules {
            if let Some(module) = self.modules.get(entry.module) {
                filled.insert(&module.package, true);
            }
        }
        for module in &self.modules {
            if !filled.contains_key(module.package.as_slice()) {
                self.tree.add(module.package.iter());
            }
        }
    }

    pub(super) fn local_variables(&mut self, index: usize) {
        self.with_rule(index, |this, entry| {
            let Compiler { names, functions, .. } = this;
            let is_builtin = |sym: Sym| functions.simple.contains_key(&sym);
            let mut locals = locals::Locals::new(names, &is_builtin);
            locals.rule(&mut entry.rule);
            for (pos, message) in std::mem::take(&mut locals.faults) {
                this.fault(Code::Compile, pos, message);
            }
        });
    }

    pub(super) fn template_strings(&mut self, index: usize) {
        self.with_rule(index, |this, entry| {
            let Compiler { names, tree, functions, arities, rules, .. } = this;
            let arity = |op: &Term| arity_of(functions, tree, arities, op);
            let mut templates = templates::Templates {
                names,
                always: &|path| checks::is_always_defined(tree, rules, path),
                is_relation: &|op| functions.find(op).is_some_and(|b| matches!(b.run, Run::Relation)),
                arity: &arity,
                faults: Vec::new(),
            };
            templates.rule(&mut entry.rule);
            entry.rule.branches.iter_mut().for_each(|b| templates.rule(b));
            for (pos, message) in templates.faults {
                this.fault(Code::Compile, pos, message);
            }
        });
    }

    pub(super) fn prints(&mut self, index: usize) {
        self.with_rule(index, |this, entry| {
            if this.options.print {
                let Compiler { names, tree, functions, arities, .. } = this;
                let arity = |op: &Term| arity_of(functions, tree, arities, op);
                let mut prints = prints::Prints { names, arity: &arity, faults: Vec::new() };
                each(&mut entry.rule, &mut |rule| prints.rule(rule));
                for (pos, message) in prints.faults {
                    this.fault(Code::Compile, pos, message);
                }
                return;
            }
            each(&mut entry.rule, &mut |rule| {
                let head = &mut rule.head;
                for term in head.args.iter_mut().chain(head.key.as_mut()).chain(head.value.as_mut()) {
                    vars::bodies_of_term(term, &mut prints::erase_prints);
                }
                prints::erase_prints(&mut rule.body);
            });
        });
    }

    pub(super) fn expression_terms(&mut self, index: usize) {
        self.with_rule(index, |this, entry| {
            each(&mut entry.rule, &mut |rule| hoist::expression_terms(&mut this.names, rule));
        });
    }

    /// Where each annotation belongs.
    pub(super) fn annotations(&mut self) {
        let mut again = Vec::new();
        for (index, module) in self.modules.iter_mut().enumerate() {
            for annotation in std::mem::take(&mut module.annotations) {
                let rule = match annotation.target {
                    Target::Rule(number) => self.places.get(&(index, number)).copied(),
                    _ => None,
                };
                let entry = rule.and_then(|rule| self.rules.get(rule));
                let path =
                    entry.map(|e| ground_path(&e.rule, &module.package, &self.names)).unwrap_or_default();
                if matches!(annotation.target, Target::Rule(_)) && entry.is_none() {
                    continue;
                }
                let pos = Pos { file: index as u32, line: annotation.line, col: 1 };
                if !self.annotations.add(annotation, rule, path, &module.package) {
                    again.push(pos);
                }
            }
        }
        for pos in again {
            let message = "these annotations stand a second time for what they are about; keep one of them";
            self.fault(Code::Type, pos, message);
        }
    }

    pub(super) fn metadata(&mut self, index: usize) {
        self.with_rule(index, |this, entry| {
            let Compiler { modules, annotations, names, .. } = this;
            let package = modules.get(entry.module).map(|m| m.package.as_slice()).unwrap_or_default();
            let path = ground_path(&entry.rule, package, names);
            let pos = entry.rule.pos;
            let mut unread = false;
            // An `else` has no annotations of its own.
            let mut own = Some(index);
            each(&mut entry.rule, &mut |rule| {
                let chain = || annotations.chain(own, &path, package, pos);
                let of_rule = || annotations.own(own, pos);
                unread |= metadata::replace(names, rule, &chain, &of_rule).is_err();
                own = None;
            });
            if unread {
                let message = "`rego.metadata` is not available here: schemas, infinity, times and URLs with unusual characters are not read in annotations";
                this.fault(Code::Type, pos, message);
            }
        });
    }

    pub(super) fn comprehension_heads(&mut self, index: usize) {
        self.with_rule(index, |this, entry| {
            each(&mut entry.rule, &mut |rule| hoist::comprehension_heads(&mut this.names, rule));
        });
    }

    pub(super) fn head_terms(&mut self, index: usize) {
        self.with_rule(index, |this, entry| {
            each(&mut entry.rule, &mut |rule| hoist::head_terms(&mut this.names, rule));
        });
    }

    pub(super) fn with_values(&mut self, index: usize) {
        self.with_rule(index, |this, entry| {
            let mut found = Vec::new();
            let Compiler { names, tree, functions, rules, .. } = this;
            each(&mut entry.rule, &mut |rule| {
                let mut evaluates = |target: &mut Term, value: &mut Term, pos: Pos| {
                    checks::with(tree, rules, functions, target, value).unwrap_or_else(|message| {
                        found.push((pos, message));
                        false
                    })
                };
                let head = &mut rule.head;
                for term in head.args.iter_mut().chain(head.key.as_mut()).chain(head.value.as_mut()) {
                    vars::bodies_of_term(term, &mut |b| hoist::with_values(names, b, &mut evaluates));
                }
                hoist::with_values(names, &mut rule.body, &mut evaluates);
            });
            for (pos, message) in found {
                this.fault(Code::Compile, pos, message);
            }
        });
    }

    pub(super) fn rule_conflicts(&mut self, _index: usize) {}

    pub(super) fn tree_conflicts(&mut self) {
        let mut found = checks::conflicts(&self.tree, &self.rules);
        found.extend(checks::package_conflicts(&self.tree, &self.rules, &self.modules));
        found.extend(checks::data_conflicts(&self.tree, &self.rules, &self.data));
        for (pos, message) in found {
            self.fault(Code::Type, pos, message);
        }
    }

    pub(super) fn undefined_functions(&mut self, index: usize) {
        self.with_rule(index, |this, entry| {
            let mut found = Vec::new();
            {
                let Compiler { names, tree, functions, arities, .. } = &*this;
                let arity = |op: &Term| arity_of(functions, tree, arities, op);
                each(&mut entry.rule, &mut |rule| {
                    checks::calls(rule, &arity, functions, names, &mut found);
                });
            }
            for (pos, message) in found {
                this.fault(Code::Type, pos, message);
            }
        });
    }

    pub(super) fn safe_heads(&mut self, index: usize) {
        self.with_rule(index, |this, entry| {
            each(&mut entry.rule, &mut |rule| {
                let mut bound = VarSet::new();
                SAFETY.body(&rule.body, &mut bound);
                let mut head = VarSet::new();
                rule.head.args.iter().for_each(|t| ALL.term(t, &mut bound));
                let terms = rule.head.reference.iter().skip(1).chain(&rule.head.key).chain(&rule.head.value);
                terms.for_each(|t| ALL.term(t, &mut head));
                for var in head.difference(&bound) {
                    if *var != Sym::INPUT && *var != Sym::DATA && !this.names.is_made(*var) {
                        let name = this.names.text(*var).to_owned();
                        this.unsafe_variable(rule.head.pos, &name);
                    }
                }
            });
        });
    }

    pub(super) fn unsafe_variable(&mut self, pos: Pos, name: &str) {
        let message = format!(
            "variable `{name}` is unsafe: nothing gives it a value; bind it with `:=`, `some … in`, or a reference without `not`"
        );
        self.fault(Code::UnsafeVar, pos, message);
    }

    pub(super) fn safe_bodies(&mut self, index: usize) {
        self.with_rule(index, |this, entry| {
            each(&mut entry.rule, &mut |rule| {
                let mut scope = Scope::of_rule(rule);
                let mut found = Vec::new();
                {
                    let Compiler { tree, functions, arities, .. } = &*this;
                    let arity = |op: &Term| arity_of(functions, tree, arities, op);
                    safety::reorder(&mut rule.body, &mut scope, &arity, &mut found);
                }
                this.unsafe_variables(found);
            });
        });
    }

    pub(super) fn unsafe_variables(&mut self, mut found: safety::Unsafe) {
        found.sort_by_key(|(sym, pos)| (*pos, *sym));
        found.dedup();
        // Names of the compiler's own are said only if nothing else explains the fault.
        if found.iter().any(|(sym, _)| !self.names.is_made(*sym)) {
            found.retain(|(sym, _)| !self.names.is_made(*sym));
        }
        for (sym, pos) in found {
            let name = self.names.text(sym).to_owned();
            let name = if self.names.is_made(sym) { "the value of this expression".to_owned() } else { name };
            self.unsafe_variable(pos, &name);
        }
    }

    pub(super) fn equals(&mut self, index: usize) {
        self.with_rule(index, |_, entry| {
            each(&mut entry.rule, &mut |rule| {
                let head = &mut rule.head;
                for term in head.args.iter_mut().chain(head.key.as_mut()).chain(head.value.as_mut()) {
                    vars::bodies_of_term(term, &mut hoist::equals);
                }
                hoist::equals(&mut rule.body);
            });
        });
    }

    pub(super) fn dynamic_terms(&mut self, index: usize) {
        self.with_rule(index, |this, entry| {
            each(&mut entry.rule, &mut |rule| hoist::dynamic_terms(&mut this.names, &mut rule.body));
        });
    }

    pub(super) fn recursion(&mut self, index: usize) {
        let Some(entry) = self.rules.get(index) else { return };
        self.graph.add(index, &entry.rule, &self.tree);
    }

    pub(super) fn check_recursion(&mut self) {
        let (cycles, order) = self.graph.order(self.rules.len());
        self.order = order;
        for cycle in cycles {
            let Some(first) = cycle.first().and_then(|i| self.rules.get(*i)) else { continue };
            let pos = first.rule.pos;
            let path = cycle.iter().map(|i| self.path_of(*i)).collect::<Vec<_>>().join(" → ");
            let message = format!("rules must not reach themselves: {path}; break the chain");
            self.fault(Code::Recursion, pos, message);
        }
    }

    /// A rule's path, for messages.
    pub(super) fn path_of(&self, index: usize) -> String {
        let Some(entry) = self.rules.get(index) else { return String::new() };
        let mut path = String::from("data");
        let package = self.modules.get(entry.module).map(|m| m.package.as_slice()).unwrap_or_default();
        for step in package {
            path.push('.');
            path.push_str(&String::from_utf8_lossy(step.as_bytes().unwrap_or_default()));
        }
        if let Some(name) = entry.rule.head.name() {
            path.push('.');
            path.push_str(self.names.text(name));
        }
        path
    }

    pub(super) fn types(&mut self, index: usize) {
        let Some(index) = self.order.get(index).copied() else { return };
        let Compiler { rules, modules, types, tree, functions, names, graph, homes, .. } = self;
        let Some(entry) = rules.get(index) else { return };
        let package = modules.get(entry.module).map(|m| m.package.as_slice()).unwrap_or_default();
        let mut depend = |path: &[Term]| {
            graph.dependents(path, tree, rules.len()).filter_map(|r| homes.get(r).copied()).collect()
        };
        let mut checker = types::Checker::new(types, tree, functions, names, &mut depend);
        checker.rule(&entry.rule, package);
        entry.rule.branches.iter().for_each(|b| checker.rule(b, package));
        for (pos, message) in checker.faults {
            self.fault(Code::Type, pos, message);
        }
    }

    pub(super) fn deprecated(&mut self, index: usize) {
        let Some(entry) = self.rules.get(index) else { return };
        if !self.modules.get(entry.module).is_some_and(|m| m.strict_v1) {
            return;
        }
        self.with_rule(index, |this, entry| {
            let mut found = Vec::new();
            each(&mut entry.rule, &mut |rule| {
                checks::each_call(rule, &mut |terms, pos| {
                    let builtin = terms.first().and_then(|op| this.functions.find(op));
                    if let Some(builtin) = builtin.filter(|b| b.deprecated) {
                        found.push((pos, builtin.name));
                    }
                });
            });
            for (pos, name) in found {
                let message =
                    format!("`{name}` is deprecated and not in Rego v1; write it with what Rego v1 has");
                this.fault(Code::Type, pos, message);
            }
        });
    }

    pub(super) fn lower(&mut self, index: usize) {
        self.with_rule(index, |this, entry| {
            let Compiler { tree, functions, lowered: plan, modules, names, arities, options, .. } = this;
            let package = modules.get(entry.module).map(|m| m.package.as_slice()).unwrap_or_default();
            let scope = lower::Scope { tree, functions, names, arities, places: options.places };
            let lowered = plan.rule(index, &entry.rule, package, &scope);
            if let Err(fault) = lowered {
                this.fault(fault.code, fault.pos, fault.message);
            }
        });
    }
}

impl Compiler {
    pub(super) fn pure(&mut self, index: usize) {
        // In the order of what they depend on: what a rule refers to is known before it.
        if let Some(index) = self.order.get(index) {
            self.purity.rule(*index as u32, &self.plan);
        }
        if let Some(entry) = self.rules.get_mut(index) {
            entry.rule = placeholder();
        }
    }

    /// Builds the indices of some nodes, or of some rules of one.
    pub(super) fn index(&mut self, rules: usize) {
        let mut left = rules.max(1);
        while left > 0 && self.at < self.plan.nodes.len() {
            let at = self.at as NodeId;
            let members = match self.plan.node(at) {
                Some(node) => node.rules.clone(),
                None => return,
            };
            let mut building = match self.building.take() {
                Some(building) => building,
                None => {
                    let pure = self.purity.node(at, &self.plan);
                    if let Some(node) = self.plan.nodes.get_mut(self.at) {
                        node.pure = pure;
                    }
                    Building::new(&members, &self.plan, pure)
                }
            };
            let scan = self.options.scan || members.is_empty();
            let done = scan || building.step(&members, &self.plan, left);
            left = left.saturating_sub(members.len().max(1));
            if !done {
                self.building = Some(building);
                continue;
            }
            let index = if scan { building.scan() } else { building.finish() };
            if let Some(node) = self.plan.nodes.get_mut(self.at) {
                node.index = index;
            }
            self.at += 1;
        }
    }
}
