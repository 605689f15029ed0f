//! Plots, as SVG and PNG; and the one of the cuts: for each method, the share of cuts that it had
//! noticed by a certain time, on a logarithmic axis.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, anyhow};
use detector_tests::baseline::Method;
use plotters::{
    coord::{CoordTranslate, Shift},
    prelude::{
        BLACK, BitMapBackend, ChartBuilder, ChartContext, Color as _, DrawingArea, DrawingBackend,
        FontStyle, IntoDrawingArea as _, IntoLogRange as _, LineSeries, PathElement, RGBColor,
        SVGBackend, SeriesLabelPosition, WHITE,
    },
    style::register_font,
};

use crate::{rows::Group, run::CutRow};

const SIZE: (u32, u32) = (1200, 720);
/// The time axis, in milliseconds.
const FROM_MS: f64 = 10.0;
const TO_MS: f64 = 60_000.0;
/// A font of the project's own, so that the plot does not depend on the machine's fonts.
pub const FONT: &str = "sans-serif";

/// One line: its name, and the times in order. A cut that was not noticed has no point, but
/// counts.
struct Curve {
    label: String,
    colour: RGBColor,
    ours: bool,
    noticed: Vec<f64>,
    count: usize,
}

/// Something that can be drawn on either back end.
pub trait Plot {
    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Drawn<B>;

    /// Writes NAME.svg and NAME.png.
    fn save(&self, directory: &Path, name: &str) -> anyhow::Result<()> {
        register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT)
            .map_err(|_| anyhow!("the plot's font cannot be read"))?;
        let svg = directory.join(name).with_extension("svg");
        // The back end's error is not Sync where it is a bitmap's.
        self.draw(&SVGBackend::new(&svg, SIZE).into_drawing_area())
            .map_err(|error| anyhow!("{error}"))
            .with_context(|| format!("cannot draw {}", svg.display()))?;
        let png = directory.join(name).with_extension("png");
        self.draw(&BitMapBackend::new(&png, SIZE).into_drawing_area())
            .map_err(|error| anyhow!("{error}"))
            .with_context(|| format!("cannot draw {}", png.display()))
    }
}

pub type Drawn<B> =
    Result<(), plotters::drawing::DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;

/// The empty page of a plot, with its title.
pub fn page<'a, 'b, B: DrawingBackend>(
    area: &'a DrawingArea<B, Shift>,
    title: &str,
) -> Result<ChartBuilder<'a, 'b, B>, plotters::drawing::DrawingAreaErrorKind<B::ErrorType>> {
    area.fill(&WHITE)?;
    let mut page = ChartBuilder::on(area);
    page.caption(title, (FONT, 26))
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(72);
    Ok(page)
}

/// What the curves are.
pub fn legend<'a, B: DrawingBackend + 'a, C: CoordTranslate>(
    chart: &mut ChartContext<'a, B, C>,
) -> Drawn<B> {
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .label_font((FONT, 15))
        .draw()
}

/// latency.svg and latency.png.
pub fn write(rows: &[CutRow], directory: &Path) -> anyhow::Result<()> {
    Latency(curves(rows)).save(directory, "latency")
}

struct Latency(Vec<Curve>);

fn curves(rows: &[CutRow]) -> Vec<Curve> {
    let colours = [
        RGBColor(0, 90, 181),
        RGBColor(0, 150, 136),
        RGBColor(94, 53, 177),
        RGBColor(46, 125, 50),
    ];
    let ours = Group::ALL.into_iter().zip(colours).map(|(group, colour)| {
        let cuts = rows
            .iter()
            .filter(|row| row.group == group)
            .flat_map(|row| &row.cuts);
        curve(group.label(), colour, true, cuts.map(|cut| cut.open_ms))
    });
    let mut of_methods: BTreeMap<Method, Vec<Option<f64>>> = BTreeMap::new();
    for cut in rows.iter().flat_map(|row| &row.cuts) {
        for (method, ms) in &cut.baselines {
            of_methods.entry(*method).or_default().push(*ms);
        }
    }
    let colours = [
        RGBColor(183, 28, 28),
        RGBColor(230, 81, 0),
        RGBColor(249, 168, 37),
        RGBColor(121, 85, 72),
        RGBColor(97, 97, 97),
        RGBColor(216, 27, 96),
    ];
    let theirs = of_methods.into_iter().map(|(method, times)| {
        let colour = colours[method as usize % colours.len()];
        curve(method.label(), colour, false, times)
    });
    ours.chain(theirs).filter(|curve| curve.count > 0).collect()
}

fn curve(
    label: &str,
    colour: RGBColor,
    ours: bool,
    times: impl IntoIterator<Item = Option<f64>>,
) -> Curve {
    let times: Vec<Option<f64>> = times.into_iter().collect();
    let mut noticed: Vec<f64> = times.iter().flatten().copied().collect();
    noticed.sort_unstable_by(f64::total_cmp);
    Curve {
        label: format!("{label} ({} of {})", noticed.len(), times.len()),
        colour,
        ours,
        noticed,
        count: times.len(),
    }
}

/// The corners of the steps: from 0 % at the first time to the share that was noticed at all.
fn steps(curve: &Curve) -> Vec<(f64, f64)> {
    let share = |n: usize| 100.0 * n as f64 / curve.count as f64;
    let mut points = vec![(FROM_MS, 0.0)];
    for (n, ms) in curve.noticed.iter().enumerate() {
        let ms = ms.clamp(FROM_MS, TO_MS);
        points.extend([(ms, share(n)), (ms, share(n + 1))]);
    }
    points.push((TO_MS, share(curve.noticed.len())));
    points
}

impl Plot for Latency {
    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Drawn<B> {
        let mut chart = page(area, "Cuts noticed by a time after the cut")?
            .build_cartesian_2d((FROM_MS..TO_MS).log_scale(), 0.0..100.0)?;
        let time = |ms: &f64| match *ms {
            ms if ms >= 1000.0 => format!("{} s", ms / 1000.0),
            ms => format!("{ms} ms"),
        };
        chart
            .configure_mesh()
            .light_line_style(BLACK.mix(0.04))
            .bold_line_style(BLACK.mix(0.15))
            .x_desc("time after the cut")
            .y_desc("share of cuts")
            .x_label_formatter(&time)
            .y_label_formatter(&|share| format!("{share:.0} %"))
            .label_style((FONT, 16))
            .axis_desc_style((FONT, 18))
            .draw()?;
        for curve in &self.0 {
            let width = if curve.ours { 4 } else { 2 };
            let style = curve.colour.stroke_width(width);
            chart
                .draw_series(LineSeries::new(steps(curve), style))?
                .label(&curve.label)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
        }
        legend(&mut chart)?;
        area.present()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_noticed_keeps_the_line_below_the_top() {
        let curve = curve("x", BLACK, true, [Some(100.0), None, Some(50.0), None]);
        let steps = steps(&curve);
        assert_eq!(steps.first(), Some(&(FROM_MS, 0.0)));
        assert!(steps.contains(&(100.0, 50.0)));
        assert_eq!(steps.last(), Some(&(TO_MS, 50.0)));
    }

    #[test]
    fn both_kinds_of_plot_are_drawn() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        write(&[], directory.path())?;
        for name in ["latency.svg", "latency.png"] {
            assert!(
                directory.path().join(name).metadata()?.len() > 1000,
                "{name}"
            );
        }
        Ok(())
    }
}
