//! What each key does.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::app::App;

/// How far a page goes.
const PAGE: isize = 10;

/// The longest filter.
const FILTER: usize = 64;

/// The keys, for the last line.
pub const HELP: &str = "q quit  ↑↓ choose  Enter explain  s sort  / filter";
pub const HELP_EXPLAINED: &str = "Esc back  ↑↓ scroll  q quit";
pub const HELP_TYPING: &str = "Enter keep  Esc clear";

pub fn press(app: &mut App, key: KeyEvent) {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    if control && key.code == KeyCode::Char('c') {
        app.is_done = true;
    } else if app.is_typing {
        typed(app, key.code);
    } else if app.explained.is_some() {
        explained(app, key.code);
    } else {
        table(app, key.code);
    }
}

fn typed(app: &mut App, key: KeyCode) {
    match key {
        KeyCode::Enter => app.is_typing = false,
        KeyCode::Esc => {
            app.is_typing = false;
            app.filter.clear();
        }
        KeyCode::Backspace => {
            app.filter.pop();
        }
        KeyCode::Char(letter) if app.filter.len() < FILTER => app.filter.push(letter),
        _ => {}
    }
}

fn explained(app: &mut App, key: KeyCode) {
    let Some(shown) = &mut app.explained else {
        return;
    };
    let lines = u16::try_from(shown.text.lines().count()).unwrap_or(u16::MAX);
    let mut scroll = |by: isize| {
        let to = usize::from(shown.scrolled).saturating_add_signed(by);
        shown.scrolled = u16::try_from(to)
            .unwrap_or(u16::MAX)
            .min(lines.saturating_sub(1));
    };
    match key {
        KeyCode::Char('q') => app.is_done = true,
        KeyCode::Esc | KeyCode::Enter | KeyCode::Left | KeyCode::Char('h') => app.explained = None,
        KeyCode::Up | KeyCode::Char('k') => scroll(-1),
        KeyCode::Down | KeyCode::Char('j') => scroll(1),
        KeyCode::PageUp => scroll(-PAGE),
        KeyCode::PageDown | KeyCode::Char(' ') => scroll(PAGE),
        KeyCode::Home => scroll(isize::MIN),
        _ => {}
    }
}

fn table(app: &mut App, key: KeyCode) {
    match key {
        KeyCode::Char('q') => app.is_done = true,
        KeyCode::Esc => app.filter.clear(),
        KeyCode::Up | KeyCode::Char('k') => app.choose(-1),
        KeyCode::Down | KeyCode::Char('j') => app.choose(1),
        KeyCode::PageUp => app.choose(-PAGE),
        KeyCode::PageDown | KeyCode::Char(' ') => app.choose(PAGE),
        KeyCode::Home | KeyCode::Char('g') => app.choose(isize::MIN),
        KeyCode::End | KeyCode::Char('G') => app.choose(isize::MAX),
        KeyCode::Enter | KeyCode::Right | KeyCode::Char('e') => app.explain(),
        KeyCode::Char('s') => app.order = app.order.next(),
        KeyCode::Char('/') => app.is_typing = true,
        _ => {}
    }
}
