//! What an operator looks at while a node dies: `detector top` on the node, and the status page in a
//! browser elsewhere. The pictures are kept in `target/paging/`.

use std::{path::Path, process::Command};

use anyhow::Context as _;
use detector_tests::{Terminal, browser::Browser};
use serde_json::json;

use crate::cluster::{Cluster, SOON};

pub struct Eyes {
    terminal: Terminal,
    browser: Browser,
}

impl Eyes {
    pub async fn open(cluster: &Cluster) -> anyhow::Result<Self> {
        let terminal = Terminal::open(128, 22)?;
        let mut top = cluster.operated.command();
        top.arg("top");
        terminal.press(&[&words(&top)?, "Enter"])?;
        let mut browser = Browser::start(cluster.monitor()).await?;
        browser.look(1200, 700, false).await?;
        let page = format!("http://{}:9464/", cluster.operated.host().v4());
        browser.open(&page).await?;
        let mut eyes = Self { terminal, browser };
        eyes.see("2 alive", "All 2 peers are alive.").await?;
        Ok(eyes)
    }

    /// Waits until the terminal and the page's first sentence say so.
    pub async fn see(&mut self, terminal: &str, sentence: &str) -> anyhow::Result<()> {
        self.terminal.shows(&[terminal]).await?;
        let says = format!(
            r##"document.querySelector("#sentence").textContent === {}"##,
            json!(sentence)
        );
        let seen = self.browser.until(&says, SOON).await;
        let read = r##"document.querySelector("#sentence").textContent"##;
        let read = self.browser.eval(read).await;
        seen.with_context(|| format!("the page says {read:?}"))
    }

    /// Keeps both as they are, and looks no more.
    pub async fn close(mut self) -> anyhow::Result<()> {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/paging");
        self.browser.picture(&kept.join("page.png")).await?;
        // The page allows no styles but its own.
        self.browser.open("about:blank").await?;
        self.terminal.draw(&mut self.browser).await?;
        self.browser.picture(&kept.join("top.png")).await?;
        self.browser.close().await
    }
}

/// A command as it is typed; none of its words needs a quote.
fn words(command: &Command) -> anyhow::Result<String> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Option<Vec<&str>> = words.map(|word| word.to_str()).collect();
    Ok(words.context("a command in UTF-8")?.join(" "))
}
