//! Random policies beside OPA: what loads, and what every rule answers.

use super::documents::Doc;
use super::oracle::{Case, CompileError, Oracle, Request};
use super::policy::{Draw, Policy};
use super::random::Random;
use super::subject::{self, Outcome, Refusal};
use super::tree::Node;

pub const NOW_NS: i64 = 1_700_000_000_123_456_789;

/// One policy with the documents that it is asked about.
#[derive(Clone)]
pub struct Situation {
    pub policy: Policy,
    pub data: Doc,
    pub inputs: Vec<Option<Doc>>,
    pub queries: Vec<String>,
}

/// In which way the two sides differ.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Loaded here, refused by OPA with this code and sentence.
    Loose(String),
    /// Refused here, for this reason; OPA loads it.
    Refused(String),
    /// Another answer: OPA's kind of it, and ours.
    Answer(String, String),
    /// The two ways of finding rules do not agree.
    Index,
    /// The answer depends on what is said not to be read.
    Reads,
}

pub struct Difference {
    pub seed: u64,
    pub kind: Kind,
    pub opa: String,
    pub ours: String,
    pub situation: Situation,
    pub query: String,
    pub input: Option<Doc>,
}

impl Situation {
    pub fn random(r: &Random) -> Situation {
        let policy = Draw::policy(r);
        let data = Doc::data(r);
        let inputs = (0..*r.pick(&[4, 8, 12])).map(|_| Doc::input(r)).collect();
        Situation { queries: policy.queries.clone(), policy, data, inputs }
    }

    pub fn texts(&self) -> Vec<(String, String)> {
        self.policy.modules.iter().enumerate().map(|(i, m)| (format!("m{i}.rego"), m.to_string())).collect()
    }

    /// A rule of OPA's that ends at its first value does not go on with a `walk` in a rule or function that it reads, and so
    /// does not come to a second value of that one. Here what is read is read to its end.
    fn walks(&self) -> bool {
        self.texts().iter().any(|(_, text)| text.contains("walk("))
    }

    /// Whether OPA's answers to it are a function of the text: not what its own regular expressions cache, nor its named faults.
    fn excused(&self) -> bool {
        let text: String = self.policy.modules.iter().map(Node::to_string).collect();
        // A rule named `_` goes by a made-up name there.
        if text.lines().any(|l| l.starts_with("_") || l.starts_with("(_") || l.starts_with("default _"))
            || text.contains("}_")
            || text.contains("\"_")
        {
            return true;
        }
        // Steps of paths are told apart there by how they are spelled: `p[1]` and `p[1.0]`.
        let spelled = |l: &str| l.split([' ', '(']).next().is_some_and(|head| head.contains(".0]"));
        text.contains("template_match") || text.lines().any(spelled)
    }
}

/// An outcome in which equal numbers are written in one way: which of two definitions with equal values comes first may
/// depend on the index.
fn spelled(outcome: &Outcome) -> String {
    let text = outcome.to_string();
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find(".0") {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let zeros = after[1..].len() - after[1..].trim_start_matches('0').len();
        let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
        let whole = digit(before.chars().last()) && !digit(after[1 + zeros..].chars().next());
        out.push_str(if whole { "" } else { &after[..1 + zeros] });
        rest = &after[1 + zeros..];
    }
    out + rest
}

/// The sentence of an error without the names and places in it.
fn gist(message: &str) -> String {
    let mut out = String::new();
    for word in message.split_whitespace().take(9) {
        let plain = word.chars().all(|c| c.is_ascii_lowercase() || ",:;".contains(c)) && word.len() > 1;
        out.push_str(if plain { word } else { "_" });
        out.push(' ');
    }
    out
}

pub struct Policies<'a> {
    pub oracle: &'a mut Oracle,
    pub policies: u64,
    pub loaded: u64,
    pub refused_by_both: u64,
    pub evaluations: u64,
    pub conflicts: u64,
    pub indexed: u64,
    /// Answers that OPA's index changes: without it OPA answers as we do.
    pub index_faults: u64,
    /// Evaluations in which OPA itself panicked or did not end.
    pub broken: u64,
    /// What changes with the numbers of OPA's own variables.
    pub by_number: u64,
    /// Conflicts that OPA does not come to, because it leaves a `walk` early.
    pub left_early: u64,
    /// What may be refused here by name, with how often.
    pub by_name: std::collections::BTreeMap<String, u64>,
}

