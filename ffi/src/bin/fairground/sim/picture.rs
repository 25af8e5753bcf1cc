//! What the pictures have in common: few inks, so that the page can turn them on a dark background; nothing is said by colour
//! alone; title and description are part of the picture, for readers who hear it.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Text, axes, and what runs.
pub const INK: RGBColor = RGBColor(0x1b, 0x1b, 0x1b);
/// Text of the second rank, and what waits.
pub const SOFT: RGBColor = RGBColor(0x5f, 0x5f, 0x5f);
/// Lines that help the eye.
pub const GRID: RGBColor = RGBColor(0xdc, 0xdc, 0xdc);
/// The background.
pub const PAPER: RGBColor = RGBColor(0xff, 0xff, 0xff);

/// Pixels across; two beside each other fit a page.
pub const WIDTH: u32 = 620;

pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// Draws a picture of that height and puts title and description into it.
pub fn picture(
    title: &str,
    description: &str,
    height: u32,
    draw: impl FnOnce(&Area) -> Drawn,
) -> Result<String, String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        let heading = Text::new(title.to_owned(), (8, 8), bold(14.0, HPos::Left, VPos::Top));
        let drawn = area.fill(&PAPER).and_then(|()| area.draw(&heading)).and_then(|()| draw(&area));
        drawn.and_then(|()| area.present()).map_err(|error| format!("'{title}': {error}"))?;
    }
    // Inside HTML the format's own name is not needed.
    let svg = svg.replacen(" xmlns=\"http://www.w3.org/2000/svg\"", "", 1);
    let (start, rest) = svg.split_once('>').ok_or("plotters wrote no SVG")?;
    let (title, description) = (escaped(title), escaped(description));
    Ok(format!("{start} role=\"img\"><title>{title}</title><desc>{description}</desc>{rest}"))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Text of `size` pixels. (The SVG backend divides the size it is given by 1.24.)
pub fn style(size: f64, colour: RGBColor, h: HPos, v: VPos) -> TextStyle<'static> {
    let mut style = TextStyle::from(("sans-serif", size * 1.24).into_font()).pos(Pos::new(h, v));
    style.color = colour.to_backend_color();
    style
}

pub fn bold(size: f64, h: HPos, v: VPos) -> TextStyle<'static> {
    let font = ("sans-serif", size * 1.24).into_font().style(FontStyle::Bold);
    TextStyle::from(font).color(&INK).pos(Pos::new(h, v))
}

/// Multiples of a round step from `from` to `end`, at most `most` of them and one.
pub fn ticks(from: f64, end: f64, most: f64) -> Vec<f64> {
    let least = (end - from) / most;
    if least <= 0.0 || !least.is_finite() {
        return vec![from];
    }
    let power = 10_f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|digit| digit * power).find(|step| *step >= least);
    let step = step.unwrap_or(10.0 * power);
    let first = (from / step - 1e-9).ceil() as i64;
    (first..).map(|index| index as f64 * step).take_while(|tick| *tick <= end + step * 1e-9).collect()
}

#[cfg(test)]
mod tests {
    use super::ticks;

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(ticks(0.0, 50.0, 5.0), [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]);
        assert_eq!(ticks(-3.0, 7.0, 6.0), [-2.0, 0.0, 2.0, 4.0, 6.0]);
        assert_eq!(ticks(1.0, 1.0, 6.0), [1.0]);
    }
}
