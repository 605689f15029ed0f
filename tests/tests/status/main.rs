//! What a person sees: the status page in a real browser, and `detector top` in a real terminal,
//! while a peer is cut off. The pictures are kept in `target/status/`.

mod many;
mod page;
mod terminal;

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use detector_tests::browser::Browser;

const LIMIT: Duration = Duration::from_secs(240);
const SOON: Duration = Duration::from_secs(20);

/// Where the pictures of the README are written to; only if it is set.
const README: &str = "DETECTOR_PICTURES";

/// A desk's window, and a phone's.
const DESK: (u32, u32) = (1200, 700);
const PHONE: (u32, u32) = (390, 844);

/// What is seen in a light and in a dark room.
const LIGHTS: [(&str, bool); 2] = [("light", false), ("dark", true)];

fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/status")
        .join(format!("{name}.png"))
}

fn is_for_readme() -> bool {
    env::var_os(README).is_some()
}

/// Keeps a picture for the README as well, if that is wanted.
async fn for_readme(browser: &mut Browser, name: &str) -> anyhow::Result<()> {
    match env::var_os(README) {
        Some(folder) => {
            let file = PathBuf::from(folder).join(format!("{name}.png"));
            browser.picture(&file).await
        }
        None => Ok(()),
    }
}

/// Where everything is that must not move: the parts of the page, and each row.
const PLACES: &str = r##"JSON.stringify([...document.querySelectorAll(
    "header, h1, #link, #overall, #sentence, #counts li, .panel, .list, #rows tr, #rows td")]
    .map(e => { const b = e.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; }))"##;

/// From now on the browser notes what moves by itself.
const WATCH_SHIFTS: &str = r##"window.moved = [];
new PerformanceObserver(list => { for (const one of list.getEntries()) window.moved.push(
    one.value + " " + one.sources.map(s => s.node && (s.node.id || s.node.className || s.node.nodeName)).join()); })
    .observe({ type: "layout-shift" }); true"##;

/// Nothing is wider than the window.
const FITS: &str = "document.documentElement.scrollWidth <= window.innerWidth";
