//! `detector top` in a real terminal: a cut, the evidence, a restart of the daemon, and the end.

use std::{path::Path, process::Command};

use anyhow::{Context as _, ensure};
use detector_tests::{
    Cut, Daemon, DaemonOptions, Scene, SceneOptions, Terminal, binary, browser::Browser, testbed,
};

use super::{LIMIT, SOON, for_readme, is_for_readme, kept};

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

        let lost = scene.lab.host(3).url();
        let command = ["maintenance", &lost, "--for", "10m", "--reason", "new disk"];
        scene.daemon.cli(scene.lab.host(1), &command)?;
        terminal
            .shows(&["1 overridden", "maintenance by user 0 until"])
            .await?;
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
    let mut browser = Browser::start(scene.lab.host(1)).await?;
    terminal.draw(&mut browser).await?;
    browser.picture(&kept("top")).await?;
    for_readme(&mut browser, "top").await?;
    browser.close().await
}
