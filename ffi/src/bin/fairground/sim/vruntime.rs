//! Virtual run time over time: a line for one task of each kind, told apart by dashes and by the name at its end.

use super::picture::{Drawn, GRID, INK, SOFT, WIDTH, picture, style, ticks};
use fairground_runtime::sim::{Lane, Report};
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

const HEIGHT: u32 = 300;
const TOP: u32 = 34;
const BOTTOM: u32 = 30;
const LEFT: u32 = 56;
const NAMES: u32 = 130;
/// Names at the ends of lines are at least this far apart.
const NAME_HEIGHT: f64 = 14.0;
/// Length of dashes and gaps; the first is solid.
const DASHES: [(i32, i32); 6] = [(1, 0), (9, 4), (3, 3), (16, 5), (2, 7), (9, 9)];

/// Draws the first `window` milliseconds.
pub fn draw(report: &Report, window: f64) -> Result<String, String> {
    let lanes = one_of_each(report);
    let points = |lane: &Lane| -> Vec<(f64, f64)> {
        lane.vruntime.iter().map(|(at, ns)| (at.as_secs_f64() * 1e3, *ns as f64 / 1e6)).collect()
    };
    let lines: Vec<_> = lanes.iter().map(|lane| points(lane)).collect();
    let all = || lines.iter().flatten().map(|point| point.1);
    let (least, most) = (all().fold(f64::INFINITY, f64::min).min(0.0), all().fold(0.0, f64::max).max(1.0));
    let least = if least.is_finite() { least } else { 0.0 };
    let names: Vec<_> = lanes.iter().map(|lane| lane.task.as_str()).collect();
    let title = format!("{}: virtual run time (ms)", report.policy);
    let description = format!("The first {window} ms, a line each for {}.", names.join(", "));
    picture(&title, &description, HEIGHT, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin_left(LEFT)
            .margin_right(NAMES)
            .margin_top(TOP)
            .margin_bottom(BOTTOM)
            .build_cartesian_2d(0.0..window, least..most)?;
        for tick in ticks(0.0, window, 8.0) {
            chart.draw_series([PathElement::new([(tick, least), (tick, most)], GRID)])?;
            let label = Text::new(format!("{tick} ms"), (0, 12), style(11.0, SOFT, HPos::Center, VPos::Center));
            chart.draw_series([EmptyElement::at((tick, least)) + label])?;
        }
        for tick in ticks(least, most, 8.0) {
            chart.draw_series([PathElement::new([(0.0, tick), (window, tick)], GRID)])?;
            let label = format!("{}", (tick * 1000.0).round() / 1000.0);
            let label = Text::new(label, (-6, 0), style(11.0, SOFT, HPos::Right, VPos::Center));
            chart.draw_series([EmptyElement::at((0.0, tick)) + label])?;
        }
        for (line, points) in lines.iter().enumerate() {
            let (dash, gap) = DASHES[line % DASHES.len()];
            if gap == 0 {
                chart.draw_series([PathElement::new(points.clone(), INK.stroke_width(2))])?;
            } else {
                chart.draw_series([DashedPathElement::new(points.clone(), dash, gap, INK.stroke_width(2))])?;
            }
        }
        let ends: Vec<_> = lines.iter().map(|points| points.last().copied().unwrap_or((0.0, 0.0))).collect();
        let heights: Vec<_> = ends.iter().map(|end| f64::from(chart.backend_coord(end).1)).collect();
        let placed = spread(&heights, f64::from(TOP), f64::from(HEIGHT - BOTTOM));
        for ((end, name), height) in ends.iter().zip(&names).zip(placed) {
            let to = ((WIDTH - NAMES + 12) as i32, height.round() as i32);
            area.draw(&PathElement::new([chart.backend_coord(end), to], SOFT))?;
            let name = Text::new((*name).to_owned(), (to.0 + 4, to.1), style(11.0, INK, HPos::Left, VPos::Center));
            area.draw(&name)?;
        }
        Drawn::Ok(())
    })
}

/// The first of each kind that ran in the window.
fn one_of_each(report: &Report) -> Vec<&Lane> {
    let of = |kind: &str| {
        let mut mine = report.lanes.iter().filter(|lane| {
            lane.task == kind || lane.task.strip_prefix(kind).is_some_and(|number| number.starts_with(' '))
        });
        mine.find(|lane| lane.vruntime.len() > 1)
    };
    report.kinds.iter().filter_map(|kind| of(&kind.name)).take(DASHES.len()).collect()
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
