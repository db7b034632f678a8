//! Policies that are written by hand, with what is asked of them.

use super::documents::Doc;
use super::policies::Situation;
use super::policy::Policy;
use super::subject;
use super::tree::text;

/// Reads one: modules parted by lines `---`; lines `#data`, `#input` and `#query` say what to ask, `#v0` that it is of before
/// Rego v1, `#opa` what OPA answers.
pub fn situation(policy: &str) -> Situation {
    let (mut modules, mut queries) = (vec![String::new()], Vec::new());
    let (mut data, mut input, mut v0) = (Doc::Object(vec![]), None, false);
    let doc = |json: &str| Doc::of(&serde_json::from_str(json).expect("JSON"));
    for line in policy.lines() {
        match line.split_once(' ') {
            Some(("#data", json)) => data = doc(json),
            Some(("#input", json)) => input = Some(doc(json)),
            Some(("#query", query)) => queries.push(query.to_string()),
            Some(("#opa", _)) => {}
            _ if line == "#v0" => v0 = true,
            _ if line == "---" => modules.push(String::new()),
            _ => modules.last_mut().into_iter().for_each(|m| m.push_str(&format!("{line}\n"))),
        }
    }
    if queries.is_empty() {
        queries.push("data".into());
    }
    let modules = modules.into_iter().map(text).collect();
    Situation { policy: Policy { v0, modules, queries: vec![] }, data, inputs: vec![input], queries }
}

/// What this side answers, in the form of `#opa`.
pub fn answer(s: &Situation) -> String {
    let Ok(ours) = subject::load(&s.texts(), s.policy.v0, &s.data.to_string(), false) else {
        return "refused".into();
    };
    let mut all = Vec::new();
    for input in &s.inputs {
        let input = input.as_ref().map(Doc::to_string);
        all.extend(s.queries.iter().map(|q| ours.evaluate(q, input.as_deref()).to_string()));
    }
    all.join("  ")
}
