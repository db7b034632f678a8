//! What failed and why, in sentences: which two turns raced, where one was held, and what the other did meanwhile.

use super::{
    run::{Hold, Run, Turn},
    words,
};
use crate::race::trace::{Finding, Step, Verb};

/// The first finding of a run, in sentences.
pub(super) struct Story<'a> {
    /// What failed, in one sentence.
    pub(super) headline: String,
    pub(super) finding: Option<&'a Finding>,
    /// The step at which it showed.
    pub(super) shows: Option<usize>,
    /// The step after which every way to go on fails.
    pub(super) inevitable: Option<usize>,
    /// The turns that raced: A, which was held back, and B.
    pub(super) raced: Option<[usize; 2]>,
    /// Where A (or else B) stood still while the other went on.
    pub(super) hold: Option<(usize, Hold)>,
    /// How it came to it, one sentence each.
    pub(super) sentences: Vec<String>,
}

impl<'a> Story<'a> {
    pub(super) fn of(run: &Run<'a>) -> Self {
        let Some(finding) = run.trace.findings.first() else {
            return Self {
                headline: run.trace.excerpt.as_ref().map_or_else(|| quiet(run), |it| it.quiet.clone()),
                finding: None,
                shows: None,
                inevitable: None,
                raced: None,
                hold: None,
                sentences: Vec::new(),
            };
        };
        let raced = finding.raced.as_ref().and_then(|(a, b)| Some([run.turn(a)?, run.turn(b)?]));
        let shows = run.index(finding.step);
        // What is already seen needs nobody to say that it is inevitable.
        let decides = |index: &usize| shows.is_none_or(|shows| *index < shows);
        let mut story = Self {
            headline: String::new(),
            finding: Some(finding),
            shows,
            inevitable: finding.inevitable_after.and_then(|number| run.index(number)).filter(decides),
            raced,
            hold: raced.and_then(|raced| hold(run, raced)),
            sentences: Vec::new(),
        };
        story.headline = story.headline(run, finding);
        story.sentences = match &run.trace.excerpt {
            Some(excerpt) => excerpt.sentences.iter().map(|text| words::shortened(text, 300)).collect(),
            None => story.sentences(run),
        };
        story
    }

    /// `A` or `B`, when this turn is one of those that raced.
    pub(super) fn letter(&self, turn: usize) -> Option<&'static str> {
        let [a, b] = self.raced?;
        if turn == a {
            Some("A")
        } else if turn == b {
            Some("B")
        } else {
            None
        }
    }

    fn headline(&self, run: &Run<'_>, finding: &Finding) -> String {
        let failed = self.beliefs(run, finding).unwrap_or_else(|| words::reason(&finding.message, 300));
        let name = |turn: usize| run.turns.get(turn).map(|turn| words::turn(turn.name)).unwrap_or_default();
        match (self.raced, self.hold) {
            (Some(raced), Some((held, hold))) => {
                let other = raced.into_iter().find(|&turn| turn != held).unwrap_or(held);
                let place = match (hold.until.and_then(|i| run.step(i)), run.step(hold.after)) {
                    (Some(next), _) => format!(" before {}", words::code(&words::brief(next))),
                    (None, Some(last)) => format!(" after {}", words::code(&words::brief(last))),
                    (None, None) => String::new(),
                };
                format!("{} went on while {} was held{place}: {failed}", name(other), name(held))
            }
            (Some([a, b]), None) => {
                let (first, second) = if starts(run, a) <= starts(run, b) { (a, b) } else { (b, a) };
                match in_usual_order(run, first, second) {
                    true => format!("{} and {} raced: {failed}", name(a), name(b)),
                    false => format!("{} came before {}: {failed}", name(first), name(second)),
                }
            }
            (None, _) => failed,
        }
    }

    /// `w2 believes NOT_READY, shared data says READY`: for what did not converge, that says more than a message.
    fn beliefs(&self, run: &Run<'_>, finding: &Finding) -> Option<String> {
        let about_beliefs =
            ["agreement", "convergence", "eventually", "views"].contains(&finding.oracle.as_str());
        let at = self.shows.filter(|_| about_beliefs)?;
        for shared in &run.shared {
            let Some(truth) = shared.truth.at(at) else { continue };
            let wrong: Vec<_> = shared.views.iter().filter(|view| view.differs_at(at)).collect();
            let Some((first, others)) = wrong.split_first() else { continue };
            let believed = first.line.at(at)?;
            let who = words::visible(run.thread_name(first.thread)).into_owned();
            let who = match others.len() {
                0 => format!("{who} believes"),
                more => format!("{who} and {more} more believe"),
            };
            let (believed, truth) =
                (words::shortened(&believed.value, 80), words::shortened(&truth.value, 80));
            return Some(format!("{who} {believed}, shared data says {truth}"));
        }
        None
    }

    fn sentences(&self, run: &Run<'_>) -> Vec<String> {
        let mut sentences = Vec::new();
        if let (Some(raced), Some((held, hold))) = (self.raced, self.hold) {
            let other = raced.into_iter().find(|&turn| turn != held).unwrap_or(held);
            let letter = self.letter(held).unwrap_or("A");
            if let Some(last) = run.step(hold.after) {
                sentences.push(match hold.until.and_then(|index| run.step(index)) {
                    Some(next) => format!(
                        "{letter} stood still between {} (step {}) and {} (step {}).",
                        words::deed(last, 60),
                        last.number,
                        words::deed(next, 60),
                        next.number
                    ),
                    None => {
                        let last_words = words::deed(last, 60);
                        format!("{letter} did {last_words} (step {}) and never went on.", last.number)
                    }
                });
            }
            if let Some(turn) = run.turns.get(other) {
                let letter = self.letter(other).unwrap_or("B");
                sentences.push(format!("Meanwhile {letter} {}.", deeds(run, turn, &hold)));
            }
        } else if let Some([a, b]) = self.raced {
            for (letter, turn) in [("A", a), ("B", b)] {
                let Some(turn) = run.turns.get(turn) else { continue };
                let did = deeds(run, turn, &Hold { after: 0, until: None });
                sentences.push(format!("{letter} {did}."));
            }
        }
        if let Some(step) = self.inevitable.and_then(|index| run.step(index)) {
            let before = run.risk.iter().rev().find(|(_, share)| *share < 1.0);
            let before = before.map_or(String::new(), |(_, share)| {
                format!("; before it, {} of random ways did", words::percent(*share))
            });
            sentences.push(format!(
                "After step {}, {}, every way to go on fails{before}.",
                step.number,
                words::deed(step, 60)
            ));
        }
        if let (Some(index), Some(finding)) = (self.shows, self.finding) {
            let number = run.step(index).map_or(0, |step| step.number);
            let message = words::reason(&finding.message, 300);
            sentences.push(match index + 1 == run.trace.steps.len() {
                true => format!("In the end (step {number}): {}.", message.trim_start_matches("in the end ")),
                // The headline has said what.
                false if self.raced.is_none() => format!("It shows at step {number}."),
                false => format!("At step {number} it shows: {message}."),
            });
        }
        sentences
    }
}

