//! How deep rules stand upon rules: each rule that another one reads is evaluated within it, on the stack of the VM.
//!
//! A reference leads to every rule at, above and below its path, whether or not a variable hides the name, so what is
//! found is never less than what can happen. Rules that lead back to themselves count as one upon the other.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    PolicyError,
    graph::components,
    module::{Call, Module},
};

/// Half of what V8 gives to a thread: 340 rules, each of them just another one.
const MAX_STACK_BYTES: u32 = 480_000;

/// The rules of a policy and what they read.
#[derive(Debug, Default)]
pub(super) struct Chains {
    nodes: BTreeMap<Vec<String>, Node>,
    packages: BTreeMap<Vec<String>, Package>,
    edges: Vec<Vec<usize>>,
    rules: Vec<Rule>,
    functions: BTreeMap<Vec<String>, usize>,
    calls: Vec<Vec<usize>>,
    callers: Vec<(String, Vec<String>)>,
}

#[derive(Debug, Default)]
struct Package {
    files: u64,
    /// First names of its rules.
    names: BTreeSet<String>,
    /// Names that imports give, in whichever of its files: so does the engine take them.
    imports: BTreeSet<(String, Vec<String>)>,
}

/// A path: the rules that stand there, and those together with all below.
#[derive(Debug, Clone, Copy)]
struct Node {
    own: usize,
    below: usize,
}

/// The rules of one path, or none.
#[derive(Debug, Default, Clone)]
struct Rule {
    stack_bytes: u32,
    /// Of the first of them.
    place: Option<(String, u32)>,
    path: Vec<String>,
}

// === impl Chains ===

impl Chains {
    /// Takes in what a file defines. All files must have been taken in before what any of them reads is.
    pub(super) fn define(&mut self, module: &Module) {
        let package = self.packages.entry(module.package.clone()).or_default();
        package.files += 1;
        package.imports.extend(module.imports.iter().cloned());
        let names = module.rules.iter().filter_map(|rule| rule.path.get(module.package.len()));
        package.names.extend(names.cloned());
        for outline in &module.rules {
            let own = self.node(&outline.path).own;
            if let Some(rule) = self.rules.get_mut(own) {
                rule.stack_bytes = rule.stack_bytes.max(outline.stack_bytes);
                rule.place.get_or_insert_with(|| (module.name.clone(), outline.line));
                rule.path.clone_from(&outline.path);
            }
            if outline.is_function && !self.functions.contains_key(&outline.path) {
                self.functions.insert(outline.path.clone(), self.calls.len());
                self.calls.push(Vec::new());
                self.callers.push((module.name.clone(), outline.path.clone()));
            }
        }
    }

    /// How many names the engine copies: for each file those of its package.
    pub(super) fn names_copied(&self) -> u64 {
        let copied = |package: &Package| package.files.saturating_mul(package.names.len() as u64);
        self.packages.values().map(copied).fold(0, u64::saturating_add)
    }

    /// Whether a call leads to a function of the policy.
    pub(super) fn has_function(&self, path: &[String]) -> bool {
        self.functions.contains_key(path)
    }

    /// Takes in what a file reads.
    pub(super) fn read(&mut self, module: &Module) {
        for outline in &module.rules {
            let Some(from) = self.nodes.get(&outline.path).map(|node| node.own) else {
                continue;
            };
            for read in &outline.reads {
                let targets = self.targets(&module.package, read);
                self.lead(from, targets);
            }
            for (target, value) in &outline.replaced {
                let replacements = self.targets(&module.package, value);
                for target in self.targets(&module.package, target) {
                    self.lead(target, replacements.clone());
                }
            }
        }
        for Call { caller, target, .. } in &module.calls {
            let caller = caller.as_ref().and_then(|caller| self.functions.get(caller));
            if let (Some(caller), Some(target)) = (caller, self.functions.get(target))
                && let Some(calls) = self.calls.get_mut(*caller)
            {
                calls.push(*target);
            }
        }
    }

