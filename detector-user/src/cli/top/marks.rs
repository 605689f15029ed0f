//! How values are drawn: sparklines, and the colour of each verdict.

use detector_api::v1::Verdict;
use ratatui::style::{Color, Modifier, Style};

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The values, oldest first, in so many columns: each the highest of its share, scaled to the
/// highest of all, but at least to `least`. A blank where nothing is known.
pub fn sparkline(values: &[Option<u32>], width: usize, least: u32) -> String {
    if width == 0 {
        return String::new();
    }
    let highest = values
        .iter()
        .flatten()
        .copied()
        .fold(least, u32::max)
        .max(1);
    let each = values.len().div_ceil(width).max(1);
    let columns = values.rchunks(each).rev().map(|share| {
        let value = share.iter().flatten().copied().max()?;
        let top = BLOCKS.len() as u64 - 1;
        let block = u64::from(value) * top / u64::from(highest);
        BLOCKS.get(block as usize).copied()
    });
    let drawn: String = columns.map(|block| block.unwrap_or(' ')).collect();
    format!("{drawn:>width$}")
}

/// Verdicts differ in more than colour: what needs attention is bold.
pub fn style(verdict: Verdict, has_color: bool) -> Style {
    let needs_attention = matches!(
        verdict,
        Verdict::Dead | Verdict::Suspect | Verdict::Degraded
    );
    let style = match needs_attention {
        true => Style::new().add_modifier(Modifier::BOLD),
        false => Style::new(),
    };
    let color = match verdict {
        Verdict::Dead => Color::Red,
        Verdict::Suspect => Color::LightRed,
        Verdict::Degraded => Color::Yellow,
        Verdict::Alive => Color::Green,
        _ => Color::Reset,
    };
    if has_color { style.fg(color) } else { style }
}
