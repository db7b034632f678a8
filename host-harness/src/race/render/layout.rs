//! The picture as data: columns are steps, lanes are threads and what they share, and every shape has its place in
//! pixels. The writers only print it, so the page and the SVG file show the same.

use super::{
    columns::{Column, columns},
    lanes,
    run::Run,
    story::Story,
    words,
};
use crate::race::trace::{Step, Verb};

/// Width of a character of the picture's font, which is a monospace one of 11 px.
pub(super) const CHARACTER: f64 = 6.65;
/// Width of the lanes' names.
pub(super) const LABELS: f64 = 150.0;

/// A picture of a run.
#[derive(Default)]
pub(super) struct Layout {
    pub(super) columns: Vec<Place>,
    pub(super) lanes: Vec<Lane>,
    pub(super) bars: Vec<Bar>,
    pub(super) ticks: Vec<Tick>,
    pub(super) links: Vec<Link>,
    pub(super) marks: Vec<Mark>,
    pub(super) arrows: Vec<Arrow>,
    pub(super) flags: Vec<Flag>,
    /// What is not drawn.
    pub(super) notes: Vec<String>,
    /// Width of what is beside the names.
    pub(super) width: f64,
    /// Height of what is below the ruler.
    pub(super) height: f64,
    pub(super) ruler: f64,
}

/// Where a column is.
pub(super) struct Place {
    pub(super) column: Column,
    pub(super) x: f64,
    pub(super) width: f64,
    /// The step's number, or how many steps the gap leaves out.
    pub(super) number: String,
    /// Virtual time, where it is another than in the column before.
    pub(super) time: String,
    /// `shows` for the step at which the finding shows, `lost` where a log leaves lines out.
    pub(super) class: &'static str,
}

impl Place {
    pub(super) fn middle(&self) -> f64 {
        self.x + self.width / 2.0
    }

    pub(super) fn end(&self) -> f64 {
        self.x + self.width
    }
}

/// A lane with its name.
pub(super) struct Lane {
    pub(super) y: f64,
    pub(super) height: f64,
    pub(super) name: String,
    pub(super) note: String,
    pub(super) class: &'static str,
}

/// Something that lasts: a turn, a callback, a hold, a value.
pub(super) struct Bar {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) class: String,
    /// What is written in it; it fits.
    pub(super) text: String,
    /// What is written above it, with `A` or `B` before it.
    pub(super) caption: Option<(Option<&'static str>, String)>,
    pub(super) title: String,
}

/// A step on its thread's lane.
pub(super) struct Tick {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) class: String,
    /// Two lines: what was done, and the one thing about it that matters most.
    pub(super) lines: [String; 2],
    pub(super) title: String,
}

/// From a step to what it touched.
pub(super) struct Link {
    pub(super) x: f64,
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) class: &'static str,
}

/// How a step touched something.
pub(super) struct Mark {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) kind: Touch,
}

/// How a step touches what is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Touch {
    Reads,
    Writes,
    Refused,
}

/// From a cause to its consequence.
pub(super) struct Arrow {
    pub(super) path: String,
    pub(super) class: &'static str,
    pub(super) cause: usize,
    pub(super) effect: usize,
}

/// A word about a step, above the picture.
pub(super) struct Flag {
    pub(super) x: f64,
    pub(super) row: usize,
    pub(super) text: String,
    pub(super) class: &'static str,
    /// Whether the text is to the left of its line.
    pub(super) left: bool,
    from: f64,
    to: f64,
}

// === impl Layout ===

impl Layout {
    /// The picture with at most about so many steps.
    pub(super) fn new(run: &Run<'_>, story: &Story<'_>, limit: usize) -> Self {
        let mut layout = Self::default();
        layout.place(run, story, columns(run, story, limit));
        layout.flag(run, story);
        lanes::draw(&mut layout, run, story);
        let hidden: usize = layout.columns.iter().filter(|p| p.column.gap).map(|p| p.column.count()).sum();
        if hidden > 0 {
            let all = run.trace.steps.len();
            layout.notes.insert(
                0,
                format!("{} of {all} steps are drawn: those that explain the finding", all - hidden),
            );
        }
        if let Some(excerpt) = &run.trace.excerpt {
            layout.notes.extend(excerpt.notes.iter().map(|note| words::shortened(note, 300)));
        }
        layout
    }

