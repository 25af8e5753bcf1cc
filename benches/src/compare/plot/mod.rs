//! The pictures of the report.
//!
//! Each is an SVG text made by plotters. They are for readers with and without colour, and for light and dark pages:
//!
//! * **Shape before colour.** An allocator has a marker and a dash pattern of its own beside its colour, and its name stands at
//!   its point, line or bar. Bars tell by direction and filling what they mean.
//! * **Few inks.** What is drawn in [`INK`], [`SOFT`], [`GRID`] and [`PAPER`] can be told by these very values, so a page gives
//!   them other ones for a dark background by selectors on attributes; no second picture is needed. A picture that stands
//!   alone brings its own paper.
//! * **Title and description** are part of the picture, for readers who hear it.
//! * **Ratios are theirs divided by ours** in all pictures, so that ours is 1.0 everywhere and longer, further right or higher
//!   means that an allocator takes more. (The tables of text and Markdown have ours divided by theirs.)

pub mod resident;
pub mod rows;
pub mod scatter;
pub mod summary;

use super::peers::Role;
use super::report::{Metric, Report};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Text, axes and our own bars.
pub const INK: RGBColor = RGBColor(0x1b, 0x1b, 0x1b);
/// Text of the second rank.
pub const SOFT: RGBColor = RGBColor(0x5f, 0x5f, 0x5f);
/// Lines that help the eye.
pub const GRID: RGBColor = RGBColor(0xdc, 0xdc, 0xdc);
/// The background.
pub const PAPER: RGBColor = RGBColor(0xff, 0xff, 0xff);
/// An allocator that takes more than ours.
const MORE: RGBColor = RGBColor(0x4a, 0x7f, 0xb8);
/// An allocator that takes less.
const LESS: RGBColor = RGBColor(0xc4, 0x5a, 0x11);

/// Okabe and Ito's colours, which people with any kind of colour vision tell apart, without the yellow (too light for lines).
const PALETTE: [RGBColor; 6] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0xe6, 0x9f, 0x00),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// Draws a picture of `size` pixels and puts title and description into it.
fn picture(
    title: &str,
    description: &str,
    size: (u32, u32),
    draw: impl FnOnce(&Area) -> Drawn,
) -> Result<String, String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let drawn = area.fill(&PAPER).and_then(|()| draw(&area)).and_then(|()| area.present());
        drawn.map_err(|e| format!("cannot draw '{title}': {e}"))?;
    }
    let (start, rest) = svg.split_once('>').ok_or("plotters wrote no SVG")?;
    let (title, description) = (escaped(title), escaped(description));
    Ok(format!("{start} role=\"img\"><title>{title}</title><desc>{description}</desc>{rest}"))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Text of `size` pixels. (The SVG backend divides the size it is given by 1.24.)
fn style(size: f64, colour: RGBColor, h: HPos, v: VPos) -> TextStyle<'static> {
    let mut style = TextStyle::from(("sans-serif", size * 1.24).into_font()).pos(Pos::new(h, v));
    style.color = colour.to_backend_color();
    style
}

fn bold(size: f64, h: HPos, v: VPos) -> TextStyle<'static> {
    let font = ("sans-serif", size * 1.24).into_font().style(FontStyle::Bold);
    TextStyle::from(font).color(&INK).pos(Pos::new(h, v))
}

/// Width of a text of `size` pixels, roughly: sans-serif letters are a bit over half as wide as they are high.
fn width(text: &str, size: f64) -> f64 {
    text.chars().count() as f64 * size * 0.58
}

/// How an allocator looks in lines and points.
struct Look {
    colour: RGBColor,
    /// Corners around the point, in pixels.
    marker: Vec<(i32, i32)>,
    /// Length of dashes and gaps in pixels; no gap: a solid line.
    dash: (i32, i32),
    stroke: u32,
}

/// The look of an allocator (an index): the reference solid in ink, the peers by their order.
fn look(report: &Report, allocator: usize) -> Look {
    if report.allocators()[allocator].role == Role::Reference {
        let marker = vec![(-6, -6), (6, -6), (6, 6), (-6, 6)];
        return Look { colour: INK, marker, dash: (1, 0), stroke: 3 };
    }
    let before = report.allocators()[..allocator].iter();
    let peer = before.filter(|a| a.role == Role::Peer).count();
    const DASHES: [(i32, i32); 4] = [(10, 4), (3, 3), (18, 6), (6, 8)];
    Look { colour: PALETTE[peer % PALETTE.len()], marker: marker(peer), dash: DASHES[peer % DASHES.len()], stroke: 2 }
}

fn marker(peer: usize) -> Vec<(i32, i32)> {
    const MARKERS: [&[(i32, i32)]; 8] = [
        &[(0, -7), (7, 6), (-7, 6)],
        &[(0, -8), (8, 0), (0, 8), (-8, 0)],
        &[(0, 7), (7, -6), (-7, -6)],
        &[(-2, -7), (2, -7), (2, -2), (7, -2), (7, 2), (2, 2), (2, 7), (-2, 7), (-2, 2), (-7, 2), (-7, -2), (-2, -2)],
        &[(-7, -6), (7, 6), (7, -6), (-7, 6)],
        &[(0, -7), (7, -2), (4, 6), (-4, 6), (-7, -2)],
        &[(-6, -7), (7, 0), (-6, 7)],
        &[(6, -7), (-7, 0), (6, 7)],
    ];
    MARKERS[peer % MARKERS.len()].to_vec()
}

/// The geometric mean of an allocator relative to ours.
pub fn relative_mean(report: &Report, metric: Metric, allocator: usize) -> Option<f64> {
    report.pair(metric, allocator, 0).map(|mean| mean.ratio)
}

/// How many rows an allocator's mean is of, if those are not all: one that serves Rust programs only has fewer.
fn fewer_rows(report: &Report, metric: Metric, allocator: usize) -> Option<String> {
    let rows = |allocator| report.pair(metric, allocator, 0).map_or(0, |mean| mean.rows);
    (rows(allocator) < rows(0)).then(|| format!(" ({} rows)", rows(allocator)))
}

/// The least step of 1, 2 or 5 times a power of ten that gives at most `most` steps in `range`.
fn step(range: f64, most: f64) -> f64 {
    let least = range / most;
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|digit| digit * power).find(|&step| step >= least).unwrap_or(10.0 * power)
}

/// Multiples of a round step from 0 up to `end`.
fn ticks(end: f64, most: f64) -> Vec<f64> {
    let step = step(end, most);
    (0..=(end / step + 1e-9) as usize).map(|index| index as f64 * step).collect()
}

#[cfg(test)]
mod tests {
    use super::{picture, ticks};

    #[test]
    fn a_picture_has_title_and_description_whatever_is_in_them() {
        let svg = picture("a < b & c", "what > it shows", (10, 10), |_| Ok(())).unwrap();
        let document = roxmltree::Document::parse(&svg).unwrap();
        let mut texts = document.root_element().children().filter_map(|node| node.text());
        assert_eq!((texts.next(), texts.next()), (Some("a < b & c"), Some("what > it shows")));
    }

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(ticks(1.7, 5.0), [0.0, 0.5, 1.0, 1.5]);
        assert_eq!(ticks(100.0, 5.0), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
    }
}
