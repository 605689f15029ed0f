//! A terminal's screen as HTML, for a picture: colours, bold, dim and reversed text.

use std::fmt::Write as _;

const STYLE: &str = "body{margin:0;background:#12161b;color:#dfe5eb}\
    pre{margin:14px;font:14px/1.25 'DejaVu Sans Mono',monospace}\
    .b{font-weight:700}.d{opacity:.6}.r{background:#2c4258}\
    .c31{color:#ff7b7b}.c91{color:#ee9350}.c33{color:#d9a93b}.c32{color:#5dbb84}";

/// What `tmux capture-pane -e` prints, as a page.
pub fn html(screen: &str) -> String {
    let mut out = format!("<style>{STYLE}</style><pre>");
    let mut classes: Vec<String> = Vec::new();
    let mut parts = screen.split("\u{1b}[");
    escape(parts.next().unwrap_or_default(), &classes, &mut out);
    for part in parts {
        let (codes, text) = part.split_once('m').unwrap_or(("", part));
        // One of the 256 colours: the first 16 have names of their own.
        match codes.strip_prefix("38;5;").map(str::parse::<u8>) {
            Some(Ok(color @ 0..8)) => apply(&format!("{}", 30 + color), &mut classes),
            Some(Ok(color @ 8..16)) => apply(&format!("{}", 82 + color), &mut classes),
            _ => codes.split(';').for_each(|code| apply(code, &mut classes)),
        }
        escape(text, &classes, &mut out);
    }
    out + "</pre>"
}

fn apply(code: &str, classes: &mut Vec<String>) {
    let is_color = |class: &String| class.starts_with('c');
    match code {
        "" | "0" => classes.clear(),
        "1" => classes.push("b".to_owned()),
        "2" => classes.push("d".to_owned()),
        "7" => classes.push("r".to_owned()),
        "22" => classes.retain(|class| class != "b" && class != "d"),
        "27" => classes.retain(|class| class != "r"),
        "39" => classes.retain(|class| !is_color(class)),
        color => {
            classes.retain(|class| !is_color(class));
            classes.push(format!("c{color}"));
        }
    }
}

fn escape(text: &str, classes: &[String], out: &mut String) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = write!(out, "<span class=\"{}\">{text}</span>", classes.join(" "));
}
