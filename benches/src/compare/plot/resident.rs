//! Resident memory over time of a program of phases: a line for each allocator, told apart by dashes and markers, with its
//! name at its end.

use super::{Drawn, GRID, INK, SOFT, bold, look, picture, style, ticks};
use crate::compare::report::{Report, Row};
use crate::compare::series::Series;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

const SIZE: (u32, u32) = (980, 520);
const TOP: u32 = 96;
const BOTTOM: u32 = 50;
const NAMES: u32 = 170;
/// Names at the ends of lines are at least this far apart.
const NAME_HEIGHT: f64 = 16.0;
/// Markers on a line: enough to follow it, few enough to see the dashes.
const MARKERS: usize = 12;

/// The first series of each allocator in a row, with the allocator's index.
pub fn series(report: &Report, row: &Row) -> Vec<(usize, Series)> {
    let first = |a: usize| row.results[a].samples.iter().find_map(|sample| sample.series.clone());
    report.shown().into_iter().filter_map(|a| Some((a, first(a)?))).collect()
}

/// Draws it, unless the row has no series.
pub fn draw(report: &Report, row: &Row) -> Result<Option<String>, String> {
    let series = series(report, row);
    let longest = series.iter().filter_map(|(_, s)| s.resident.last()).map(|p| p.0).max();
    let highest = series.iter().flat_map(|(_, s)| &s.resident).map(|p| p.1).max();
    let (Some(longest), Some(highest)) = (longest, highest) else { return Ok(None) };
    let (end, top) = (longest.max(1) as f64 / 1000.0, highest.max(1) as f64 / 1024.0 * 1.05);
    let names: Vec<&str> = series.iter().map(|(a, _)| report.allocators()[*a].name.as_str()).collect();
    let description = format!(
        "Resident memory in MiB over {end:.1} seconds, a line each for {}. The table below has the memory at the end of each phase.",
        names.join(", ")
    );
    let svg = picture(&format!("Resident memory over time: {}", row.workload), &description, SIZE, |area| {
        let title = format!("{}: resident memory (MiB) over time (s)", row.workload);
        area.draw(&Text::new(title, (16, 12), bold(16.0, HPos::Left, VPos::Top)))?;
        let note = format!("upright lines: where the phases of {} begin; those of others are near", names[0]);
        area.draw(&Text::new(note, (16, 36), style(12.0, SOFT, HPos::Left, VPos::Top)))?;
        let mut chart = ChartBuilder::on(area)
            .margin_left(60)
            .margin_right(NAMES)
            .margin_top(TOP)
            .margin_bottom(BOTTOM)
            .build_cartesian_2d(0.0..end, 0.0..top)?;
        for tick in ticks(top, 8.0) {
            chart.draw_series([PathElement::new([(0.0, tick), (end, tick)], GRID)])?;
            let label = Text::new(format!("{tick}"), (-8, 0), style(12.0, SOFT, HPos::Right, VPos::Center));
            chart.draw_series([EmptyElement::at((0.0, tick)) + label])?;
        }
        for tick in ticks(end, 10.0) {
            // Decimals only where the steps need them; rounded, for a multiple of 0.1 is not exact.
            let label = format!("{}", (tick * 1000.0).round() / 1000.0);
            let label = Text::new(label, (0, 14), style(12.0, SOFT, HPos::Center, VPos::Center));
            chart.draw_series([EmptyElement::at((tick, 0.0)) + label])?;
        }
        // The phases of the first, which is ours: the others do the same at much the same moments.
        for (index, (at, name)) in series[0].1.phases.iter().enumerate() {
            let at = *at as f64 / 1000.0;
            chart.draw_series([PathElement::new([(at, 0.0), (at, top)], SOFT)])?;
            // On two heights by turns, since a phase can be shorter than its name.
            let dy = if index % 2 == 0 { -10 } else { -26 };
            let name = Text::new(name.clone(), (2, dy), style(12.0, INK, HPos::Left, VPos::Center));
            chart.draw_series([EmptyElement::at((at, top)) + name])?;
        }
        // Ours last, so that it lies above the others.
        for (order, (allocator, series)) in series.iter().enumerate().rev() {
            let look = look(report, *allocator);
            let points: Vec<(f64, f64)> =
                series.resident.iter().map(|&(ms, kib)| (ms as f64 / 1000.0, kib as f64 / 1024.0)).collect();
            let line = look.colour.stroke_width(look.stroke);
            if look.dash.1 == 0 {
                chart.draw_series([PathElement::new(points.clone(), line)])?;
            } else {
                chart.draw_series([DashedPathElement::new(points.clone(), look.dash.0, look.dash.1, line)])?;
            }
            // Shifted from allocator to allocator, so that markers of lines that coincide lie side by side.
            let every = (points.len() / MARKERS).max(1);
            for &point in points.iter().skip(order * every / 4 % every).step_by(every) {
                chart
                    .draw_series([EmptyElement::at(point) + Polygon::new(look.marker.clone(), look.colour.filled())])?;
            }
        }
        let ends: Vec<(f64, f64)> = series
            .iter()
            .map(|(_, s)| s.resident.last().map_or((0.0, 0.0), |&(ms, kib)| (ms as f64 / 1000.0, kib as f64 / 1024.0)))
            .collect();
        let heights: Vec<f64> = ends.iter().map(|p| f64::from(chart.backend_coord(p).1)).collect();
        let placed = spread(&heights, f64::from(TOP), f64::from(SIZE.1 - BOTTOM));
        for (index, (allocator, _)) in series.iter().enumerate() {
            let look = look(report, *allocator);
            let from = chart.backend_coord(&ends[index]);
            let to = ((SIZE.0 - NAMES + 18) as i32, placed[index].round() as i32);
            area.draw(&PathElement::new([from, to], SOFT))?;
            area.draw(&(EmptyElement::at((to.0 + 8, to.1)) + Polygon::new(look.marker, look.colour.filled())))?;
            let weight = if *allocator == 0 {
                bold(13.0, HPos::Left, VPos::Center)
            } else {
                style(13.0, INK, HPos::Left, VPos::Center)
            };
            area.draw(&Text::new(names[index].to_owned(), (to.0 + 20, to.1), weight))?;
        }
        Drawn::Ok(())
    })?;
    Ok(Some(svg))
}

/// Heights as near as may be to those wished for, in their order, apart by [`NAME_HEIGHT`] and between `top` and `bottom`.
fn spread(wished: &[f64], top: f64, bottom: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wished.len()).collect();
    order.sort_by(|&a, &b| wished[a].total_cmp(&wished[b]));
    let mut placed = wished.to_vec();
    let mut free = top;
    for &index in &order {
        placed[index] = wished[index].max(free);
        free = placed[index] + NAME_HEIGHT;
    }
    // What went out at the bottom pushes the others up.
    let mut limit = bottom;
    for &index in order.iter().rev() {
        placed[index] = placed[index].min(limit);
        limit = placed[index] - NAME_HEIGHT;
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::{NAME_HEIGHT, spread};

    #[test]
    fn names_keep_their_order_their_distance_and_inside() {
        let placed = spread(&[95.0, 50.0, 96.0, 97.0], 0.0, 100.0);
        assert_eq!(placed, [100.0 - 2.0 * NAME_HEIGHT, 50.0, 100.0 - NAME_HEIGHT, 100.0]);
    }
}
