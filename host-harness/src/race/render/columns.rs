//! Which steps are drawn. A run that is too long for its picture keeps what explains its finding; what is left out
//! becomes gaps that say how much it was.

use std::collections::BTreeSet;

use super::{run::Run, story::Story};
use crate::race::trace::Verb;

/// A step that is drawn, or a gap between two of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Column {
    /// Its steps, by index; both ends are within.
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) gap: bool,
}

impl Column {
    /// The step that is drawn here.
    pub(super) fn step(&self) -> Option<usize> {
        (!self.gap).then_some(self.from)
    }

    pub(super) fn count(&self) -> usize {
        self.to - self.from + 1
    }
}

/// All steps if there are not more than `limit`; else those that explain the finding, about so many at most, and gaps.
pub(super) fn columns(run: &Run<'_>, story: &Story<'_>, limit: usize) -> Vec<Column> {
    let end = run.trace.steps.len();
    let kept = if end <= limit { (0..end).collect() } else { important(run, story, limit.max(1)) };
    let mut columns: Vec<Column> = Vec::with_capacity(kept.len() + 8);
    let mut next = 0;
    for step in kept {
        gap(&mut columns, next, step);
        columns.push(Column { from: step, to: step, gap: false });
        next = step + 1;
    }
    gap(&mut columns, next, end);
    columns
}

/// A gap of a single step would take as much room as the step.
fn gap(columns: &mut Vec<Column>, from: usize, to: usize) {
    match to.saturating_sub(from) {
        0 => {}
        1 => columns.push(Column { from, to: from, gap: false }),
        _ => columns.push(Column { from, to: to - 1, gap: true }),
    }
}

/// The steps that explain the finding, the most significant first, until there are enough; without a finding, both ends.
fn important(run: &Run<'_>, story: &Story<'_>, limit: usize) -> BTreeSet<usize> {
    let end = run.trace.steps.len();
    let focus = story.hold.map(|(_, hold)| hold.after).or(story.shows).unwrap_or(end.saturating_sub(1));
    let shows = story.shows.unwrap_or(focus);
    let mut kept = BTreeSet::new();
    let mut keep = |steps: &mut dyn Iterator<Item = usize>| {
        for step in steps {
            if kept.len() >= limit {
                return;
            }
            if step < end {
                kept.insert(step);
            }
        }
    };

    let marked = [story.shows, story.inevitable, story.hold.map(|(_, hold)| hold.after)];
    keep(&mut marked.into_iter().flatten().chain(story.hold.and_then(|(_, hold)| hold.until)));

    let mut raced: Vec<usize> = story.raced.into_iter().flatten().collect();
    raced.dedup();
    let mut raced: Vec<usize> = raced
        .iter()
        .filter_map(|&turn| run.turns.get(turn))
        .flat_map(|turn| turn.steps.iter().copied())
        .collect();
    raced.sort_by_key(|step| step.abs_diff(focus));
    keep(&mut raced.into_iter());

    // The turn in which it shows, then what led there, the latest first.
    keep(&mut run.turn_at(shows).map(|turn| turn.steps.clone()).unwrap_or_default().into_iter().rev());
    keep(&mut run.ancestors(shows).into_iter().rev().take(limit / 2));

    // Since when shared data and the views that differ from it have been what they are; the first such key is reported.
    for shared in &run.shared {
        let wrong = shared.views.iter().filter(|view| view.differs_at(shows));
        let lines = wrong.map(|view| &view.line).chain([&shared.truth]);
        let since: Vec<usize> = lines.filter_map(|line| line.at(shows)).map(|segment| segment.from).collect();
        if since.len() > 1 {
            keep(&mut since.into_iter().rev().take(4));
            break;
        }
    }

    // What the VM did that a log is shown for, and what was registered meanwhile, from near to far.
    if run.trace.excerpt.is_some() {
        let wrong = run.wrong_at(shows);
        let telling = |&index: &usize| {
            run.step(index).is_some_and(|step| step.verb == Verb::Registry)
                || run.turn_at(index).is_some_and(|turn| wrong.contains(&turn.thread))
        };
        let mut reported: Vec<usize> = (0..end).filter(telling).collect();
        reported.sort_by_key(|index| index.abs_diff(shows));
        keep(&mut reported.into_iter().take(limit / 2).chain(end.checked_sub(1)));
    }

    if story.finding.is_some() {
        let near = |middle: usize| middle.saturating_sub(3)..middle.saturating_add(4);
        keep(&mut near(focus).chain(near(shows)));
    } else {
        keep(&mut (0..limit / 2).chain(end.saturating_sub(limit / 2)..end));
    }
    kept
}
