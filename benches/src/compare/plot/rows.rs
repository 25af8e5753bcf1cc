//! Row by row: a panel for each peer, a bar for each row, on a logarithmic axis about 1.0, where ours is.
//!
//! To the right a peer takes more than ours, to the left less. A bar that is hollow is no difference: within the row's noise,
//! or within what is never called one. Bars that leave the panel end in an arrow; the number beside them is the true one.

use super::{Area, Drawn, GRID, INK, LESS, MORE, PAPER, SOFT, bold, picture, style, width};
use crate::compare::report::{Metric, NO_DIFFERENCE, Report, Row};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

/// The axis ends at eight times and an eighth: nearly all ratios lie within, and one that does not is far off anyway.
const LIMIT: f64 = 8.0;
const LINE: u32 = 17;
/// Width of all panels together where they fit: that of the page. Below the least width of one the numbers would lie on each
/// other, so with many peers the picture is wider than the page.
const PANELS: u32 = 1000;
const LEAST_PANEL: u32 = 132;
const WIDEST_PANEL: u32 = 240;
const TOP: u32 = 82;
const BOTTOM: u32 = 40;

/// What a peer's bar in a row says.
pub enum Bar {
    /// What the peer takes, divided by what ours does.
    Ratio(f64),
    /// The peer does not have this row.
    None,
    /// The peer failed in it.
    Failed,
}

/// What is drawn.
pub struct Grid<'a> {
    /// What is compared.
    pub what: &'a str,
    /// Who is 1.0.
    pub ours: &'a str,
    /// What takes part.
    pub participants: &'a str,
    /// The rows' names, and how far the control was off in each.
    pub rows: Vec<(String, f64)>,
    /// The peers' names, each with a bar for each row.
    pub peers: Vec<(String, Vec<Bar>)>,
}

/// Draws a metric of the comparison of allocators, unless no row has it.
pub fn draw(report: &Report, metric: Metric) -> Result<Option<String>, String> {
    let peers: Vec<usize> = report.shown().into_iter().skip(1).collect();
    // A row that no peer has a ratio in (the job does not know the metric, or all is zero) would be an empty line.
    let any = |row: &&Row| peers.iter().any(|&peer| row.ratio(metric, peer).is_some());
    let rows: Vec<&Row> = report.rows.iter().filter(any).collect();
    let bar = |row: &&Row, peer: usize| match row.ratio(metric, peer) {
        Some(ours_by_theirs) => Bar::Ratio(1.0 / ours_by_theirs),
        None if row.results[peer].failures.is_empty() => Bar::None,
        None => Bar::Failed,
    };
    let bars = |peer: usize| rows.iter().map(|row| bar(row, peer)).collect();
    let grid = Grid {
        what: metric.name(),
        ours: &report.allocators()[0].name,
        participants: "allocators",
        rows: rows.iter().map(|row| (row.workload.clone(), report.noise(row, metric).unwrap_or(0.0))).collect(),
        peers: peers.iter().map(|&peer| (report.allocators()[peer].name.clone(), bars(peer))).collect(),
    };
    grid.draw()
}

impl Grid<'_> {
    /// Draws it, unless there are no rows or no peers.
    pub fn draw(&self) -> Result<Option<String>, String> {
        let Grid { what, ours, participants, rows, peers } = self;
        if rows.is_empty() || peers.is_empty() {
            return Ok(None);
        }
        let names = rows.iter().map(|(name, _)| width(name, 12.0)).fold(60.0, f64::max) as u32 + 24;
        let panel_width = (PANELS / peers.len() as u32).clamp(LEAST_PANEL, WIDEST_PANEL);
        let size = ((names + panel_width * peers.len() as u32 + 16).max(520), TOP + BOTTOM + LINE * rows.len() as u32);
        let title = format!("{what} row by row");
        let description = format!(
            "A panel for each of {} {participants} with a bar for each of {} rows: to the right of 1.0 it takes more than {ours}, \
             to the left less. The table below has the numbers.",
            peers.len(),
            rows.len()
        );
        let svg = picture(&title, &description, size, |area| {
            let title = format!("{what} relative to {ours}");
            area.draw(&Text::new(title, (16, 12), bold(16.0, HPos::Left, VPos::Top)))?;
            let legend = "right: takes more; left: takes less; hollow: no difference; grey: noise of the row";
            area.draw(&Text::new(legend, (16, 36), style(12.0, SOFT, HPos::Left, VPos::Top)))?;
            let (left, mut rest) = area.split_horizontally(names);
            for (line, (name, _)) in rows.iter().enumerate() {
                let y = (TOP + LINE * line as u32 + LINE / 2) as i32;
                let name = Text::new(name.clone(), (names as i32 - 8, y), style(12.0, INK, HPos::Right, VPos::Center));
                left.draw(&name)?;
            }
            for (peer, bars) in peers {
                let (panel_area, others) = rest.split_horizontally(panel_width);
                panel(&panel_area, rows, peer, bars)?;
                rest = others;
            }
            Drawn::Ok(())
        })?;
        Ok(Some(svg))
    }
}

