//! A real terminal, in which a test types and reads.

mod ansi;

use std::{path::PathBuf, process::Command, time::Duration};

use anyhow::{Context as _, ensure};
use serde_json::json;
use tempfile::TempDir;

use crate::{browser::Browser, testbed};

const SOON: Duration = Duration::from_secs(20);

/// A terminal, with a shell in it. Dropping it ends it.
#[derive(Debug)]
pub struct Terminal {
    socket: PathBuf,
    _directory: TempDir,
}

impl Terminal {
    pub fn open(width: u32, height: u32) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let terminal = Self {
            socket: directory.path().join("tmux"),
            _directory: directory,
        };
        let (width, height) = (width.to_string(), height.to_string());
        terminal.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &width,
            "-y",
            &height,
            "env",
            "PS1=ready> ",
            "TERM=screen-256color",
            "LC_ALL=C.UTF-8",
            "sh",
        ])?;
        Ok(terminal)
    }

    /// A command of tmux, for this terminal.
    pub fn tmux(&self, args: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new("tmux");
        command.arg("-u").arg("-S").arg(&self.socket).args(args);
        let run = command
            .output()
            .context("cannot run tmux: apt-get install tmux")?;
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        ensure!(run.status.success(), "tmux {args:?}: {said}");
        Ok(String::from_utf8_lossy(&run.stdout).into_owned())
    }

    /// Presses keys, named as tmux names them.
    pub fn press(&self, keys: &[&str]) -> anyhow::Result<()> {
        self.tmux(&[&["send-keys"], keys].concat()).map(|_| ())
    }

    pub fn screen(&self) -> anyhow::Result<String> {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Has a browser show the screen, with its colours.
    pub async fn draw(&self, browser: &mut Browser) -> anyhow::Result<()> {
        let html = ansi::html(&self.tmux(&["capture-pane", "-p", "-e"])?);
        browser.look(1120, 400, true).await?;
        let show = format!("document.documentElement.innerHTML = {}; true", json!(html));
        browser.eval(&show).await?;
        Ok(())
    }

    /// Waits until all of this is on the screen.
    pub async fn shows(&self, texts: &[&str]) -> anyhow::Result<String> {
        let what = format!("{texts:?} on the terminal");
        let shown = testbed::until(&what, SOON, async || {
            let screen = self.screen()?;
            Ok(texts
                .iter()
                .all(|text| screen.contains(text))
                .then_some(screen))
        });
        shown
            .await
            .with_context(|| self.screen().unwrap_or_default())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.tmux(&["kill-server"]);
    }
}
