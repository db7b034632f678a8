//! Calls of builtin functions beside OPA.

use portcullis_rego::builtins::{self, Builtin, Kept, Run};

use super::arguments::{Arg, any, of_type};
use super::families::{special, together};
use super::oracle::{CallRequest, Oracle, Request};
use super::random::Random;
use super::subject::{self, Outcome};

pub const NOW_NS: i64 = 1_700_000_000_123_456_789;

/// One call that was answered in two ways.
pub struct Difference {
    pub name: &'static str,
    pub args: Vec<Arg>,
    pub opa: Outcome,
    pub ours: Outcome,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let args: Vec<String> = self.args.iter().map(Arg::to_string).collect();
        let short = |o: &Outcome| o.to_string().chars().take(400).collect::<String>();
        write!(
            f,
            "{}({})\n    OPA  {}\n    here {}",
            self.name,
            args.join(", "),
            short(&self.opa),
            short(&self.ours)
        )
    }
}

/// The functions that can be compared: their answer depends on their arguments alone.
pub fn comparable(only: Option<&str>) -> Vec<&'static Builtin> {
    builtins::all()
        .filter(|b| {
            matches!(b.run, Run::Function(_))
                // Tokens are verified at the time that both sides are told.
                && (!b.nondeterministic || b.name.starts_with("io.jwt."))
                && !b.variadic
                && !b.name.starts_with("opa.")
                && !b.name.starts_with("internal.print")
        })
        // OPA takes the time of its machine, where it is told none.
        .filter(|b| !b.timed || b.name.ends_with("_with_options"))
        // Compiled templates share a cache with patterns there, by their text: they would spoil the answers of the others.
        .filter(|b| b.name != "regex.template_match" || only == Some(b.name))
        .filter(|b| only.is_none_or(|o| b.name.contains(o)))
        .collect()
}

pub fn arguments(r: &Random, builtin: &Builtin) -> Vec<Arg> {
    if r.chance(75)
        && let Some(args) = together(builtin.name, r)
    {
        return args;
    }
    builtin
        .args
        .iter()
        .enumerate()
        .map(|(i, wanted)| {
            if r.chance(3) && !builtin.name.starts_with("numbers.range") {
                return any(r, 2);
            }
            if (!r.chance(15)
                || builtin.name.starts_with("numbers.range")
                || builtin.name.starts_with("bits.lsh"))
                && let Some(arg) = special(builtin.name, i, r)
            {
                return arg;
            }
            of_type(r, wanted, 3)
        })
        .collect()
}

/// Where OPA itself is at fault, or where an answer is not a function of the arguments.
fn excused(name: &str, args: &[Arg], opa: &Outcome, ours: &Outcome) -> bool {
    match opa {
        // A panic, a crash or no end: nothing to compare with.
        Outcome::Broken => true,
        // Answers beyond what is allowed here.
        Outcome::Value(text) if text.len() > 16_000 && ours.class().starts_with("limit") => true,
        // Loops that it gives up after a time are bounded here by steps and bytes.
        Outcome::Error(code) if code == "halt" => matches!(ours, Outcome::Value(_) | Outcome::Error(_)),
        _ => {
            // Compiled templates are kept by their text, without the delimiters: another pair of delimiters gets the first one's.
            // `%p` of a big integer is an address.
            (name == "sprintf"
                && (opa.to_string().contains("0x") || ours.to_string().contains("p(*big.Int=")))
                || name == "regex.template_match"
                    && args.get(2..) != Some(&[super::arguments::txt("{"), super::arguments::txt("}")])
        }
    }
}

/// Compares calls, and makes those that differ small.
pub struct Calls<'a> {
    pub oracle: &'a mut Oracle,
    pub kept: Kept,
    pub compared: u64,
    /// Calls that ended in a bound here, where OPA has an answer: our caps.
    pub capped: u64,
}

impl<'a> Calls<'a> {
    pub fn new(oracle: &'a mut Oracle) -> Calls<'a> {
        Calls { oracle, kept: Kept::default(), compared: 0, capped: 0 }
    }

    fn both(&mut self, calls: &[(&'static str, Vec<Arg>)]) -> Vec<(Outcome, Outcome)> {
        let request = Request {
            now_ns: NOW_NS,
            calls: calls
                .iter()
                .map(|(name, args)| CallRequest {
                    builtin: (*name).to_string(),
                    args: args.iter().map(Arg::to_string).collect(),
                })
                .collect(),
            ..Request::default()
        };
        let answer = self.oracle.ask(&request);
        assert_eq!(answer.results.len(), calls.len(), "{answer:?}");
        let opa = answer.results.iter().map(Outcome::of);
        opa.zip(calls)
            .map(|(opa, (name, args))| (opa, subject::call(name, args, &mut self.kept, NOW_NS)))
            .collect()
    }

    fn differs(&mut self, name: &'static str, args: &[Arg]) -> Option<(Outcome, Outcome)> {
        if !args.iter().all(Arg::distinct) {
            return None;
        }
        let both = self.both(&[(name, args.to_vec())]);
        let (opa, ours) = both.into_iter().next()?;
        (opa != ours && !excused(name, args, &opa, &ours)).then_some((opa, ours))
    }

    /// One batch of random calls; the differences, made small.
    pub fn batch(
        &mut self,
        r: &Random,
        table: &[&'static Builtin],
        size: usize,
        most: usize,
    ) -> Vec<Difference> {
        let calls: Vec<(&'static str, Vec<Arg>)> = (0..size)
            .map(|_| {
                let b = r.pick(table);
                let mut args = arguments(r, b);
                while !args.iter().all(Arg::distinct) {
                    args = arguments(r, b);
                }
                (b.name, args)
            })
            .collect();
        let mut found = Vec::new();
        for ((name, args), (opa, ours)) in calls.iter().zip(self.both(&calls)) {
            self.compared += 1;
            if opa == ours || excused(name, args, &opa, &ours) {
                continue;
            }
            if ours.class().starts_with("limit") {
                self.capped += 1;
            }
            if found.len() < most {
                found.push(self.shrink(name, args.clone(), opa, ours));
            }
        }
        found
    }

    fn shrink(&mut self, name: &'static str, args: Vec<Arg>, opa: Outcome, ours: Outcome) -> Difference {
        let mut least = Difference { name, args, opa, ours };
        let mut tries = 0;
        'again: loop {
            for i in 0..least.args.len() {
                for smaller in least.args[i].smaller() {
                    tries += 1;
                    if tries > 2000 {
                        return least;
                    }
                    let mut args = least.args.clone();
                    args[i] = smaller;
                    if let Some((opa, ours)) = self.differs(name, &args)
                        && opa.class() == least.opa.class()
                        && ours.class() == least.ours.class()
                    {
                        least = Difference { name, args, opa, ours };
                        continue 'again;
                    }
                }
            }
            return least;
        }
    }
}