fn panel(area: &Area, rows: &[(String, f64)], peer: &str, bars: &[Bar]) -> Drawn {
    let lines = rows.len() as f64;
    let mut chart = ChartBuilder::on(area)
        .margin_left(4)
        .margin_right(10)
        .margin_top(TOP)
        .margin_bottom(BOTTOM)
        .build_cartesian_2d((1.0 / LIMIT..LIMIT).log_scale(), lines..0.0)?;
    let name = Text::new(peer.to_owned(), (0, -12), bold(12.0, HPos::Center, VPos::Center));
    chart.draw_series([EmptyElement::at((1.0, 0.0)) + name])?;
    for (tick, label) in [(0.125, ""), (0.25, "¼"), (0.5, "½"), (1.0, "1"), (2.0, "2"), (4.0, "4"), (8.0, "")] {
        chart.draw_series([PathElement::new([(tick, 0.0), (tick, lines)], GRID)])?;
        let label = Text::new(label.to_owned(), (0, 12), style(11.0, SOFT, HPos::Center, VPos::Center));
        chart.draw_series([EmptyElement::at((tick, lines)) + label])?;
    }
    for (line, ((_, noise), bar)) in rows.iter().zip(bars).enumerate() {
        let (top, middle, bottom) = (line as f64 + 0.15, line as f64 + 0.5, line as f64 + 0.85);
        let within = |ratio: f64| ratio.clamp(1.0 / LIMIT, LIMIT);
        let band = [(within(1.0 / (1.0 + noise)), line as f64), (within(1.0 + noise), line as f64 + 1.0)];
        chart.draw_series([Rectangle::new(band, GRID.filled())])?;
        let Bar::Ratio(ratio) = *bar else {
            let text = if matches!(bar, Bar::None) { "none" } else { "failed" };
            let text = Text::new(text.to_owned(), (4, 0), style(10.0, SOFT, HPos::Left, VPos::Center));
            chart.draw_series([EmptyElement::at((1.0, middle)) + text])?;
            continue;
        };
        let more = ratio >= 1.0;
        let difference = ratio.max(1.0 / ratio) - 1.0;
        let colour = if more { MORE } else { LESS };
        let fill = if difference <= noise.max(NO_DIFFERENCE) { PAPER } else { colour };
        let bar = [(within(ratio.min(1.0)), top), (within(ratio.max(1.0)), bottom)];
        chart.draw_series([Rectangle::new(bar, fill.filled())])?;
        chart.draw_series([Rectangle::new(bar, colour)])?;
        label(&mut chart, ratio, more, middle)?;
    }
    chart.draw_series([PathElement::new([(1.0, 0.0), (1.0, lines)], INK)])?;
    Ok(())
}

type Panel<'a, 'b> = ChartContext<
    'a,
    SVGBackend<'b>,
    Cartesian2d<plotters::coord::combinators::LogCoord<f64>, plotters::coord::types::RangedCoordf64>,
>;

/// The number at a bar's end: behind it, or inside on paper where the panel ends.
fn label(chart: &mut Panel, ratio: f64, more: bool, middle: f64) -> Drawn {
    let text = match ratio {
        10.0.. => format!("{ratio:.0}"),
        _ => format!("{ratio:.2}"),
    };
    // Three digits and a point need a factor of about three of the axis.
    let cramped = !(3.0 / LIMIT..=LIMIT / 3.0).contains(&ratio);
    let (at, dx, h) = match (more, cramped) {
        (true, false) => (ratio, 4, HPos::Left),
        (false, false) => (ratio, -4, HPos::Right),
        // On the empty side of 1.0, with an arrow where the bar is cut.
        (true, true) => (1.0, -4, HPos::Right),
        (false, true) => (1.0, 4, HPos::Left),
    };
    let text = match (ratio > LIMIT, ratio < 1.0 / LIMIT) {
        (true, _) => format!("{text} ▸"),
        (_, true) => format!("◂ {text}"),
        _ => text,
    };
    chart
        .draw_series([EmptyElement::at((at, middle)) + Text::new(text, (dx, 0), style(10.0, INK, h, VPos::Center))])?;
    Ok(())
}
