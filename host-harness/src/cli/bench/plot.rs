//! The plots of `portcullis bench`. Where there are two scales, both are logarithmic.

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::{
    request, rules,
    shapes::Shape,
    startup::{Measured, Report, Series},
};

/// One line: its name, its colour, whether it is dashed, and where its values stand.
type Line = (&'static str, RGBColor, fn(&Measured) -> &Series);

// Okabe and Ito's colours, which people with any colour vision tell apart.
const FIRST_TICK: RGBColor = RGBColor(0, 114, 178);
const ENVOY: RGBColor = RGBColor(0, 158, 115);
const OPA: RGBColor = RGBColor(213, 94, 0);
const THIRD: RGBColor = RGBColor(204, 121, 167);
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

/// Draws the CPU time of each contender as a bar, as SVG.
pub(super) fn request(report: &request::Report) -> Result<String> {
    let mut svg = String::new();
    draw_request(report, &mut svg).map_err(|error| anyhow!("the plot could not be drawn: {error}"))?;
    Ok(svg)
}

fn draw_request(report: &request::Report, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    const BAR: i32 = 40;
    const LEFT: i32 = 300;
    const LONGEST: f64 = 440.0;
    let most = report.rows.iter().map(|row| row.measured.cpu_us.median).fold(f64::MIN_POSITIVE, f64::max);
    let height = u32::try_from(report.rows.len())?.saturating_mul(BAR.unsigned_abs()) + 60;
    let area = SVGBackend::with_string(svg, (860, height)).into_drawing_area();
    area.fill(&WHITE)?;
    area.draw(&Text::new("CPU time of a request, in microseconds", (12, 14), ("sans-serif", 22)))?;
    for (row, top) in report.rows.iter().zip((48..).step_by(BAR.unsigned_abs() as usize)) {
        let color = match row.name.split(',').next() {
            Some("Portcullis") => FIRST_TICK,
            Some("opa-envoy-plugin") => OPA,
            _ => ENVOY,
        };
        let cpu = row.measured.cpu_us.median;
        // Whole pixels.
        let end = LEFT + (cpu / most * LONGEST) as i32;
        area.draw(&Text::new(row.name.as_str(), (12, top + 8), ("sans-serif", 16)))?;
        area.draw(&Rectangle::new([(LEFT, top), (end, top + BAR - 10)], color.filled()))?;
        area.draw(&Text::new(format!("{cpu:.1}"), (end + 8, top + 8), ("sans-serif", 16)))?;
    }
    area.present()?;
    Ok(())
}

/// Draws CPU time against the number of rules as SVG: filled points are ours, open ones opa-envoy-plugin's.
pub(super) fn rules(report: &rules::Report) -> Result<String> {
    let mut svg = String::new();
    draw_rules(report, &mut svg).map_err(|error| anyhow!("the plot could not be drawn: {error}"))?;
    Ok(svg)
}

fn draw_rules(report: &rules::Report, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let points = |shape: Shape, of: fn(&rules::Row) -> Option<&rules::Decided>| {
        let rows = report.rows.iter().filter(move |row| row.shape == shape);
        rows.filter_map(move |row| Some((row.rules as f64, of(row)?.measured.cpu_us.median)))
            .collect::<Vec<_>>()
    };
    let envoy = report.envoy_alone.cpu_us.median;
    let lines =
        [(Shape::Rules, FIRST_TICK), (Shape::Packages, OPA), (Shape::Data, THIRD)].map(|(shape, color)| {
            let ours = points(shape, |row| Some(&row.portcullis));
            (shape, color, ours, points(shape, |row| row.opa_envoy_plugin.as_ref()))
        });
    let times =
        || lines.iter().flat_map(|(_, _, ours, theirs)| ours.iter().chain(theirs)).map(|point| point.1);
    let least = times().fold(envoy.max(1.0), f64::min);
    let most = times().fold(least, f64::max);
    let numbers = || report.rows.iter().map(|row| row.rules as f64);
    let (fewest, widest) = (numbers().fold(f64::MAX, f64::min), numbers().fold(1.0, f64::max));

    let area = SVGBackend::with_string(svg, (860, 520)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("CPU time of a request against the number of rules", ("sans-serif", 22))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(
            (fewest * 0.8..widest * 1.2).log_scale(),
            (least * 0.8..most * 4.0).log_scale(),
        )?;
    chart
        .configure_mesh()
        .x_desc("rules")
        .y_desc("microseconds")
        .x_labels(6)
        .y_labels(6)
        .x_label_formatter(&|value| format!("{value:.0}"))
        .y_label_formatter(&|value| format!("{value:.0}"))
        .label_style(("sans-serif", 16))
        .light_line_style(WHITE)
        .draw()?;
    for (shape, color, ours, theirs) in lines {
        chart
            .draw_series(LineSeries::new(ours.iter().copied(), color.stroke_width(2)))?
            .label(shape.name())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        chart.draw_series(ours.iter().map(|point| Circle::new(*point, 4, color.filled())))?;
        chart.draw_series(LineSeries::new(theirs.iter().copied(), color.stroke_width(1)))?;
        chart.draw_series(theirs.iter().map(|point| Circle::new(*point, 7, color.stroke_width(1))))?;
    }
    chart
        .draw_series(LineSeries::new([(fewest, envoy), (widest, envoy)], ENVOY.stroke_width(2)))?
        .label("Envoy alone")
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], ENVOY.stroke_width(2)));
    if report.rows.iter().any(|row| row.opa_envoy_plugin.is_some()) {
        chart.draw_series([Circle::new((fewest, least), 0, BLACK)])?.label("○ opa-envoy-plugin");
    }
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
