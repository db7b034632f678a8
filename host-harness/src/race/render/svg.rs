//! The picture in SVG: as a file of its own, and in three pieces for the page, so that names and ruler can stay while
//! the rest scrolls.

use maud::{Markup, PreEscaped, html};

use super::{
    layout::{Arrow, Bar, CHARACTER, LABELS, Layout, Mark, Tick, Touch},
    run::Run,
    story::Story,
    words,
};

/// Most steps of a picture in a document.
const STEPS: usize = 40;
const PICTURE: &str = include_str!("picture.css");

/// Name, in light, in dark.
const PALETTE: [(&str, &str, &str); 22] = [
    ("ground", "#ffffff", "#16181d"),
    ("panel", "#f6f7f9", "#1d2027"),
    ("ink", "#1b1f27", "#e6e8ec"),
    ("soft", "#5c6573", "#9aa3b2"),
    ("rule", "#e1e5ea", "#2c313b"),
    ("turn", "#dfe4ea", "#323844"),
    ("callback", "#c5cdd8", "#475061"),
    ("a", "#b45309", "#f5a94a"),
    ("a-fill", "#fde3c0", "#4a3113"),
    ("a-callback", "#f8c98d", "#7a4d15"),
    ("b", "#1d5fd1", "#79acff"),
    ("b-fill", "#d6e4fd", "#1c3054"),
    ("b-callback", "#abc9fb", "#2b4f8f"),
    ("wrong", "#b91717", "#ff8f8f"),
    ("wrong-fill", "#fcdcdc", "#561a1c"),
    ("wrong-soft", "#fdeaea", "#3a1c1f"),
    ("late", "#8f5a00", "#e3b341"),
    ("value", "#dcece6", "#21403a"),
    ("value-edge", "#8fbcab", "#4d8b7b"),
    ("none", "#eceef1", "#262b34"),
    ("arrow", "#6a5acd", "#b3a6ff"),
    ("link", "#aab3c0", "#596273"),
];

/// The picture as a file: one ground for light and dark pages, at most about [`STEPS`] steps.
pub(super) fn file(run: &Run<'_>, story: &Story<'_>) -> String {
    let layout = Layout::new(run, story, STEPS);
    let width = (LABELS + layout.width).max(720.0) + 24.0;
    let columns = ((width - 40.0) / (CHARACTER * 1.22)) as usize;
    let headline = lines(&story.headline, columns);
    let top = 30.0 + 20.0 * headline.len() as f64;
    let legend = legend(run, story);
    let height = top + layout.ruler + layout.height + 34.0 + 16.0 * layout.notes.len() as f64;
    let markup = html! {
        (PreEscaped("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"))
        svg xmlns="http://www.w3.org/2000/svg" class="picture" role="img" aria-labelledby="headline run"
            width=(px(width)) height=(px(height)) viewBox=(format_args!("0 0 {} {}", px(width), px(height))) {
            title id="headline" { (story.headline) }
            desc id="run" { (described(run, story)) }
            style { (PreEscaped(style_of_file())) }
            (definitions())
            rect.ground x="0.5" y="0.5" width=(px(width - 1.0)) height=(px(height - 1.0)) rx="8" {}
            @for (row, line) in headline.iter().enumerate() {
                text.headline x="16" y=(px(28.0 + 20.0 * row as f64)) { (line) }
            }
            g transform=(format_args!("translate({} {})", px(LABELS + 12.0), px(top))) { (ruler(&layout)) }
            g transform=(format_args!("translate(12 {})", px(top + layout.ruler))) {
                (names(&layout))
                g transform=(format_args!("translate({} 0)", px(LABELS))) { (body(&layout, true)) }
            }
            @let below = top + layout.ruler + layout.height;
            text.note x="16" y=(px(below + 20.0)) { (legend) }
            @for (row, note) in layout.notes.iter().enumerate() {
                text.note x="16" y=(px(below + 36.0 + 16.0 * row as f64)) { (note) "." }
            }
        }
    };
    markup.into_string()
}

/// What the picture shows, for those who cannot see it.
pub(super) fn described(run: &Run<'_>, story: &Story<'_>) -> String {
    let what = format!(
        "{} on {}.",
        words::count(run.trace.steps.len(), "step"),
        words::count(run.threads.len(), "thread")
    );
    story.sentences.iter().fold(what, |text, sentence| format!("{text} {sentence}"))
}

/// What the shapes mean, in a line.
pub(super) fn legend(run: &Run<'_>, story: &Story<'_>) -> &'static str {
    match story.raced {
        _ if run.trace.excerpt.is_some() => {
            "times are the log's · ◆ reports · red: serves another generation than is current · \
             grey: steps that are not drawn, or lines that the log leaves out"
        }
        Some(_) => {
            "A, B: the turns that raced · hatched: held back · ◆ writes ○ reads · \
             red: a view that differs from shared data"
        }
        None => "hatched: held back · ◆ writes ○ reads · red: a view that differs from shared data",
    }
}

