//! Time against peak memory in the geometric mean: a point for each allocator, with its name. Near the corner of the axes is
//! good in both.

use super::{Drawn, GRID, INK, SOFT, bold, fewer_rows, look, picture, relative_mean, step, style, width};
use crate::compare::report::{Metric, Report};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

const SIZE: (u32, u32) = (760, 520);
const NAME: f64 = 13.0;

/// An allocator's point.
struct Spot {
    allocator: usize,
    time: f64,
    memory: f64,
}

/// Draws it.
pub fn draw(report: &Report) -> Result<String, String> {
    let spot = |allocator| {
        let mean = |metric| relative_mean(report, metric, allocator);
        Some(Spot { allocator, time: mean(Metric::Time)?, memory: mean(Metric::Peak)? })
    };
    let spots: Vec<Spot> = report.shown().into_iter().filter_map(spot).collect();
    let ours = &report.allocators()[0].name;
    let named: Vec<String> = spots
        .iter()
        .map(|s| format!("{} at time {:.2}, memory {:.2}", report.allocators()[s.allocator].name, s.time, s.memory))
        .collect();
    let description = format!("Points, {ours} at 1.0 and 1.0, left and low is better: {}", named.join("; "));
    picture("Time against peak memory, geometric means", &description, SIZE, |area| {
        let title = format!("Time against peak memory, relative to {ours}: left and low is better");
        area.draw(&Text::new(title, (16, 14), bold(16.0, HPos::Left, VPos::Top)))?;
        let (x, y) = (range(spots.iter().map(|s| s.time)), range(spots.iter().map(|s| s.memory)));
        let mut chart = ChartBuilder::on(area)
            .margin_left(70)
            .margin_right(24)
            .margin_top(48)
            .margin_bottom(56)
            .build_cartesian_2d(x.0..x.1, y.0..y.1)?;
        for tick in between(x) {
            chart.draw_series([PathElement::new([(tick, y.0), (tick, y.1)], GRID)])?;
            let label = Text::new(format!("{tick:.1}"), (0, 14), style(12.0, SOFT, HPos::Center, VPos::Center));
            chart.draw_series([EmptyElement::at((tick, y.0)) + label])?;
        }
        for tick in between(y) {
            chart.draw_series([PathElement::new([(x.0, tick), (x.1, tick)], GRID)])?;
            let label = Text::new(format!("{tick:.1}"), (-8, 0), style(12.0, SOFT, HPos::Right, VPos::Center));
            chart.draw_series([EmptyElement::at((x.0, tick)) + label])?;
        }
        chart.draw_series([
            PathElement::new([(1.0, y.0), (1.0, y.1)], INK),
            PathElement::new([(x.0, 1.0), (x.1, 1.0)], INK),
        ])?;
        let x_label = Text::new("wall time".to_owned(), (0, 38), style(13.0, INK, HPos::Right, VPos::Center));
        chart.draw_series([EmptyElement::at((x.1, y.0)) + x_label])?;
        let turned = style(13.0, INK, HPos::Right, VPos::Center).transform(FontTransform::Rotate270);
        chart.draw_series([
            EmptyElement::at((x.0, y.1)) + Text::new("peak resident memory".to_owned(), (-50, 0), turned)
        ])?;
        let at = |s: &Spot| chart.backend_coord(&(s.time, s.memory));
        let points: Vec<(f64, f64)> = spots.iter().map(at).map(|(x, y)| (f64::from(x), f64::from(y))).collect();
        let name = |s: &Spot| {
            let fewer = fewer_rows(report, Metric::Time, s.allocator).unwrap_or_default();
            report.allocators()[s.allocator].name.clone() + &fewer
        };
        let names: Vec<String> = spots.iter().map(name).collect();
        let corner = chart.backend_coord(&(1.0, 1.0));
        let places = places(&points, &names, (f64::from(corner.0), f64::from(corner.1)));
        for ((spot, name), (dx, dy)) in spots.iter().zip(&names).zip(places) {
            let look = look(report, spot.allocator);
            let marker = Polygon::new(look.marker, look.colour.filled());
            let weight = if spot.allocator == 0 {
                bold(NAME, HPos::Left, VPos::Center)
            } else {
                style(NAME, INK, HPos::Left, VPos::Center)
            };
            let name = Text::new(name.clone(), (dx, dy), weight);
            chart.draw_series([EmptyElement::at((spot.time, spot.memory)) + marker + name])?;
        }
        Drawn::Ok(())
    })
}

/// From a step below the least value (and 1.0) to a step above the greatest, so that names beside points fit in.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (least, most) = values.fold((1.0_f64, 1.0_f64), |(least, most), v| (least.min(v), most.max(v)));
    let margin = ((most - least) * 0.2).max(0.05);
    ((least - margin).max(0.0), most + margin)
}

fn between((from, to): (f64, f64)) -> impl Iterator<Item = f64> {
    // Not finer than the one decimal that labels have.
    let step = step(to - from, 8.0).max(0.1);
    let first = (from / step).ceil() as i64;
    (first..=(to / step) as i64).map(move |index| index as f64 * step)
}

/// Where each name goes, relative to its point: the first place that covers no point, no earlier name, and not the lines
/// through `ours`.
fn places(points: &[(f64, f64)], names: &[String], ours: (f64, f64)) -> Vec<(i32, i32)> {
    let mut taken: Vec<[f64; 4]> = points.iter().map(|&(x, y)| [x - 8.0, y - 8.0, x + 8.0, y + 8.0]).collect();
    taken.push([0.0, ours.1 - 1.0, f64::from(SIZE.0), ours.1 + 1.0]);
    taken.push([ours.0 - 1.0, 0.0, ours.0 + 1.0, f64::from(SIZE.1)]);
    let mut places = Vec::new();
    for (&(x, y), name) in points.iter().zip(names) {
        let width = width(name, NAME);
        let candidates = [(12.0, 0.0), (-12.0 - width, 0.0), (-width / 2.0, -18.0), (-width / 2.0, 18.0)].into_iter();
        let further =
            [16.0, -16.0, 30.0, -30.0, 44.0, -44.0].into_iter().flat_map(|dy| [(12.0, dy), (-12.0 - width, dy)]);
        let around = |(dx, dy): (f64, f64)| [x + dx, y + dy - NAME * 0.6, x + dx + width, y + dy + NAME * 0.6];
        let free = |place: &(f64, f64)| {
            let [left, top, right, bottom] = around(*place);
            let inside = left >= 72.0 && right <= f64::from(SIZE.0) - 4.0;
            inside && taken.iter().all(|t| right < t[0] || left > t[2] || bottom < t[1] || top > t[3])
        };
        let place = candidates.chain(further).find(free).unwrap_or((12.0, 0.0));
        taken.push(around(place));
        places.push((place.0.round() as i32, place.1.round() as i32));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::places;

    #[test]
    fn names_of_points_close_together_do_not_lie_on_each_other() {
        let places = places(
            &[(300.0, 200.0), (302.0, 203.0), (301.0, 198.0)],
            &["one", "two", "three"].map(String::from),
            (0.0, 0.0),
        );
        assert!(places[0] != places[1] && places[1] != places[2] && places[0] != places[2]);
    }
}