    /// Errors: [`PolicyError::Recursion`], [`PolicyError::Depth`].
    pub(super) fn check(&self) -> Result<(), PolicyError> {
        for component in components(&self.calls) {
            let leads_to_itself =
                |node: &usize| self.calls.get(*node).is_some_and(|calls| calls.contains(node));
            if (component.len() > 1 || component.iter().any(leads_to_itself))
                && let Some((module, function)) = component.first().and_then(|first| self.callers.get(*first))
            {
                return Err(PolicyError::Recursion { module: module.clone(), function: function.join(".") });
            }
        }
        let mut depths: Vec<u32> = vec![0; self.edges.len()];
        for component in components(&self.edges) {
            let edges = component.iter().filter_map(|node| self.edges.get(*node)).flatten();
            let below = edges.filter_map(|target| depths.get(*target)).max().copied().unwrap_or(0);
            let own = component.iter().filter_map(|node| self.rules.get(*node)).map(|rule| rule.stack_bytes);
            let depth = own.fold(below, u32::saturating_add);
            if depth > MAX_STACK_BYTES {
                let mut rules = component.iter().filter_map(|node| self.rules.get(*node));
                let (place, path) = rules
                    .find_map(|rule| Some((rule.place.clone()?, rule.path.join("."))))
                    .unwrap_or_default();
                let (module, line) = place;
                return Err(PolicyError::Depth { module, line, rule: path });
            }
            for node in component {
                if let Some(known) = depths.get_mut(node) {
                    *known = depth;
                }
            }
        }
        Ok(())
    }

    /// The node of a path, made with those above it if it is not there.
    fn node(&mut self, path: &[String]) -> Node {
        if let Some(node) = self.nodes.get(path) {
            return *node;
        }
        let node = Node { own: self.edges.len(), below: self.edges.len() + 1 };
        self.edges.extend([Vec::new(), vec![node.own]]);
        self.rules.extend([Rule::default(), Rule::default()]);
        self.nodes.insert(path.to_vec(), node);
        if let Some((_, above)) = path.split_last() {
            let above = self.node(above).below;
            self.lead(above, vec![node.below]);
        }
        node
    }

    fn lead(&mut self, from: usize, targets: Vec<usize>) {
        if let Some(edges) = self.edges.get_mut(from) {
            edges.extend(targets);
        }
    }

    /// Whatever a path may mean within a package.
    fn targets(&self, package: &[String], read: &[String]) -> Vec<usize> {
        let mut targets = Vec::new();
        let Some((root, rest)) = read.split_first() else {
            return targets;
        };
        if root == "data" {
            self.meet(rest, &mut targets);
            return targets;
        }
        self.meet(&[package, read].concat(), &mut targets);
        let imports = self.packages.get(package).map(|package| &package.imports);
        for (alias, path) in imports.into_iter().flatten() {
            if alias == root
                && let Some((root, imported)) = path.split_first()
                && root == "data"
            {
                self.meet(&[imported, rest].concat(), &mut targets);
            }
        }
        targets
    }

