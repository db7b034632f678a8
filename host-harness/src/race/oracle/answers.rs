//! What a rule says of one answer, and of what every worker answers in the end.

use std::collections::BTreeSet;

use super::{Violation, between::Between, found};
use crate::{
    envoy::Exchange,
    race::scenario::{Answer, Like, Rule},
};

/// What must have been answered to which request for a rule to hold at all.
pub(super) fn condition(rule: &Rule) -> Option<&(String, Answer)> {
    match rule {
        Rule::Never { when, .. } | Rule::Always { when, .. } | Rule::Eventually { when, .. } => when.as_ref(),
        _ => None,
    }
}

/// What a rule says to an answer.
pub(super) enum Checked {
    Holds,
    /// It depends on an answer that is not there yet.
    Later,
    Broken(Violation),
}

pub(super) fn check_answer(rule: &Rule, name: &str, exchange: &Exchange, between: &Between) -> Checked {
    let (requests, answers) = match rule {
        Rule::Never { requests, answer, .. } => (requests, std::slice::from_ref(answer)),
        Rule::Always { requests, answers, .. } => (requests, answers.as_slice()),
        _ => return Checked::Holds,
    };
    if !requests.is_empty() && !requests.iter().any(|request| request == name) {
        return Checked::Holds;
    }
    // An answer that is compared with itself says nothing.
    if answers.iter().any(|answer| answer.like.iter().any(|like| like.request == name)) {
        return Checked::Holds;
    }
    let mut resolved = Vec::new();
    for answer in answers {
        match between.resolve(answer) {
            None => return Checked::Later,
            Some(None) => return Checked::Holds,
            Some(Some(answer)) => resolved.push(answer),
        }
    }
    let holds = resolved.iter().any(|answer| answer.matches(exchange));
    if holds != matches!(rule, Rule::Never { .. }) {
        return Checked::Holds;
    }
    let found = found(exchange, &resolved);
    let reported: Vec<String> = resolved.iter().map(Answer::to_string).collect();
    let reported =
        format!("{}{}", reported.join(", or "), sources(answers.iter().flat_map(|answer| &answer.like)));
    Checked::Broken(if holds {
        let message = format!("request `{name}` is answered {found}, which it must never be ({reported})");
        Violation::new("never", message)
    } else {
        Violation::new("always", format!("request `{name}` is answered {found}, and not {reported}"))
    })
}

/// `, as request `A` was answered`
pub(super) fn sources<'a>(likes: impl Iterator<Item = &'a Like>) -> String {
    let named: BTreeSet<&str> = likes.map(|like| like.request.as_str()).collect();
    let named: Vec<String> = named.into_iter().map(|name| format!("`{name}`")).collect();
    match named.as_slice() {
        [] => String::new(),
        [one] => format!(", as request {one} was answered"),
        several => format!(", as requests {} were answered", several.join(" and ")),
    }
}

/// One sentence for all workers that answer something else.
pub(super) fn unmet(
    asked: &str,
    when: Option<&(String, Answer)>,
    (answer, likes): (&Answer, &[Like]),
    seen: &[(usize, Option<&Exchange>)],
) -> Option<Violation> {
    let wrong =
        seen.iter().filter(|(_, exchange)| !exchange.is_some_and(|exchange| answer.matches(exchange)));
    let wrong: Vec<String> = wrong
        .map(|(worker, exchange)| {
            let found = exchange
                .map_or("nothing".to_owned(), |exchange| found(exchange, std::slice::from_ref(answer)));
            format!("w{worker} answers {found}")
        })
        .collect();
    if wrong.is_empty() {
        return None;
    }
    let because = match when {
        Some((name, answer)) if *answer == Answer::default() => {
            format!(", since request `{name}` was answered")
        }
        Some((name, answer)) => format!(", since request `{name}` was answered {answer}"),
        None => String::new(),
    };
    let like = sources(likes.iter());
    let message =
        format!("in the end {asked} must be answered {answer}{like}{because}, and {}", wrong.join(", "));
    Some(Violation::new("eventually", message))
}