/// The colours as CSS variables, for the light and the dark page.
pub(super) fn variables() -> String {
    let list = |dark: bool| -> String {
        PALETTE.iter().map(|(name, l, d)| format!("--{name}:{};", if dark { d } else { l })).collect()
    };
    format!(":root{{{}}}@media (prefers-color-scheme:dark){{:root{{{}}}}}", list(false), list(true))
}

/// The picture's style, whose colours are [`variables`].
pub(super) fn style() -> &'static str {
    PICTURE
}

/// Not everything that shows SVG files knows CSS variables.
fn style_of_file() -> String {
    PALETTE
        .iter()
        .fold(PICTURE.to_owned(), |css, (name, light, _)| css.replace(&format!("var(--{name})"), light))
}

/// What shapes refer to.
pub(super) fn definitions() -> Markup {
    html! {
        defs {
            @for name in ["notice", "call"] {
                marker id=(format_args!("head-{name}")) class=(name) viewBox="0 0 8 8" refX="6.5" refY="4"
                    markerWidth="7" markerHeight="7" orient="auto-start-reverse" { path d="M0 0L8 4L0 8Z" {} }
            }
            @for name in ["a", "b", "other"] {
                pattern id=(format_args!("held-{name}")) class=(name) width="6" height="6"
                    patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                    rect width="6" height="6" {} path d="M0 0V6" {}
                }
            }
        }
    }
}

/// Step numbers, virtual time and flags.
pub(super) fn ruler(layout: &Layout) -> Markup {
    let base = layout.ruler;
    html! {
        rect.now x="-99" y="0" width="0" height=(px(base)) {}
        @for place in &layout.columns {
            text.number.shows[place.class == "shows"].gap[place.column.gap]
                x=(px(place.middle())) y=(px(base - 18.0)) { (place.number) }
            @if !place.time.is_empty() {
                text.time x=(px(place.x + 2.0)) y=(px(base - 5.0)) { (place.time) }
            }
        }
        @for flag in &layout.flags {
            @let y = 18.0 * flag.row as f64;
            @let end = if flag.class == "shows" { base - 29.0 } else { base };
            path class=(format_args!("flag {}", flag.class))
                d=(format_args!("M{} {}V{}", px(flag.x), px(y + 4.0), px(end))) {}
            text class=(format_args!("flag {}", flag.class)) text-anchor=(if flag.left { "end" } else { "start" })
                x=(px(flag.x + if flag.left { -6.0 } else { 6.0 })) y=(px(y + 14.0)) { (flag.text) }
        }
    }
}

/// The lanes' names.
pub(super) fn names(layout: &Layout) -> Markup {
    html! {
        @for lane in &layout.lanes {
            @let low = lane.height < 30.0;
            @let slim = lane.height < 40.0 && !lane.note.is_empty();
            @let y = lane.y + if low { lane.height / 2.0 + 4.0 } else if slim { 16.0 } else { 22.0 };
            path.edge d=(format_args!("M0 {}H{}", px(lane.y), px(LABELS))) {}
            @let x = if lane.class == "view" { "14" } else { "4" };
            text class=(format_args!("name {}", lane.class)) x=(x) y=(px(y)) {
                (lane.name)
                @if low && !lane.note.is_empty() { tspan.note dx="8" { (lane.note) } }
            }
            @if !low && !lane.note.is_empty() {
                text.note x="4" y=(px(y + if slim { 12.0 } else { 14.0 })) { (lane.note) }
            }
        }
    }
}

/// Everything else. With titles where no script shows what is under the pointer.
pub(super) fn body(layout: &Layout, titles: bool) -> Markup {
    let (width, height) = (layout.width, layout.height);
    html! {
        @for place in layout.columns.iter().filter(|place| place.column.gap || place.class == "lost") {
            rect.skipped.lost[place.class == "lost"] x=(px(place.x)) y="0" width=(px(place.width)) height=(px(height)) {}
        }
        @for place in layout.columns.iter().filter(|place| place.class == "shows") {
            rect.shows x=(px(place.x)) y="0" width=(px(place.width)) height=(px(height)) {}
        }
        rect.now x="-99" y="0" width="0" height=(px(height)) {}
        @for lane in &layout.lanes { path.edge d=(format_args!("M0 {}H{}", px(lane.y), px(width))) {} }
        @for link in &layout.links {
            path class=(format_args!("link {}", link.class))
                d=(format_args!("M{} {}V{}", px(link.x), px(link.from), px(link.to))) {}
        }
        @for arrow in layout.arrows.iter().filter(|arrow| arrow.class != "notice") { (line(arrow)) }
        @for bar in &layout.bars { (rectangle(bar, titles)) }
        @for flag in layout.flags.iter().filter(|flag| flag.class == "inevitable") {
            path.flag.inevitable d=(format_args!("M{} 0V{}", px(flag.x), px(height))) {}
        }
        @for arrow in layout.arrows.iter().filter(|arrow| arrow.class == "notice") { (line(arrow)) }
        @for bar in &layout.bars { (caption(bar)) }
        @for tick in &layout.ticks { (step(tick, titles)) }
        @for mark in &layout.marks { (touch(mark)) }
    }
}

fn line(arrow: &Arrow) -> Markup {
    html! {
        path class=(format_args!("arrow {}", arrow.class)) data-cause=(arrow.cause) data-effect=(arrow.effect)
            d=(arrow.path) {}
    }
}

