//! Draws how the processor time grows with the number of peers, both on logarithmic axes.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, anyhow};
use plotters::{
    coord::Shift,
    prelude::{
        BLACK, BitMapBackend, ChartBuilder, Circle, Color as _, DrawingArea, DrawingBackend,
        FontStyle, IntoDrawingArea as _, IntoLogRange as _, LineSeries, PathElement, RGBColor,
        SVGBackend, SeriesLabelPosition, WHITE,
    },
    style::register_font,
};

use super::{Load, Row};

const SIZE: (u32, u32) = (1200, 720);
/// The shares of a processor that are shown, in percent.
const FROM: f64 = 0.001;
const TO: f64 = 100.0;
const FONT: &str = "sans-serif";
const COLOURS: [RGBColor; 9] = [
    RGBColor(0, 90, 181),
    RGBColor(0, 150, 136),
    RGBColor(94, 53, 177),
    RGBColor(46, 125, 50),
    RGBColor(3, 169, 244),
    RGBColor(139, 195, 74),
    RGBColor(183, 28, 28),
    RGBColor(230, 81, 0),
    RGBColor(121, 85, 72),
];

type Curves = BTreeMap<String, Vec<(f64, f64)>>;

/// cost.svg and cost.png.
pub fn write(rows: &[Row], directory: &Path) -> anyhow::Result<()> {
    register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT)
        .map_err(|_| anyhow!("the plot's font cannot be read"))?;
    let curves = curves(rows);
    let svg = directory.join("cost.svg");
    draw(&SVGBackend::new(&svg, SIZE).into_drawing_area(), &curves)
        .with_context(|| format!("cannot draw {}", svg.display()))?;
    let png = directory.join("cost.png");
    draw(&BitMapBackend::new(&png, SIZE).into_drawing_area(), &curves)
        .with_context(|| format!("cannot draw {}", png.display()))
}

/// The points of each curve, by its name.
fn curves(rows: &[Row]) -> Curves {
    let mut curves = Curves::new();
    for row in rows {
        let load = match row.load {
            Load::Idle => "",
            Load::Busy => ", busy",
        };
        let name = format!("{}{load}, {} other sockets", row.program, row.others);
        let point = (f64::from(row.peers), row.spent.cpu_percent.clamp(FROM, TO));
        curves.entry(name).or_default().push(point);
    }
    for points in curves.values_mut() {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    curves
}

fn draw<B: DrawingBackend>(area: &DrawingArea<B, Shift>, curves: &Curves) -> anyhow::Result<()> {
    // The back end's error is not Sync where it is a bitmap's.
    try_draw(area, curves).map_err(|error| anyhow!("{error}"))
}

type Drawn<B> =
    Result<(), plotters::drawing::DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;

fn try_draw<B: DrawingBackend>(area: &DrawingArea<B, Shift>, curves: &Curves) -> Drawn<B> {
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(area)
        .caption("Processor time while all is well", (FONT, 26))
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(72)
        .build_cartesian_2d((1.0..10_000.0).log_scale(), (FROM..TO).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(BLACK.mix(0.04))
        .bold_line_style(BLACK.mix(0.15))
        .x_desc("peers")
        .y_desc("of one processor")
        .y_label_formatter(&|percent| format!("{percent} %"))
        .label_style((FONT, 16))
        .axis_desc_style((FONT, 18))
        .draw()?;
    for ((name, points), colour) in curves.iter().zip(COLOURS.into_iter().cycle()) {
        let style = colour.stroke_width(3);
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
        let dots = points
            .iter()
            .map(|point| Circle::new(*point, 4, colour.filled()));
        chart.draw_series(dots)?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .label_font((FONT, 15))
        .draw()?;
    area.present()
}
