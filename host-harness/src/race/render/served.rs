//! What each VM served when: the part of a picture that only a run from a log has.

use maud::{Markup, html};

use super::words;
use crate::race::trace::{Excerpt, ServedRow};

/// Most rows of the page's table; those in which something was found come first.
const ROWS: usize = 300;
/// Widest bundle name of the text.
const NAME: usize = 40;

/// Every generation that each VM served of each bundle, a row for each.
pub(super) fn text(excerpt: &Excerpt, out: &mut Vec<String>) {
    if excerpt.served.is_empty() {
        return;
    }
    out.extend([String::new(), "what each VM served".to_owned()]);
    let mut last: Option<(&str, &str)> = None;
    for row in &excerpt.served {
        if last != Some((&row.vm, &row.bundle)) {
            let vm = words::fit(&row.vm, 60);
            out.push(format!("  {vm}, {}", words::fit(&row.bundle, NAME)));
            last = Some((&row.vm, &row.bundle));
        }
        let mark = if row.found { '!' } else { ' ' };
        let time = format!("{} to {}", row.from, row.until);
        let line = format!(
            "   {mark} {:<6} {time:<40} {:<10} {}",
            words::fit(&row.generation, 20),
            row.lasted,
            words::visible(&row.wrong)
        );
        out.push(words::fit(&line, super::text::LOG_COLUMNS).trim_end().to_owned());
    }
}

/// The same as a table; `rows` at most.
pub(super) fn table(excerpt: &Excerpt, most: usize) -> Markup {
    let mut rows: Vec<&ServedRow> = excerpt.served.iter().collect();
    let most = most.min(ROWS);
    let left = rows.len().saturating_sub(most);
    if left > 0 {
        rows.sort_by_key(|row| (!row.found, row.wrong.is_empty()));
        rows.truncate(most);
    }
    html! {
        h2 { "What each VM served" }
        table.served {
            colgroup { @for width in [21, 17, 9, 12, 12, 8, 21] { col style=(format_args!("width:{width}%")); } }
            thead { tr {
                @for head in ["VM", "Bundle", "Generation", "From", "Until", "For", "Notes"] { th scope="col" { (head) } }
            } }
            tbody {
                @for row in rows {
                    tr.shows[row.found] {
                        td { (words::shortened(&row.vm, 60)) }
                        td { (words::shortened(&row.bundle, 80)) }
                        td { (words::shortened(&row.generation, 20)) }
                        td { (row.from) }
                        td { (row.until) }
                        td { (row.lasted) }
                        td { (words::shortened(&row.wrong, 160)) }
                    }
                }
                @if left > 0 {
                    tr.skipped { td colspan="7" { (words::count(left, "row")) " not shown" } }
                }
            }
        }
    }
}
