//! Draws everything; nothing is decided here.

use detector_api::v1::{Transition, Verdict};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Borders, Paragraph, Row, Table},
};

use super::{
    app::App,
    cells::{SPARK, bare, cells, held},
    keys,
    marks::style,
};
use crate::text;

/// The most overrides that are shown in full.
const OVERRIDES: usize = 3;

/// The most transitions that are shown below the peers, and the height from which they are.
const TRANSITIONS: u16 = 6;
const TALL: u16 = 18;

/// A column: its title, its width (the names and what is wrong take what there is), and the width
/// of the terminal from which it is shown.
const COLUMNS: [(&str, u16, u16); 9] = [
    ("PEER", 0, 0),
    ("VERDICT", 8, 0),
    ("BREAKER", 10, 96),
    ("SINCE", 7, 60),
    ("ROUND TRIP", 8 + SPARK as u16, 80),
    ("LOSS", 7 + SPARK as u16, 112),
    ("FLOWS", 6, 70),
    ("STALLED", 7, 88),
    ("WHAT IS WRONG", 0, 46),
];

const DIM: Style = Style::new().add_modifier(Modifier::DIM);

pub fn draw(frame: &mut Frame<'_>, app: &mut App) {
    let transitions = match frame.area().height >= TALL {
        true => TRANSITIONS + 1,
        false => 0,
    };
    let held = overrides(app);
    let [title, body, between, below, help] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(held.len() as u16),
        Constraint::Length(transitions),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(headline(app), title);
    frame.render_widget(Paragraph::new(footer(app)), help);
    if app.explained.is_some() {
        explained(frame, app, body.union(between).union(below));
        return;
    }
    match app.shown().is_empty() {
        true => frame.render_widget(Paragraph::new(nothing(app)).style(DIM), body),
        false => table(frame, app, body),
    }
    frame.render_widget(Paragraph::new(held), between);
    frame.render_widget(last_transitions(app), below);
}

/// How many peers have which verdict, or that the daemon is away.
fn headline(app: &App) -> Paragraph<'_> {
    if let Some(why) = &app.away {
        let said = format!("The daemon is away, reconnecting: {why}");
        return Paragraph::new(said).style(style(Verdict::Dead, app.has_color));
    }
    let mut spans = vec![Span::styled("detector top  ", DIM)];
    for verdict in [
        Verdict::Dead,
        Verdict::Suspect,
        Verdict::Degraded,
        Verdict::Unknown,
        Verdict::Alive,
    ] {
        let count = app
            .all()
            .iter()
            .filter(|peer| peer.verdict() == verdict)
            .count();
        let style = match count {
            0 => DIM,
            _ => style(verdict, app.has_color),
        };
        spans.push(Span::styled(format!("{count} {verdict}  "), style));
    }
    let held = app.all().iter().filter(|peer| peer.r#override.is_some());
    match held.count() {
        0 => {}
        held => spans.push(Span::styled(format!("{held} overridden  "), Modifier::BOLD)),
    }
    let is_isolated = app.all().iter().any(|peer| peer.isolated);
    if is_isolated {
        let said = "this node itself may be isolated";
        spans.push(Span::styled(said, style(Verdict::Suspect, app.has_color)));
    }
    Paragraph::new(Line::from(spans))
}

fn footer(app: &App) -> Line<'_> {
    let filter = match (app.is_typing, app.filter.as_str()) {
        (true, filter) => format!("  filter: {filter}_"),
        (false, "") => String::new(),
        (false, filter) => format!("  filter: {filter}"),
    };
    let (help, order) = match (&app.explained, app.is_typing) {
        (Some(_), _) => (keys::HELP_EXPLAINED, ""),
        (None, true) => (keys::HELP_TYPING, app.order.word()),
        (None, false) => (keys::HELP, app.order.word()),
    };
    Line::from(vec![
        Span::styled(format!("{help}  "), DIM),
        Span::raw(order),
        Span::raw(filter),
    ])
}

