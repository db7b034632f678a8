//! Why a policy answers as it does, rule by rule: as text and as JSON.

use portcullis_rego::{Attempt, Evaluated, Failure, Policy, Recorder, Value};
use serde_json::json;

use super::policy::place;

/// Columns of a line; what is longer is cut.
const COLUMNS: usize = 100;

/// An evaluation that was recorded.
pub(super) struct Explanation<'a> {
    pub(super) policy: &'a Policy,
    pub(super) recorder: &'a Recorder,
}

impl Explanation<'_> {
    /// As text, indented as one rule asks for another.
    pub(super) fn text(&self, indent: usize) -> String {
        let mut out = String::new();
        for (index, evaluated) in self.recorder.evaluated().iter().enumerate() {
            if evaluated.within.is_none() {
                self.evaluated(index, indent, &mut out);
            }
        }
        if self.recorder.left_out() > 0 {
            line(&mut out, indent, &format!("… and {} evaluations more", self.recorder.left_out()));
        }
        out
    }

    fn evaluated(&self, index: usize, indent: usize, out: &mut String) {
        let Some(evaluated) = self.recorder.evaluated().get(index) else { return };
        line(out, indent, &format!("{} {}", called(evaluated), answer(evaluated)));
        for (number, attempt) in evaluated.attempts.iter().enumerate() {
            let at = place(self.policy, attempt.pos);
            match &attempt.failure {
                _ if attempt.held => line(out, indent + 2, &format!("{at} holds")),
                None => line(out, indent + 2, &format!("{at} does not hold")),
                Some(Failure::Head) => {
                    line(out, indent + 2, &format!("{at} is not about this: its head says otherwise"));
                }
                Some(Failure::Expression { pos, text, values }) => {
                    line(out, indent + 2, &format!("{at} fails at line {}: {text}", pos.line));
                    for (shown, value) in values {
                        let value = value.as_ref().map_or("undefined".to_owned(), Value::to_rego);
                        line(out, indent + 6, &format!("{shown} is {value}"));
                    }
                }
            }
            for child in self.children(index, number) {
                self.evaluated(child, indent + 4, out);
            }
        }
    }

    fn children(&self, index: usize, number: usize) -> impl Iterator<Item = usize> {
        let within = Some((index, number));
        let all = self.recorder.evaluated().iter().enumerate();
        all.filter(move |(_, evaluated)| evaluated.within == within).map(|(child, _)| child)
    }

    /// The same as a list of what was evaluated, each with what asked for it.
    pub(super) fn json(&self) -> serde_json::Value {
        let evaluated = self.recorder.evaluated().iter().map(|evaluated| {
            let arguments = evaluated.arguments.as_deref().map(|all| all.iter().map(to_json).collect());
            json!({
                "name": evaluated.name,
                "arguments": arguments.map(serde_json::Value::Array),
                "within": evaluated.within.map(|(index, _)| index),
                "value": evaluated.value.clone().flatten().as_ref().map(to_json),
                "rules": evaluated.attempts.iter().map(|rule| self.rule(rule)).collect::<Vec<_>>(),
            })
        });
        evaluated.collect()
    }

    fn rule(&self, rule: &Attempt) -> serde_json::Value {
        let failure = match &rule.failure {
            None => serde_json::Value::Null,
            Some(Failure::Head) => json!({ "head": true }),
            Some(Failure::Expression { pos, text, values }) => {
                let values: Vec<serde_json::Value> = values
                    .iter()
                    .map(|(text, value)| json!({ "text": text, "value": value.as_ref().map(to_json) }))
                    .collect();
                json!({ "line": pos.line, "col": pos.col, "text": text, "values": values })
            }
        };
        let file = self.policy.files().get(rule.pos.file as usize);
        json!({ "file": file, "line": rule.pos.line, "held": rule.held, "failure": failure })
    }
}

fn called(evaluated: &Evaluated) -> String {
    match &evaluated.arguments {
        None => evaluated.name.clone(),
        Some(arguments) => {
            let arguments: Vec<String> = arguments.iter().map(Value::to_rego).collect();
            format!("{}({})", evaluated.name, arguments.join(", "))
        }
    }
}

fn answer(evaluated: &Evaluated) -> String {
    match &evaluated.value {
        None => "came to no end".to_owned(),
        Some(None) => "is undefined".to_owned(),
        Some(Some(value)) => format!("is {}", value.to_rego()),
    }
}

/// A value as JSON has it: sets are lists.
pub(super) fn to_json(value: &Value) -> serde_json::Value {
    serde_json::from_str(&value.to_json()).unwrap_or_else(|_| value.to_json().into())
}

fn line(out: &mut String, indent: usize, text: &str) {
    let room = COLUMNS.saturating_sub(indent).max(40);
    out.extend(std::iter::repeat_n(' ', indent));
    match text.char_indices().nth(room) {
        None => out.push_str(text),
        Some(_) => {
            out.extend(text.chars().take(room - 1));
            out.push('…');
        }
    }
    out.push('\n');
}
