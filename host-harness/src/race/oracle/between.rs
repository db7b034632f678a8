//! What must hold between the answers to two requests, whichever of them comes first.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{Hash, Hasher},
    sync::Arc,
};

use bytes::Bytes;

use super::{Violation, found};
use crate::{
    envoy::Exchange,
    race::scenario::{Answer, Like, Place, Rule},
};

/// Answers that rules will compare with others.
#[derive(Debug, Clone, Default)]
pub(super) struct Between {
    /// Requests to whose answers rules refer.
    referred: Arc<BTreeSet<String>>,
    /// Their answers.
    answers: BTreeMap<String, Exchange>,
    /// Answers that cannot be checked before another one is there, by the number of the rule and the request's name.
    waiting: BTreeMap<(usize, String), Exchange>,
    /// For a rule by which answers are the same, the first of them.
    first: BTreeMap<usize, (String, Exchange)>,
}

// === impl Between ===

impl Between {
    pub(super) fn of(rules: &[Rule]) -> Between {
        let answers = rules.iter().flat_map(|rule| match rule {
            Rule::Never { answer, .. } | Rule::Eventually { answer, .. } => std::slice::from_ref(answer),
            Rule::Always { answers, .. } => answers.as_slice(),
            _ => &[],
        });
        let referred = answers.flat_map(|answer| &answer.like).map(|like| like.request.clone());
        Between { referred: Arc::new(referred.collect()), ..Between::default() }
    }

    /// Keeps an answer if a rule refers to it.
    pub(super) fn keep(&mut self, name: &str, exchange: &Exchange) {
        if self.referred.contains(name) {
            self.answers.insert(name.to_owned(), exchange.clone());
        }
    }

    pub(super) fn wait(&mut self, rule: usize, name: &str, exchange: &Exchange) {
        self.waiting.insert((rule, name.to_owned()), exchange.clone());
    }

    /// What may no longer have to wait when this request has its answer.
    pub(super) fn take_waiting(&mut self, answered: &str) -> Vec<(usize, String, Exchange)> {
        if !self.referred.contains(answered) {
            return Vec::new();
        }
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_iter().map(|((rule, name), exchange)| (rule, name, exchange)).collect()
    }

    /// An answer with what it takes from others in its place: `None` while one of those is not there, `Some(None)` when
    /// one has not what is taken.
    pub(super) fn resolve(&self, answer: &Answer) -> Option<Option<Answer>> {
        let mut resolved = Answer { like: Vec::new(), ..answer.clone() };
        let mut complete = true;
        for like in &answer.like {
            let exchange = self.answers.get(&like.request)?;
            complete &= take(&mut resolved, like, exchange).is_some();
        }
        Some(complete.then_some(resolved))
    }

    /// Compares an answer with the first one of those that must be the same.
    pub(super) fn compare(
        &mut self,
        number: usize,
        rule: &Rule,
        name: &str,
        exchange: &Exchange,
    ) -> Option<Violation> {
        let Rule::Same { label, requests, status, body, headers } = rule else { return None };
        if !requests.iter().any(|request| request == name) {
            return None;
        }
        let Some((first, other)) = self.first.get(&number) else {
            self.first.insert(number, (name.to_owned(), exchange.clone()));
            return None;
        };
        let values = |exchange: &Exchange, name: &str| -> Vec<Vec<u8>> {
            let named = exchange.headers.iter().filter(|(key, _)| key == name.as_bytes());
            named.map(|(_, value)| value.clone()).collect()
        };
        let same = (!status || exchange.status == other.status)
            && (!body || (&exchange.body, exchange.aborted) == (&other.body, other.aborted))
            && headers.iter().all(|name| values(exchange, name) == values(other, name));
        if same {
            return None;
        }
        let named = headers.iter().map(|name| (name.clone(), String::new())).collect();
        let named = [Answer { headers: named, ..Answer::default() }];
        let why = label.as_ref().map(|label| format!(", for both have the label `{label}`"));
        let message = format!(
            "requests `{first}` and `{name}` must be answered the same{}, and are answered {} and {}",
            why.unwrap_or_default(),
            found(other, &named),
            found(exchange, &named),
        );
        Some(Violation::new("same", message))
    }

    /// Hashes all that decides what will be broken.
    pub(super) fn hash_past(&self, hasher: &mut impl Hasher) {
        let answer = |exchange: &Exchange, hasher: &mut _| {
            let Exchange { status, headers, body, aborted, .. } = exchange;
            Hash::hash(&(status, headers, body, aborted), hasher);
        };
        (self.answers.len(), self.waiting.len(), self.first.len()).hash(hasher);
        for (name, exchange) in &self.answers {
            name.hash(hasher);
            answer(exchange, hasher);
        }
        for (key, exchange) in &self.waiting {
            key.hash(hasher);
            answer(exchange, hasher);
        }
        for (rule, (name, exchange)) in &self.first {
            (rule, name).hash(hasher);
            answer(exchange, hasher);
        }
    }
}

/// Puts a part of another answer in its place. Nothing where there is none, or an empty one to look for.
fn take(answer: &mut Answer, like: &Like, exchange: &Exchange) -> Option<()> {
    let bytes = match &like.header {
        None => exchange.body.as_slice(),
        Some(name) => exchange.header(name)?,
    };
    match &like.place {
        Place::Body => answer.body = Some(Bytes::copy_from_slice(bytes)),
        Place::Contains if bytes.is_empty() => return None,
        Place::Contains => answer.contains = Some(Bytes::copy_from_slice(bytes)),
        Place::Header(name) => {
            answer.headers.insert(name.clone(), String::from_utf8(bytes.to_vec()).ok()?);
        }
    }
    Some(())
}