fn nothing(app: &App) -> &'static str {
    match (app.has_read, app.filter.is_empty()) {
        (false, _) => "",
        (true, true) => "No peers are watched.",
        (true, false) => "No peer matches the filter.",
    }
}

fn table(frame: &mut Frame<'_>, app: &mut App, area: Rect) {
    // As wide as the longest, but at most a third.
    let longest = app
        .all()
        .iter()
        .map(|peer| bare(&peer.peer).chars().count())
        .max();
    let longest = u16::try_from(longest.unwrap_or_default()).unwrap_or(u16::MAX);
    let names = longest.min(area.width / 3).max(4);
    let is_shown = |column: usize| COLUMNS[column].2 <= area.width;
    let width = |column: usize| match column {
        0 => Constraint::Length(names),
        8 => Constraint::Fill(1),
        _ => Constraint::Length(COLUMNS[column].1),
    };
    let all = 0..COLUMNS.len();
    let columns: Vec<usize> = all.filter(|column| is_shown(*column)).collect();
    let header = Row::new(columns.iter().map(|column| COLUMNS[*column].0)).style(DIM);
    let rows = app.shown().into_iter().map(|peer| {
        let mut cells = cells(app, peer).map(Some);
        let shown = columns.iter().filter_map(|column| cells[*column].take());
        Row::new(shown.collect::<Vec<_>>())
    });
    let table = Table::new(
        rows.collect::<Vec<_>>(),
        columns.iter().map(|column| width(*column)),
    )
    .header(header)
    .column_spacing(1)
    .row_highlight_style(Modifier::REVERSED);
    app.table.select(app.chosen_row());
    frame.render_stateful_widget(table, area, &mut app.table);
}

/// The overrides in full: in the table there may be no room for why, by whom and until when.
fn overrides<'a>(app: &App) -> Vec<Line<'a>> {
    let peers = app.shown().into_iter();
    let held = peers.filter_map(|peer| Some((bare(&peer.peer).to_owned(), held(app.now, peer)?)));
    let mut held: Vec<_> = held.collect();
    let more = held.len().saturating_sub(OVERRIDES);
    held.truncate(OVERRIDES);
    let line = |(peer, held): (String, String)| {
        Line::from(vec![
            Span::raw(format!("{peer}  ")),
            Span::styled(held, Modifier::BOLD),
        ])
    };
    let mut lines: Vec<_> = held.into_iter().map(line).collect();
    if more > 0 {
        lines.push(Line::styled(format!("and {more} more overrides"), DIM));
    }
    lines
}

fn last_transitions(app: &App) -> Paragraph<'_> {
    let lines = app.transitions(usize::from(TRANSITIONS)).into_iter();
    let lines: Vec<_> = lines.map(|one| transition(app, one)).collect();
    let block = Block::new()
        .borders(Borders::TOP)
        .title("last transitions")
        .border_style(DIM);
    Paragraph::new(lines).block(block)
}

fn transition<'a>(app: &App, one: &Transition) -> Line<'a> {
    let at = text::optional(text::moment(one.at), |at| {
        // The day is not what is looked for here.
        at.strftime("%H:%M:%S").to_string()
    });
    let (from, to) = (one.from(), one.to());
    Line::from(vec![
        Span::styled(format!("{at}Z  "), DIM),
        Span::raw(format!("{}  ", bare(&one.peer))),
        Span::styled(format!("{from} → {to}"), style(to, app.has_color)),
        Span::raw(format!(" ({}), breaker {}", one.reason(), one.breaker())),
    ])
}

fn explained(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let Some(shown) = &app.explained else {
        return;
    };
    let text = match shown.text.as_str() {
        "" => "…",
        text => text,
    };
    let block = Block::new()
        .borders(Borders::TOP)
        .title(shown.peer.as_str())
        .border_style(DIM);
    frame.render_widget(
        Paragraph::new(text)
            .block(block)
            .scroll((shown.scrolled, 0)),
        area,
    );
}
