//! The summary: geometric means of time and peak memory, a bar for each allocator, ours at 1.0.
//!
//! Two panels with the same lines, so that an allocator is read across. Filled are ours and a peer that takes less by
//! more than noise, hollow all others; the band about 1.0 is what the control could not tell apart.

use super::{
    Area, Drawn, GRID, INK, LESS, MORE, PAPER, SOFT, bold, fewer_rows, picture, relative_mean, style, ticks, width,
};
use crate::compare::report::{Metric, NO_DIFFERENCE, Report};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

const LINE: u32 = 26;
const TOP: u32 = 74;
const BOTTOM: u32 = 44;

/// Draws it.
pub fn draw(report: &Report) -> Result<String, String> {
    let mut order = report.shown();
    let ours = order.remove(0);
    let key = |&a: &usize| relative_mean(report, Metric::Time, a).unwrap_or(f64::INFINITY);
    order.sort_by(|a, b| key(a).total_cmp(&key(b)));
    order.insert(0, ours);
    let name = &report.allocators()[0].name;
    let described: Vec<String> = order.iter().map(|&a| describe(report, a)).collect();
    let description = format!("Bars, {name} at 1.0, shorter is better. {}", described.join("; "));
    let size = (860, TOP + BOTTOM + LINE * order.len() as u32);
    picture("Time and peak memory of each allocator, geometric means", &description, size, |area| {
        let title = format!("Time and memory relative to {name}, geometric means: shorter is better");
        area.draw(&Text::new(title, (16, 14), bold(16.0, HPos::Left, VPos::Top)))?;
        let (left, right) = area.split_horizontally(490);
        panel(report, &left, Metric::Time, &order, 140)?;
        panel(report, &right, Metric::Peak, &order, 20)
    })
}

fn describe(report: &Report, allocator: usize) -> String {
    let value = |m| relative_mean(report, m, allocator).map_or_else(|| "unknown".into(), |v| format!("{v:.2}"));
    let name = &report.allocators()[allocator].name;
    format!("{name}: time {}, peak memory {}", value(Metric::Time), value(Metric::Peak))
}

fn panel(report: &Report, area: &Area, metric: Metric, order: &[usize], left: u32) -> Drawn {
    let values: Vec<Option<f64>> = order.iter().map(|&a| relative_mean(report, metric, a)).collect();
    let most = values.iter().flatten().copied().fold(1.0, f64::max);
    let lines = order.len() as f64;
    // Room for the number behind the longest bar, and for the rows that it is the mean of.
    let fewer = order.iter().any(|&a| fewer_rows(report, metric, a).is_some());
    let end = most * if fewer { 1.3 } else { 1.15 };
    let mut chart = ChartBuilder::on(area)
        .margin_left(left)
        .margin_right(16)
        .margin_top(TOP)
        .margin_bottom(BOTTOM)
        .build_cartesian_2d(0.0..end, lines..0.0)?;
    let rows = report.pair(metric, 0, 0).map_or(0, |mean| mean.rows);
    let what = metric.name();
    let heading = format!("{what}, {rows} rows");
    let at_top = |text: String, style| EmptyElement::at((0.0, 0.0)) + Text::new(text, (0, -14), style);
    chart.draw_series([at_top(heading, bold(13.0, HPos::Left, VPos::Center))])?;
    for tick in ticks(end, 6.0) {
        chart.draw_series([PathElement::new([(tick, 0.0), (tick, lines)], GRID)])?;
        let label = Text::new(format!("{tick}"), (0, 12), style(11.0, SOFT, HPos::Center, VPos::Center));
        chart.draw_series([EmptyElement::at((tick, lines)) + label])?;
    }
    let noise = report.mean_noise(metric).unwrap_or(0.0);
    let number_width = 40.0 * end / f64::from(chart.plotting_area().dim_in_pixel().0);
    chart.draw_series([Rectangle::new([(1.0 - noise, 0.0), (1.0 + noise, lines)], GRID.filled())])?;
    for (line, (&allocator, value)) in order.iter().zip(values).enumerate() {
        let (top, bottom, middle) = (line as f64 + 0.2, line as f64 + 0.8, line as f64 + 0.5);
        let bar = |end: f64| [(0.0, top), (end, bottom)];
        let value_style = style(12.0, INK, HPos::Left, VPos::Center);
        if let Some(value) = value {
            let (fill, outline) = match line {
                0 => (INK, INK),
                _ if value >= 1.0 => (PAPER, MORE),
                _ if 1.0 / value - 1.0 <= noise.max(NO_DIFFERENCE) => (PAPER, LESS),
                _ => (LESS, LESS),
            };
            chart.draw_series([Rectangle::new(bar(value), fill.filled())])?;
            chart.draw_series([Rectangle::new(bar(value), outline.stroke_width(2))])?;
            // Where the number would lie on the line at 1.0 or in the band, it goes to their right.
            let at = if (1.0 - number_width..1.0 + noise).contains(&value) { 1.0 + noise } else { value };
            let number = format!("{value:.2}{}", fewer_rows(report, metric, allocator).unwrap_or_default());
            let number = Text::new(number, (6, 0), value_style);
            chart.draw_series([EmptyElement::at((at, middle)) + number])?;
        } else {
            let nothing = Text::new("no figures".to_owned(), (6, 0), value_style);
            chart.draw_series([EmptyElement::at((0.0, middle)) + nothing])?;
        }
        if left > 100 {
            let name = &report.allocators()[allocator].name;
            // A long name (a peer can be called anything) is shortened rather than cut off by the edge.
            let name = if width(name, 12.0) > f64::from(left) {
                format!("{}…", &name[..name.floor_char_boundary(16)])
            } else {
                name.clone()
            };
            let style = if line == 0 {
                bold(12.0, HPos::Right, VPos::Center)
            } else {
                style(12.0, INK, HPos::Right, VPos::Center)
            };
            chart.draw_series([EmptyElement::at((0.0, middle)) + Text::new(name, (-8, 0), style)])?;
        }
    }
    chart.draw_series([PathElement::new([(1.0, 0.0), (1.0, lines)], INK.stroke_width(1))])?;
    let legend = format!("band: noise of the control, ±{:.1} %", noise * 100.0);
    let label = Text::new(legend, (0, 30), style(11.0, SOFT, HPos::Left, VPos::Center));
    chart.draw_series([EmptyElement::at((0.0, lines)) + label])?;
    Ok(())
}