    /// The column of a step, or the gap that it is in.
    pub(super) fn column(&self, step: usize) -> Option<&Place> {
        self.columns.get(self.columns.partition_point(|place| place.column.to < step))
    }

    /// Whether any column between these steps is drawn.
    pub(super) fn is_drawn(&self, from: usize, to: usize) -> bool {
        let start = self.columns.partition_point(|place| place.column.to < from);
        let columns = self.columns.get(start..).unwrap_or_default();
        columns.iter().take_while(|place| place.column.from <= to).any(|place| !place.column.gap)
    }

    /// From the left of one step's column to the right of another's.
    pub(super) fn span(&self, from: usize, to: usize) -> (f64, f64) {
        let x = self.column(from).map_or(0.0, |place| place.x);
        (x, self.column(to).map_or(self.width, Place::end).max(x))
    }

    fn place(&mut self, run: &Run<'_>, story: &Story<'_>, columns: Vec<Column>) {
        let wide = columns.iter().filter_map(|c| run.step(c.step()?)).filter(|s| !is_narrow(s)).count();
        let room = 1060.0 - 24.0 * (columns.len() - wide) as f64;
        let wide = (room / wide.max(1) as f64).clamp(64.0, 104.0).floor();
        let mut x = 6.0;
        let mut before = String::new();
        let mut free = 0.0;
        for column in columns {
            let step = column.step().and_then(|index| run.step(index));
            let number = match step {
                Some(step) => step.number.to_string(),
                None => format!("+{}", column.count()),
            };
            let width = match step {
                None => 54.0,
                Some(step) if is_narrow(step) => 24.0,
                Some(_) => wide,
            };
            let width = width.max(number.len() as f64 * CHARACTER + 4.0);
            let time = step.map(|step| run.time(step)).unwrap_or_default();
            // A time that has no room beside the one before is left out.
            let same = time == before || step.is_none() || x < free;
            if !same {
                free = x + 6.0 + time.chars().count() as f64 * 6.0;
            }
            let is_gap = step.is_some_and(|step| step.verb == Verb::Gap);
            let class = match (story.shows.is_some() && column.step() == story.shows, is_gap) {
                (true, _) => "shows",
                (_, true) => "lost",
                _ => "",
            };
            self.columns.push(Place {
                number,
                time: if same { String::new() } else { time.clone() },
                column,
                x,
                width,
                class,
            });
            if step.is_some() {
                before = time;
            }
            x += width;
        }
        self.width = x + 10.0;
    }

    fn flag(&mut self, run: &Run<'_>, story: &Story<'_>) {
        let mut flags = Vec::new();
        if let (Some(index), Some(finding)) = (story.shows, story.finding) {
            let x = self.column(index).map_or(0.0, Place::middle);
            let number = run.step(index).map_or(0, |step| step.number);
            flags.push((
                x,
                match run.trace.excerpt {
                    Some(_) => format!("step {number}: {}", words::shortened(&finding.oracle, 40)),
                    None => format!("step {number}: fails, {}", words::shortened(&finding.oracle, 40)),
                },
                "shows",
            ));
        }
        if let Some(index) = story.inevitable {
            let x = self.column(index).map_or(0.0, Place::end);
            let number = run.step(index).map_or(0, |step| step.number);
            flags.push((x, format!("inevitable after step {number}"), "inevitable"));
        }
        for (x, text, class) in flags {
            let length = text.chars().count() as f64 * CHARACTER + 12.0;
            let crossed = self.flags.iter().any(|flag| x < flag.x && flag.x < x + length) && x > length;
            let left = crossed || x + length > self.width;
            let (from, to) = if left { (x - length, x) } else { (x, x + length) };
            let taken = self.flags.iter().any(|flag| flag.from < to && from < flag.to);
            self.flags.push(Flag { x, row: taken.into(), text, class, left, from, to });
        }
        let rows = self.flags.iter().map(|flag| flag.row + 1).max().unwrap_or(0);
        self.ruler = 18.0 * rows as f64 + 34.0;
    }
}

/// Entries and returns need no words: their callback's bar has its name.
fn is_narrow(step: &Step) -> bool {
    let unremarkable = || matches!(&*words::outcome(step), "" | "Continue" | "true");
    step.verb == Verb::Enter || step.verb == Verb::Return && unremarkable()
}