impl<'a> Policies<'a> {
    pub fn new(oracle: &'a mut Oracle) -> Policies<'a> {
        Policies {
            oracle,
            policies: 0,
            loaded: 0,
            refused_by_both: 0,
            evaluations: 0,
            conflicts: 0,
            indexed: 0,
            index_faults: 0,
            broken: 0,
            by_number: 0,
            left_early: 0,
            by_name: Default::default(),
        }
    }

    fn ask(&mut self, s: &Situation, indexing: Option<bool>) -> Result<Vec<Outcome>, CompileError> {
        self.ask_behind(s, indexing, 0)
    }

    /// The same, where OPA has named so many variables of its own before it comes to the policy.
    fn ask_behind(
        &mut self,
        s: &Situation,
        indexing: Option<bool>,
        before: usize,
    ) -> Result<Vec<Outcome>, CompileError> {
        let mut texts = s.texts();
        if before > 0 {
            let assignments: String = (0..before).map(|i| format!("x{i} := {i}\n")).collect();
            let if_ = if s.policy.v0 { "" } else { " if" };
            texts.push(("a.rego".into(), format!("package system.before\np{if_} {{\n{assignments}}}\n")));
        }
        let raw = |doc: &Doc| serde_json::value::RawValue::from_string(doc.to_string()).expect("JSON");
        let mut cases = Vec::new();
        for input in &s.inputs {
            for query in &s.queries {
                cases.push(Case { query: query.clone(), input: input.as_ref().map(raw) });
            }
        }
        let request = Request {
            modules: texts.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect(),
            v0: s.policy.v0,
            data: Some(raw(&s.data)),
            cases,
            now_ns: NOW_NS,
            indexing,
            ..Request::default()
        };
        let answer = self.oracle.ask(&request);
        match answer.compile.into_iter().next() {
            Some(error) => Err(error),
            // It panicked, as a rule when it compiled: no answer is worth anything.
            None if answer.results.iter().all(|r| !r.panic.is_empty() || r.crash)
                && !answer.results.is_empty() =>
            {
                Err(CompileError::default())
            }
            None => Ok(answer.results.iter().map(Outcome::of).collect()),
        }
    }

    /// What both sides say of a situation, in words.
    pub fn both(&mut self, s: &Situation) -> (String, String) {
        let opa = match self.ask(s, None) {
            Ok(answers) => answers.iter().map(|a| a.to_string()).collect::<Vec<_>>().join("  "),
            Err(e) => format!("refused: {} {} {}", e.code, e.message, e.place),
        };
        let ours = match subject::load(&s.texts(), s.policy.v0, &s.data.to_string(), false) {
            Err(Refusal::ByName(why) | Refusal::Error(why)) => format!("refused: {why}"),
            Ok(ours) => {
                let mut all = Vec::new();
                for input in &s.inputs {
                    let input = input.as_ref().map(Doc::to_string);
                    all.extend(s.queries.iter().map(|q| ours.evaluate(q, input.as_deref()).to_string()));
                }
                all.join("  ")
            }
        };
        (opa, ours)
    }

    /// Compares one situation; counts when `count`. The first difference of each kind of answer.
    fn compare(&mut self, s: &Situation, seed: u64, count: bool) -> Option<Difference> {
        let found = self.compare_as_it_is(s, seed, count)?;
        // Keys of an object that are variables stand in the order of their names as texts, and OPA numbers its own: which of
        // two equal keys counts may change with `__local9__` and `__local10__`.
        let ours = subject::load(&s.texts(), s.policy.v0, &s.data.to_string(), false);
        for before in [20, 120] {
            let other = self.ask_behind(s, None, before);
            let same = match (&ours, &other) {
                (Err(_), Err(_)) => true,
                (Ok(ours), Ok(other)) => {
                    let asked = s.inputs.iter().flat_map(|i| s.queries.iter().map(move |q| (q, i)));
                    asked
                        .zip(other)
                        .all(|((q, i), o)| ours.evaluate(q, i.as_ref().map(Doc::to_string).as_deref()) == *o)
                }
                _ => false,
            };
            if same && (!s.queries.is_empty() || !matches!(found.kind, Kind::Answer(..))) {
                self.by_number += u64::from(count);
                return None;
            }
        }
        Some(found)
    }

    fn compare_as_it_is(&mut self, s: &Situation, seed: u64, count: bool) -> Option<Difference> {
        let opa = self.ask(s, None);
        let ours = subject::load(&s.texts(), s.policy.v0, &s.data.to_string(), true);
        self.policies += u64::from(count);
        let at = |kind, opa: String, ours: String| Difference {
            seed,
            kind,
            opa,
            ours,
            situation: s.clone(),
            query: String::new(),
            input: None,
        };
        let (opa, ours) = match (opa, ours) {
            (Err(error), _) if error.message.is_empty() => {
                self.broken += u64::from(count);
                return None;
            }
            (Err(error), Ok(_)) => {
                return Some(at(
                    Kind::Loose(format!("{} {}", error.code, gist(&error.message))),
                    format!("{} {} ({})", error.code, error.message, error.place),
                    "loads".into(),
                ));
            }
            (Err(_), Err(_)) => {
                self.refused_by_both += u64::from(count);
                return None;
            }
            (Ok(_), Err(Refusal::ByName(why))) => {
                *self
                    .by_name
                    .entry(
                        why.split_once("_error: ")
                            .map_or(why.as_str(), |(_, w)| w)
                            .lines()
                            .next()
                            .unwrap_or_default()
                            .to_string(),
                    )
                    .or_default() += u64::from(count);
                return None;
            }
            // A head's variable that nothing binds and that is called as OPA calls its own: its value is none.
            (Ok(_), Err(Refusal::Error(why))) if why.contains("variable `__local") => {
                *self.by_name.entry("a head's variable called __local…".into()).or_default() +=
                    u64::from(count);
                return None;
            }
            (Ok(_), Err(Refusal::Error(_))) if s.excused() => return None,
            (Ok(_), Err(Refusal::Error(why))) => {
                return Some(at(Kind::Refused(gist(&why)), "loads".into(), why));
            }
            (Ok(opa), Ok(ours)) => (opa, ours),
        };
        self.loaded += u64::from(count);
        let mut i = 0;
        for input in &s.inputs {
            for query in &s.queries {
                let theirs = opa.get(i)?;
                i += 1;
                let here = ours.evaluate(query, input.as_ref().map(Doc::to_string).as_deref());
                if count {
                    self.evaluations += 1;
                    self.conflicts += u64::from(theirs.class().contains("conflict"));
                }
                let differ = |kind, opa: &Outcome, ours: &Outcome| Difference {
                    seed,
                    kind,
                    opa: opa.to_string(),
                    ours: ours.to_string(),
                    situation: s.clone(),
                    query: query.clone(),
                    input: input.clone(),
                };
                // The query itself may be refused there: it asks for what cannot be.
                if theirs.class().starts_with("query_")
                    || (query.contains('[') && matches!(theirs, Outcome::Value(v) if v.contains("; ")))
                {
                    continue;
                }
                self.broken += u64::from(count && *theirs == Outcome::Broken);
                if *theirs != here && *theirs != Outcome::Broken && !s.excused() {
                    if !theirs.class().contains("conflict")
                        && !here.class().contains("conflict")
                        && self.without_index(s, query, input.as_ref()) == Some(here.clone())
                    {
                        self.index_faults += u64::from(count);
                        continue;
                    }
                    if matches!(theirs, Outcome::Value(_) | Outcome::Undefined)
                        && here.class().contains("conflict")
                        && s.walks()
                    {
                        self.left_early += u64::from(count);
                        continue;
                    }
                    return Some(differ(
                        Kind::Answer(theirs.class().into(), here.class().into()),
                        theirs,
                        &here,
                    ));
                }
                if count && i % 7 == 0 {
                    ours.starve(query, input.as_ref().map(Doc::to_string).as_deref(), i as u64 * 13 % 97);
                }
                let input_text = input.as_ref().map(Doc::to_string);
                if let Some(of_parts) = ours.with_what_it_reads(query, input_text.as_deref())
                    && of_parts != here
                {
                    return Some(differ(Kind::Reads, &here, &of_parts));
                }
                let Some(scanned) = ours.scanned(query, input.as_ref().map(Doc::to_string).as_deref()) else {
                    continue;
                };
                self.indexed += u64::from(count);
                // What is left out may have had no end: a function that is replaced by a rule that calls it.
                if spelled(&scanned) != spelled(&here)
                    && !matches!(theirs, Outcome::Broken)
                    && !scanned.class().starts_with("limit")
                {
                    // Which of two conflicting rules is reached may depend on it; a value may not.
                    if !scanned.class().contains("conflict") && !here.class().contains("conflict") {
                        return Some(differ(Kind::Index, &scanned, &here));
                    }
                }
            }
        }
        None
    }

    /// OPA's answer when it does not look rules up: its index leaves out rules that hold in a few known cases.
    fn without_index(&mut self, s: &Situation, query: &str, input: Option<&Doc>) -> Option<Outcome> {
        let mut one = s.clone();
        (one.queries, one.inputs) = (vec![query.to_string()], vec![input.cloned()]);
        self.ask(&one, Some(false)).ok()?.into_iter().next()
    }

    /// A situation that is given; its differences bear this seed.
    pub fn given(&mut self, s: &Situation, seed: u64, shrink: bool) -> Option<Difference> {
        let found = self.compare(s, seed, true)?;
        Some(if shrink { self.shrink(found) } else { found })
    }

    /// One random situation.
    pub fn one(&mut self, seed: u64, shrink: bool) -> Option<Difference> {
        let s = Situation::random(&Random::new(seed));
        let found = self.compare(&s, seed, true)?;
        Some(if shrink { self.shrink(found) } else { found })
    }

    fn still(&mut self, s: &Situation, like: &Difference) -> Option<Difference> {
        self.compare(s, like.seed, false).filter(|d| d.kind == like.kind)
    }

    fn shrink(&mut self, found: Difference) -> Difference {
        let mut least = found;
        // One query with one input is enough, where there is one.
        let mut s = least.situation.clone();
        if !least.query.is_empty() {
            (s.queries, s.inputs) = (vec![least.query.clone()], vec![least.input.clone()]);
        } else {
            (s.queries, s.inputs) = (vec![], vec![]);
        }
        match self.still(&s, &least) {
            Some(d) => least = d,
            None => return least,
        }
        let mut tries = 0;
        loop {
            let before = tries_left(&least);
            // Whole modules, then their parts.
            let mut i = 0;
            while i < least.situation.policy.modules.len() && least.situation.policy.modules.len() > 1 {
                let mut s = least.situation.clone();
                s.policy.modules.remove(i);
                match self.still(&s, &least) {
                    Some(d) => least = d,
                    None => i += 1,
                }
            }
            for i in 0..least.situation.policy.modules.len() {
                let mut module = least.situation.policy.modules[i].clone();
                let mut best: Option<Difference> = None;
                module.shrink(&mut |smaller: &Node| {
                    tries += 1;
                    if tries > 4000 {
                        return false;
                    }
                    let mut s = best.as_ref().unwrap_or(&least).situation.clone();
                    s.policy.modules[i] = smaller.clone();
                    match self.still(&s, &least) {
                        Some(d) => {
                            best = Some(d);
                            true
                        }
                        None => false,
                    }
                });
                if let Some(d) = best {
                    least = d;
                }
            }
            while let Some(d) = self.smaller_document(&least) {
                least = d;
            }
            if tries_left(&least) == before || tries > 4000 {
                return least;
            }
        }
    }

    fn smaller_document(&mut self, d: &Difference) -> Option<Difference> {
        let mut s = d.situation.clone();
        for data in d.situation.data.smaller() {
            if !matches!(data, Doc::Object(_)) {
                continue;
            }
            s.data = data;
            if let Some(found) = self.still(&s, d) {
                return Some(found);
            }
        }
        s.data = d.situation.data.clone();
        let input = d.input.as_ref()?;
        for smaller in input.smaller() {
            s.inputs = vec![Some(smaller)];
            if let Some(found) = self.still(&s, d) {
                return Some(found);
            }
        }
        None
    }
}

fn tries_left(d: &Difference) -> usize {
    d.situation.texts().iter().map(|(_, t)| t.len()).sum::<usize>()
        + d.situation.data.to_string().len()
        + d.input.as_ref().map_or(0, |i| i.to_string().len())
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "seed {} {:?}{}",
            self.seed,
            self.kind,
            if self.situation.policy.v0 { " (v0)" } else { "" }
        )?;
        for (_, text) in self.situation.texts() {
            for line in text.lines().filter(|l| !l.trim().is_empty()) {
                writeln!(f, "    {line}")?;
            }
        }
        if self.situation.data != Doc::Object(vec![]) {
            writeln!(f, "  data  {}", self.situation.data)?;
        }
        if let Some(input) = &self.input {
            writeln!(f, "  input {input}")?;
        }
        if !self.query.is_empty() {
            writeln!(f, "  query {}", self.query)?;
        }
        writeln!(f, "  OPA   {}", self.opa)?;
        write!(f, "  here  {}", self.ours)
    }
}
