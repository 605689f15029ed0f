//! Draws how the processor time grows with the number of peers, both on logarithmic axes.

use std::{collections::BTreeMap, path::Path};

use plotters::{
    coord::Shift,
    prelude::{
        BLACK, Circle, Color as _, DrawingArea, DrawingBackend, IntoLogRange as _, LineSeries,
        PathElement, RGBColor,
    },
};

use super::{Load, Row};
use crate::plot::{Drawn, FONT, Plot, legend, page};

/// The shares of a processor that are shown, in percent.
const FROM: f64 = 0.001;
const TO: f64 = 100.0;
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

/// The points of each curve, by its name.
struct Curves(BTreeMap<String, Vec<(f64, f64)>>);

/// cost.svg and cost.png.
pub fn write(rows: &[Row], directory: &Path) -> anyhow::Result<()> {
    curves(rows).save(directory, "cost")
}

fn curves(rows: &[Row]) -> Curves {
    let mut curves: BTreeMap<String, Vec<_>> = BTreeMap::new();
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
    Curves(curves)
}

impl Plot for Curves {
    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Drawn<B> {
        let mut chart = page(area, "Processor time while all is well")?
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
        for ((name, points), colour) in self.0.iter().zip(COLOURS.into_iter().cycle()) {
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
        legend(&mut chart)?;
        area.present()
    }
}
