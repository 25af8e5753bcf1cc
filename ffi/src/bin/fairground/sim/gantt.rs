//! Who runs when: a line for each task; a bar where it runs, with the number of its cpu; a thin line where it waits; nothing where it
//! sleeps.

use super::picture::{Drawn, GRID, INK, PAPER, SOFT, WIDTH, picture, style, ticks};
use fairground_runtime::sim::{Doing, Report};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

const LINE: u32 = 18;
const TOP: u32 = 34;
const BOTTOM: u32 = 30;
const NAMES: u32 = 130;
const RIGHT: u32 = 24;

/// Draws the first `window` milliseconds of those that were followed.
pub fn draw(report: &Report, window: f64) -> Result<String, String> {
    let lanes = &report.lanes;
    let title = format!("{}: who runs when", report.policy);
    let names: Vec<_> = lanes.iter().map(|lane| lane.task.as_str()).collect();
    let description = format!(
        "The first {window} ms of {} on {} cpus. Bars: it runs, on the cpu with that number; thin lines: it waits.",
        names.join(", "),
        report.cpus
    );
    let height = TOP + BOTTOM + LINE * lanes.len() as u32;
    picture(&title, &description, height, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin_left(NAMES)
            .margin_right(RIGHT)
            .margin_top(TOP)
            .margin_bottom(BOTTOM)
            .build_cartesian_2d(0.0..window, lanes.len() as f64..0.0)?;
        for tick in ticks(0.0, window, 10.0) {
            chart.draw_series([PathElement::new([(tick, 0.0), (tick, lanes.len() as f64)], GRID)])?;
            let label = Text::new(format!("{tick} ms"), (0, 12), style(11.0, SOFT, HPos::Center, VPos::Center));
            chart.draw_series([EmptyElement::at((tick, lanes.len() as f64)) + label])?;
        }
        let pixels = f64::from(WIDTH - NAMES - RIGHT) / window;
        for (line, lane) in lanes.iter().enumerate() {
            let middle = line as f64 + 0.5;
            let name = Text::new(lane.task.clone(), (-6, 0), style(11.0, INK, HPos::Right, VPos::Center));
            chart.draw_series([EmptyElement::at((0.0, middle)) + name])?;
            let ends = lane.turns.iter().skip(1).map(|turn| turn.0.as_secs_f64() * 1e3).chain([window]);
            for ((from, doing), end) in lane.turns.iter().zip(ends) {
                let from = from.as_secs_f64() * 1e3;
                match *doing {
                    Doing::Running(cpu) => {
                        chart.draw_series([Rectangle::new(
                            [(from, middle - 0.36), (end, middle + 0.36)],
                            INK.filled(),
                        )])?;
                        let text = cpu.to_string();
                        if report.cpus > 1 && (end - from) * pixels > 7.0 * text.len() as f64 + 3.0 {
                            let text = Text::new(text, (0, 0), style(9.0, PAPER, HPos::Center, VPos::Center));
                            chart.draw_series([EmptyElement::at(((from + end) / 2.0, middle)) + text])?;
                        }
                    }
                    Doing::Waiting => {
                        chart.draw_series([PathElement::new([(from, middle), (end, middle)], SOFT)])?;
                    }
                    _ => (),
                }
            }
        }
        Drawn::Ok(())
    })
}
