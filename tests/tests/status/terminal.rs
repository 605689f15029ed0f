//! `detector top` in a real terminal: a cut, the evidence, a restart of the daemon, and the end.

use std::{path::Path, process::Command};

use anyhow::{Context as _, ensure};
use detector_tests::{
    Cut, Daemon, DaemonOptions, Scene, SceneOptions, binary, browser::Browser, testbed,
};
use serde_json::json;
use tempfile::TempDir;

use super::{LIMIT, SOON, ansi, for_readme, is_for_readme, kept};

/// A terminal, with a shell in it. Dropping it ends it.
struct Terminal {
    socket: std::path::PathBuf,
    _directory: TempDir,
}

impl Terminal {
    fn open(width: u32, height: u32) -> anyhow::Result<Self> {
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

    fn tmux(&self, args: &[&str]) -> anyhow::Result<String> {
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
    fn press(&self, keys: &[&str]) -> anyhow::Result<()> {
        self.tmux(&[&["send-keys"], keys].concat()).map(|_| ())
    }

    fn screen(&self) -> anyhow::Result<String> {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until all of this is on the screen.
    async fn shows(&self, texts: &[&str]) -> anyhow::Result<String> {
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

/// What was typed before is there again, and the terminal echoes and waits for whole lines.
async fn is_restored(terminal: &Terminal) -> anyhow::Result<()> {
    // What is typed before that, the program still takes.
    testbed::until("the program ends", SOON, async || {
        let running = terminal.tmux(&["display", "-p", "#{pane_current_command}"])?;
        Ok((running.trim() == "sh").then_some(()))
    })
    .await
    .with_context(|| terminal.screen().unwrap_or_default())?;
    terminal.press(&[
        "stty -a | tr ' ' '\\n' | grep -xE 'icanon|echo' | tr '\\n' '+'",
        "Enter",
    ])?;
    terminal.shows(&["before top", "icanon+echo+"]).await?;
    let cursor = terminal.tmux(&["display", "-p", "#{cursor_flag} #{alternate_on}"])?;
    ensure!(
        cursor.trim() == "1 0",
        "the cursor and the screen: {cursor}"
    );
    terminal.press(&["clear; echo before top", "Enter"])?;
    Ok(())
}

fn top(socket: &Path) -> anyhow::Result<String> {
    let (program, socket) = (binary()?, socket.display());
    Ok(format!("{} top --socket {socket}", program.display()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_is_seen_in_the_terminal_which_is_as_before_at_the_end() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let hosts = SceneOptions {
            hosts: 4,
            daemon: DaemonOptions::default(),
        };
        let scene = Scene::new(hosts).await?;
        let mut traffic = Vec::new();
        for host in 2..=4 {
            traffic.push(scene.traffic_to(host).await?);
        }
        let terminal = Terminal::open(128, 22)?;
        terminal.press(&["echo before top", "Enter"])?;
        let top = top(scene.daemon.socket())?;
        terminal.press(&[&top, "Enter"])?;
        terminal.shows(&["0 dead", "3 alive", "s sort"]).await?;

        if is_for_readme() {
            let has_line =
                |line: &str| line.chars().filter(|c| ('▁'..='█').contains(c)).count() > 5;
            testbed::until("sparklines", LIMIT, async || {
                Ok(terminal.screen()?.lines().any(has_line).then_some(()))
            })
            .await?;
        }
        scene.cut(3, Cut::SilentDrop)?;
        let lost = scene.lab.host(3).v4().to_string();
        let screen = terminal
            .shows(&["1 dead", "2 alive", "→ dead (", "open"])
            .await?;
        let first = screen.lines().nth(2);
        ensure!(
            first.is_some_and(|line| line.contains(&lost)),
            "the worst is not first:\n{screen}"
        );
        picture(&scene, &terminal).await?;

        terminal.press(&["Enter"])?;
        terminal
            .shows(&["is dead", "every clause holds", "silent_long_enough"])
            .await?;
        terminal.press(&["Escape"])?;
        terminal.tmux(&["resize-window", "-x", "70", "-y", "12"])?;
        terminal.shows(&["PEER", "FLOWS", "1 dead"]).await?;
        terminal.press(&["q"])?;
        is_restored(&terminal).await?;

        terminal.press(&[&top, "Enter"])?;
        terminal.shows(&["1 dead"]).await?;
        restart(scene, &terminal).await?;
        is_restored(&terminal).await
    })
    .await
}

/// The daemon ends and comes back; then a signal ends `detector top`.
async fn restart(scene: Scene, terminal: &Terminal) -> anyhow::Result<()> {
    let Scene {
        daemon,
        servers: _servers,
        lab,
    } = scene;
    let socket = daemon.socket().to_owned();
    daemon.stop().await?;
    terminal
        .shows(&["The daemon is away, reconnecting"])
        .await?;
    std::fs::create_dir_all(socket.parent().context("a folder")?)?;
    let options = DaemonOptions {
        peers: vec![lab.host(2).url()],
        ..DaemonOptions::default()
    };
    let daemon = Daemon::start_at(lab.host(1), &options, &socket).await?;
    terminal
        .shows(&["0 dead", &lab.host(2).v4().to_string()])
        .await?;
    let pane = terminal.tmux(&["display", "-p", "#{pane_pid}"])?;
    let children = Command::new("pgrep").args(["-P", pane.trim()]).output()?;
    let child = String::from_utf8_lossy(&children.stdout).trim().to_owned();
    let killed = Command::new("kill").arg(&child).status()?;
    ensure!(killed.success(), "{child:?} is not one process");
    daemon.stop().await
}

/// The screen as a picture, drawn by a browser.
async fn picture(scene: &Scene, terminal: &Terminal) -> anyhow::Result<()> {
    let html = ansi::html(&terminal.tmux(&["capture-pane", "-p", "-e"])?);
    let mut browser = Browser::start(scene.lab.host(1)).await?;
    browser.look(1120, 400, true).await?;
    let show = format!("document.documentElement.innerHTML = {}; true", json!(html));
    browser.eval(&show).await?;
    browser.picture(&kept("top")).await?;
    for_readme(&mut browser, "top").await?;
    browser.close().await
}
