//! A run as a picture: a page to step through, a drawing for documents, text for logs, and a file for trace viewers.
//!
//! | part | what it is |
//! |---|---|
//! | `run` | the trace as it is drawn: turns, callbacks, holds, values over time |
//! | `story` | what failed and why, in sentences |
//! | `columns`, `layout`, `lanes` | the picture as data, which `html` and `svg` print |
//! | `html`, `svg`, `text`, `perfetto` | one writer for each [`Format`] |
//! | `served` | what only a run from a log has: what each VM served when |
//! | `words` | steps in words; what guests chose is made harmless here |

mod columns;
mod html;
mod lanes;
mod layout;
mod perfetto;
mod run;
mod served;
mod story;
mod svg;
mod text;
mod words;

pub use self::words::visible;
use super::{Explanation, trace::Trace};

/// How a run is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// One self-contained page, at most 300 kB, to step through.
    Html,
    /// A drawing for documents, of about 40 steps at most.
    Svg,
    /// Lanes of text, at most 110 columns wide.
    Text,
    /// Trace events in JSON, as Perfetto and Chrome read them.
    Perfetto,
}

/// Draws a run. Its first finding is the one that is reported and marked.
///
/// No trace is refused: numbers that name no step are passed over, and what a picture has no room for is counted in it.
pub fn render(trace: &Trace, format: Format) -> String {
    draw(trace, &[], format)
}

/// Draws a run with how likely it was to fail after each of its steps.
pub fn render_explained(explanation: &Explanation, format: Format) -> String {
    draw(&explanation.trace, &explanation.risk, format)
}

fn draw(trace: &Trace, risk: &[(usize, f64)], format: Format) -> String {
    let run = run::Run::new(trace, risk);
    let story = story::Story::of(&run);
    match format {
        Format::Html => html::page(&run, &story),
        Format::Svg => svg::file(&run, &story),
        Format::Text => text::lanes(&run, &story),
        Format::Perfetto => perfetto::events(&run, &story),
    }
}