    /// The rules at a path, those above it, and those below.
    fn meet(&self, path: &[String], targets: &mut Vec<usize>) {
        for length in 0..path.len() {
            targets.extend(path.get(..length).and_then(|above| self.nodes.get(above)).map(|node| node.own));
        }
        targets.extend(self.nodes.get(path).map(|node| node.below));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::RegoVersion;

    fn checked(files: &[&str]) -> Result<(), PolicyError> {
        let parse = |(index, text): (usize, &&str)| {
            Module::parse(format!("{index}.rego"), (*text).to_owned(), RegoVersion::V1).unwrap()
        };
        let modules: Vec<Module> = files.iter().enumerate().map(parse).collect();
        let mut chains = Chains::default();
        modules.iter().for_each(|module| chains.define(module));
        modules.iter().for_each(|module| chains.read(module));
        chains.check()
    }

    /// A chain of rules, each made of the one after it.
    fn chain(length: usize, rule: impl Fn(usize, usize) -> String) -> String {
        let rules: String = (0..length).map(|number| rule(number, number + 1) + "\n").collect();
        format!("package a\n\n{rules}")
    }

    fn is_too_deep(files: &[&str]) -> bool {
        match checked(files) {
            Err(PolicyError::Depth { .. }) => true,
            Err(error) => panic!("{error}"),
            Ok(()) => false,
        }
    }

    #[test]
    fn rules_may_stand_on_hundreds_of_rules_but_not_on_thousands() {
        let links: &[fn(usize, usize) -> String] = &[
            |one, next| format!("r{one} if r{next}"),
            |one, next| format!("r{one} := r{next}"),
            |one, next| format!("r{one} if data.a.r{next}"),
            |one, next| format!("r{one} if data[\"a\"].r{next}"),
            |one, next| format!("r{one} if not r{next}"),
            |one, next| format!("r{one} if count(r{next}) > 0"),
            |one, next| format!("r{one}[x] := 1 if some x in r{next}"),
            |one, next| format!("r{one} contains x if x := r{next}.field"),
            |one, next| format!("r{one} := 1 if {{ 1 == 2 }} else := r{next}"),
            |one, next| format!("r{one} if input.x with input.x as r{next}"),
            |one, next| format!("r{one} := [x | every y in [1] {{ y == r{next} }}; x := 1]"),
            |one, next| format!("default r{one} := 1\nr{one} if r{next}"),
            |one, next| format!("r{one}(x) := r{next}(x)"),
            |one, next| format!("r{one} if {{ r{one}_local := r{next}; r{one}_local }}"),
            |one, next| format!("r{one} if {{ r{next} == 1; some r{next} in [1] }}"),
        ];
        for link in links {
            assert!(!is_too_deep(&[&chain(80, link)]), "{}", link(0, 1));
            assert!(is_too_deep(&[&chain(700, link)]), "{}", link(0, 1));
        }
    }

    #[test]
    fn a_chain_goes_through_files_packages_and_imports() {
        let chains = [
            ["package a\nimport data.b\n", "package b\nimport data.a\n", "b", "a"],
            ["package a\nimport data.b as c\n", "package b\nimport data.a as d\n", "c", "d"],
            ["package a\nimport data.b as data_b\n", "package b\n", "data_b", "data.a"],
        ];
        for [first, second, to_second, to_first] in chains {
            let even: String = (0..400)
                .map(|number| format!("r{} if {to_second}.r{}\n", number * 2, number * 2 + 1))
                .collect();
            let odd: String = (0..400)
                .map(|number| format!("r{} if {to_first}.r{}\n", number * 2 + 1, number * 2 + 2))
                .collect();
            assert!(
                is_too_deep(&[&format!("{first}{even}r800 := true"), &format!("{second}{odd}")]),
                "{first}"
            );
        }
        // The engine knows an import in every file of the package.
        let rules: String = (0..750).map(|number| format!("r{number} if z{}\n", number + 1)).collect();
        let imports: Vec<String> = (0..3)
            .map(|file| {
                let import = |number| format!("import data.a.r{number} as z{number}\n");
                format!("package a\n{}", (file * 250..file * 250 + 250).map(import).collect::<String>())
            })
            .collect();
        let mut files: Vec<&str> = imports.iter().map(String::as_str).collect();
        let rules = format!("package a\n{rules}");
        files.push(&rules);
        assert!(is_too_deep(&files));
    }

    #[test]
    fn a_package_that_is_read_counts_with_all_its_rules() {
        let nested: String =
            (0..400).map(|number| format!("r{number} if data.p{}[_]\n", number + 1)).collect();
        let files: Vec<String> =
            nested.lines().enumerate().map(|(number, rule)| format!("package p{number}\n{rule}")).collect();
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        assert!(is_too_deep(&files));
        assert!(!is_too_deep(&files[..80]));
    }

    #[test]
    fn a_function_in_the_place_of_another_is_followed() {
        let rules: String = (0..400)
            .map(|number| format!("f{number}(x) := g{number}(x)\ng{number}(x) := x\n"))
            .chain(
                (0..400)
                    .map(|number| format!("r{number} if f{number}(1) with g{number} as f{}\n", number + 1)),
            )
            .collect();
        assert!(is_too_deep(&[&format!("package a\n{rules}f400(x) := x\n")]));
    }

    #[test]
    fn rules_that_lead_back_count_as_one_upon_the_other() {
        let ring = |length: usize| {
            let rules: String =
                (0..length).map(|one| format!("r{one} if r{}\n", (one + 1) % length)).collect();
            format!("package a\n{rules}")
        };
        assert!(!is_too_deep(&[&ring(100)]), "the engine finds it, with a message");
        assert!(is_too_deep(&[&ring(500)]));
    }

    #[test]
    fn side_by_side_there_may_be_any_number() {
        let rules: String = (0..2000)
            .map(|number| format!("allow if {{ x := r{number}; x }}\nr{number} := base\n"))
            .collect();
        assert_eq!(checked(&[&format!("package a\n{rules}base := 1\n")]), Ok(()));
    }

    #[test]
    fn functions_that_call_themselves_are_refused() {
        for text in ["f(x) := f(x)", "f(x) := g(x)\ng(x) := h(x)\nh(x) := f(x)", "f(x) := data.a.f(x)"] {
            let error = checked(&[&format!("package a\n{text}\n")]).unwrap_err();
            assert!(matches!(error, PolicyError::Recursion { .. }), "{error}");
        }
    }
}
