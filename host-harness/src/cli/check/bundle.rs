//! A policy before the filter compiles it: what refuses it, and what it waits for in vain.

use std::collections::BTreeSet;

use anyhow::Result;
use host_harness::archive::Take;
use portcullis_filter::{
    bundle::{Bundle, BundleError},
    config::{DEFAULT_DECISION, InputConfig},
    policy::{
        EvaluationLimits, Field, Part, Policy, PolicyError, compiler, input_field, never_there, reference,
        string,
    },
};
use portcullis_rego::{Options, syntax::Pos};

use crate::cli::policy;

/// Rules of one name that are looked at one by one, from which on it is reported.
const MANY_RULES: usize = 20;

/// Whether the filter would take it. `input` is what the configuration gives policies to read.
pub(super) fn check(arguments: &[String], decision: Option<&str>, input: &InputConfig) -> Result<bool> {
    let shown = arguments.join(", ");
    let keys = policy::keys(decision.unwrap_or(DEFAULT_DECISION))?;
    let mut bundles = Vec::new();
    let mut faults = Vec::new();
    for argument in arguments {
        match policy::read(argument, Take::Bundle) {
            Ok(bundle) => bundles.push(bundle),
            Err(error) => match error.downcast::<BundleError>() {
                Ok(BundleError::Module(error)) => match policy::syntax_faults(argument) {
                    found if found.is_empty() => faults.push(error.to_string()),
                    found => faults.extend(found),
                },
                Ok(error) => faults.push(error.to_string()),
                // There is nothing to be checked.
                Err(error) => return Err(error),
            },
        }
    }
    let parts: Vec<Part<'_>> = bundles.iter().map(Bundle::part).collect();
    if faults.is_empty() {
        faults = refusals(&parts, &keys);
    }
    if !faults.is_empty() {
        println!("{shown}: refused");
        faults.iter().for_each(|fault| println!("  fault in {fault}"));
        return Ok(false);
    }
    let options = Options { without_tests: true, places: true, ..Options::default() };
    let compiled = compiler(parts, options)?.finish()?;
    println!("{shown}: good");
    warnings(&compiled, decision.map(|_| keys.as_slice()), input)?
        .iter()
        .for_each(|warning| println!("  warning in {warning}"));
    Ok(true)
}

/// Everything for which the filter would refuse the policy.
fn refusals(parts: &[Part<'_>], keys: &[&str]) -> Vec<String> {
    match Policy::compile(&keys.join("/"), parts, EvaluationLimits::default()) {
        Ok(_) => Vec::new(),
        Err(PolicyError::Rego { message }) => {
            let options = Options { without_tests: true, ..Options::default() };
            match compiler(parts.to_vec(), options).map(portcullis_rego::Compiler::finish) {
                Ok(Err(errors)) => errors.0.iter().map(ToString::to_string).collect(),
                _ => vec![message],
            }
        }
        Err(error) => vec![error.to_string()],
    }
}

fn warnings(
    compiled: &portcullis_rego::Policy,
    keys: Option<&[&str]>,
    input: &InputConfig,
) -> Result<Vec<String>> {
    let place = |pos: Pos| format!("{}:{}", policy::place(compiled, pos), pos.col);
    let mut warnings = Vec::new();
    if let Some(keys) = keys
        && !compiled.exists(keys)
    {
        warnings
            .push(format!("{}: no rule and no data is there: every answer is undefined", reference(keys)));
    }
    let query = keys.map_or_else(|| "data".to_owned(), reference);
    let reads = compiled.reads(&compiled.query(&query)?);
    let mut reported = BTreeSet::new();
    for (pos, path) in compiled.input_references() {
        // With a decision, only of what it can come to.
        if keys.is_some() && !reads.input.touches(&path) {
            continue;
        }
        let steps: Vec<&str> = path.iter().map_while(string).collect();
        if let Some(why) = vain(&steps, input)
            && reported.insert((pos, why.clone()))
        {
            warnings.push(format!("{}: {why}", place(pos)));
        }
    }
    if reads.outside.contains("opa.runtime") {
        warnings.push(
            "opa.runtime(): it has `config.labels` alone: neither the rest of the configuration nor the environment is told"
                .to_owned(),
        );
    }
    for scanned in compiled.scanned(MANY_RULES) {
        let portcullis_rego::Scanned { name, rules, looked_at, pos } = scanned;
        warnings.push(format!(
            "{}: {looked_at} of {rules} rules of `{name}` are looked at for every request: compare something of `input` with a \
             constant in each, as in `input.parsed_path[0] == \"orders\"`",
            place(pos)
        ));
    }
    Ok(warnings)
}

/// Why a part of `input` is never there, if it is not.
fn vain(steps: &[&str], input: &InputConfig) -> Option<String> {
    let shown = |steps: &[&str]| steps.iter().fold("input".to_owned(), |path, step| format!("{path}.{step}"));
    if let Some(why) = never_there(steps, input) {
        return Some(format!("`{}` is never there: {why}", shown(steps)));
    }
    match input_field(steps) {
        Field::Known | Field::Absent(_) => None,
        Field::Unknown { at, known } => {
            let wrong = steps.get(at).copied().unwrap_or_default();
            let path = shown(steps.get(..=at).unwrap_or(steps));
            let near = known.iter().max_by(|one, other| {
                strsim::jaro_winkler(one, wrong).total_cmp(&strsim::jaro_winkler(other, wrong))
            });
            let cure = match near {
                Some(near) if strsim::jaro_winkler(near, wrong) > 0.8 => format!("did you mean `{near}`?"),
                Some(_) => format!("there is {}", known.join(", ")),
                None => "it is a text or a number that has nothing below it".to_owned(),
            };
            Some(format!("`{path}` is never there: {cure}"))
        }
    }
}