fn rectangle(bar: &Bar, titles: bool) -> Markup {
    html! {
        @if bar.class != "caption" {
            rect class=(bar.class.trim_end()) x=(px(bar.x)) y=(px(bar.y))
                width=(px(bar.width)) height=(px(bar.height)) {
                @if titles { title { (bar.title) } }
            }
        }
    }
}

fn caption(bar: &Bar) -> Markup {
    let middle = bar.class.starts_with("held");
    let x = if middle { bar.x + bar.width / 2.0 } else { bar.x + 7.0 };
    html! {
        @if !bar.text.is_empty() {
            // The chance to fail stands above its bar's foot, however low the bar is.
            @let y = if bar.class.starts_with("risk") { bar.y + bar.height - 4.0 } else { bar.y + bar.height / 2.0 + 4.0 };
            text class=(format_args!("in {}", bar.class.trim_end())) x=(px(x)) y=(px(y)) { (bar.text) }
        }
        @if let Some((letter, text)) = &bar.caption {
            @if let Some(letter) = letter {
                circle class=(format_args!("letter {}", letter.to_lowercase()))
                    cx=(px(bar.x + 8.0)) cy=(px(bar.y - 10.0)) r="7.5" {}
                text.letter x=(px(bar.x + 8.0)) y=(px(bar.y - 6.0)) { (letter) }
            }
            @let x = bar.x + if letter.is_some() { 20.0 } else { 1.0 };
            text class=(format_args!("of {}", bar.class.trim_end())) x=(px(x)) y=(px(bar.y - 6.0)) { (text) }
        }
    }
}

fn step(tick: &Tick, titles: bool) -> Markup {
    let class = tick.class.split_whitespace().collect::<Vec<_>>().join(" ");
    html! {
        g.tick.(class) {
            @if titles { title { (tick.title) } }
            path d=(format_args!("M{} {}v7", px(tick.x), px(tick.y - 2.0))) {}
            @for (line, text) in tick.lines.iter().enumerate() {
                @if !text.is_empty() {
                    text.gist[line == 1] x=(px(tick.x)) y=(px(tick.y + 17.0 + 13.0 * line as f64)) { (text) }
                }
            }
        }
    }
}

fn touch(mark: &Mark) -> Markup {
    let (x, y) = (mark.x, mark.y);
    html! {
        @match mark.kind {
            Touch::Reads => circle.mark cx=(px(x)) cy=(px(y)) r="3.5" {},
            Touch::Writes => {
                path.mark.writes d=(format_args!("M{} {}l4.5 4.5l-4.5 4.5l-4.5 -4.5z", px(x), px(y - 4.5))) {}
            }
            Touch::Refused => {
                path.mark.refused d=(format_args!("M{} {}l7 7m0 -7l-7 7", px(x - 3.5), px(y - 3.5))) {}
            }
        }
    }
}

/// A number of pixels, without digits that do not show.
pub(super) fn px(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// A sentence in lines of at most so many columns.
fn lines(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split(' ') {
        let Some(line) = lines.last_mut() else { break };
        if !line.is_empty() && words::width(line) + 1 + words::width(word) > columns {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.truncate(3);
    lines.into_iter().map(|line| words::fit(&line, columns)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// WCAG 2's relative luminance.
    fn luminance(color: &str) -> f64 {
        let channel = |at: usize| {
            let value = u8::from_str_radix(&color[at..at + 2], 16).unwrap();
            let value = f64::from(value) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }

    #[test]
    fn text_has_the_contrast_that_wcag_asks_for_in_light_and_dark() {
        let color = |name: &str, dark: bool| {
            let (_, l, d) = PALETTE.iter().find(|(known, ..)| *known == name).unwrap();
            luminance(if dark { d } else { l })
        };
        let pairs = [
            (
                "ink",
                &["ground", "panel", "callback", "a-callback", "b-callback", "value", "none", "turn"][..],
            ),
            ("soft", &["ground", "panel"]),
            ("a", &["ground", "panel"]),
            ("b", &["ground", "panel"]),
            ("late", &["ground"]),
            ("wrong", &["ground", "wrong-soft", "wrong-fill"]),
        ];
        for dark in [false, true] {
            for (text, grounds) in pairs {
                for ground in grounds {
                    let (a, b) = (color(text, dark), color(ground, dark));
                    let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                    assert!(contrast >= 4.5, "{text} on {ground}, dark: {dark}: {contrast:.2}");
                }
            }
        }
    }

    #[test]
    fn every_color_that_the_styles_name_is_in_the_palette() {
        for css in [PICTURE, include_str!("timeline.css")] {
            for name in css.split("var(--").skip(1).filter_map(|rest| rest.split(')').next()) {
                assert!(PALETTE.iter().any(|(known, ..)| *known == name), "{name}");
            }
        }
    }

    #[test]
    fn a_sentence_is_broken_between_words() {
        assert_eq!(lines("a bc def", 4), ["a bc", "def"]);
        assert_eq!(lines("abcdef", 4), ["abc…"]);
    }
}