fn starts(run: &Run<'_>, turn: usize) -> usize {
    run.turns.get(turn).map_or(0, Turn::first)
}

/// Whether the order of two turns says nothing: they are of one kind on one thread, and came as they are counted.
fn in_usual_order(run: &Run<'_>, first: usize, second: usize) -> bool {
    let (Some(first), Some(second)) = (run.turns.get(first), run.turns.get(second)) else { return true };
    let (first, second) = (first.name, second.name);
    first.thread == second.thread && first.event == second.event && first.ordinal <= second.ordinal
}

fn quiet(run: &Run<'_>) -> String {
    match run.trace.steps.len() {
        0 => "Nothing happened: the run has no steps".to_owned(),
        steps => format!(
            "Nothing failed in {} on {}",
            words::count(steps, "step"),
            words::count(run.threads.len(), "thread")
        ),
    }
}

/// Where one of the two stood still while the other had steps; the first of the pair goes first.
fn hold(run: &Run<'_>, [a, b]: [usize; 2]) -> Option<(usize, Hold)> {
    for (held, other) in [(a, b), (b, a)] {
        let (Some(turn), Some(other)) = (run.turns.get(held), run.turns.get(other)) else { continue };
        for hold in &turn.holds {
            let within = |&&step: &&usize| hold.after < step && hold.until.is_none_or(|until| step < until);
            if other.steps.iter().any(|step| within(&step)) {
                return Some((held, *hold));
            }
        }
    }
    None
}

/// What a turn did of what others can see, while another one was held; else which callbacks ran.
fn deeds(run: &Run<'_>, turn: &Turn<'_>, hold: &Hold) -> String {
    let silent = [Verb::Enter, Verb::Return, Verb::Response, Verb::Request, Verb::Metric, Verb::ChangeMetric];
    let meanwhile = |step: &&usize| **step >= hold.after && hold.until.is_none_or(|until| **step < until);
    let all: Vec<&Step> = turn.steps.iter().filter(meanwhile).filter_map(|&step| run.step(step)).collect();
    let seen: Vec<&Step> = all.iter().copied().filter(|step| !silent.contains(&step.verb)).collect();
    let (verb, mut reported) = match seen.is_empty() {
        true => (
            "ran",
            turn.exports().into_iter().map(|export| words::code(&words::shortened(export, 60))).collect(),
        ),
        false => ("did", seen.iter().map(|step| words::deed(step, 40)).collect::<Vec<_>>()),
    };
    if reported.is_empty() {
        reported.push("no callback".to_owned());
    }
    if reported.len() > 5 {
        let more = reported.split_off(5).len();
        reported.push(format!("and {more} more"));
    }
    let steps = if seen.is_empty() { all } else { seen };
    let number = |step: Option<&&Step>| step.map_or(0, |step| step.number);
    match (number(steps.first()), number(steps.last())) {
        (first, last) if first == last => format!("{verb} {} (step {first})", reported.join(", ")),
        (first, last) => format!("{verb} {} (steps {first} to {last})", reported.join(", ")),
    }
}
