//! The plot of `portcullis bench startup`, both scales logarithmic.

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::startup::{Measured, Report, Series};

/// One line: its name, its colour, whether it is dashed, and where its values stand.
type Line = (&'static str, RGBColor, fn(&Measured) -> &Series);

// Okabe and Ito's colours, which people with any colour vision tell apart.
const FIRST_TICK: RGBColor = RGBColor(0, 114, 178);
const ENVOY: RGBColor = RGBColor(0, 158, 115);
const OPA: RGBColor = RGBColor(213, 94, 0);
const LINES: [Line; 3] = [
    ("Envoy, from the first tick", FIRST_TICK, |measured| &measured.envoy_from_first_tick),
    ("Envoy, from process start", ENVOY, |measured| &measured.envoy_from_start),
    ("OPA, from process start", OPA, |measured| &measured.opa_from_start),
];

/// Draws the medians as SVG: a filled point with all bundles there, an open one beside one that never comes.
pub(super) fn startup(report: &Report) -> Result<String> {
    let mut svg = String::new();
    draw(report, &mut svg).map_err(|error| anyhow!("the plot could not be drawn: {error}"))?;
    Ok(svg)
}

fn draw(report: &Report, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let points = |series: fn(&Measured) -> &Series, part: fn(&super::startup::Row) -> &Measured| {
        let rows = report.rows.iter();
        rows.filter_map(move |row| Some((row.bundles as f64, series(part(row)).median_ms?.max(1) as f64)))
            .collect::<Vec<_>>()
    };
    let lines = LINES.map(|(name, color, series)| {
        (name, color, points(series, |row| &row.all_there), points(series, |row| &row.one_hanging))
    });
    let times =
        || lines.iter().flat_map(|(_, _, all, hanging)| all.iter().chain(hanging).map(|point| point.1));
    let least = times().fold(f64::MAX, f64::min).min(10.0);
    let most = times().fold(10.0, f64::max);
    let widest = report.rows.iter().map(|row| row.bundles).max().unwrap_or(1) as f64;

    let area = SVGBackend::with_string(svg, (860, 520)).into_drawing_area();
    area.fill(&WHITE)?;
    let title = format!(
        "until every policy decides: {} workers, {} ms an answer",
        report.concurrency, report.answer_delay_ms
    );
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 22))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d((0.9..widest * 1.2).log_scale(), (least * 0.8..most * 12.0).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("bundles")
        .y_desc("milliseconds")
        .x_labels(6)
        .y_labels(6)
        .x_label_formatter(&|value| format!("{value:.0}"))
        .y_label_formatter(&|value| format!("{value:.0}"))
        .label_style(("sans-serif", 16))
        .light_line_style(WHITE)
        .draw()?;
    for (name, color, all, hanging) in lines {
        if all.is_empty() {
            continue;
        }
        chart
            .draw_series(LineSeries::new(all.iter().copied(), color.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        chart.draw_series(all.iter().map(|point| Circle::new(*point, 4, color.filled())))?;
        chart.draw_series(hanging.iter().map(|point| Circle::new(*point, 7, color.stroke_width(1))))?;
    }
    chart
        .draw_series([Circle::new((0.9, least * 0.8), 0, BLACK)])?
        .label("○ beside one bundle that never comes");
    chart
        .configure_series_labels()
        .label_font(("sans-serif", 16))
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.9))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    area.present()?;
    Ok(())
}
