//! The interactive lab.

use std::{
    io::{self, BufRead as _, IsTerminal as _, Write as _, stdin, stdout},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use detector_tests::{DaemonOptions, Observed, Scene, SceneOptions, Traffic, clock};
use tokio::{sync::mpsc, task::JoinHandle, time::sleep};

use crate::command::{Command, HELP};

/// Reads commands until quit or the end of the input.
pub async fn run(options: DaemonOptions) -> anyhow::Result<()> {
    let mut lines = input();
    let mut stage = Stage::start(&options).await?;
    writeln!(stdout(), "\n{HELP}\n")?;
    loop {
        prompt()?;
        let Some(line) = lines.recv().await else {
            break;
        };
        match Command::parse(&line) {
            Err(error) => writeln!(stdout(), "{error}")?,
            Ok(Command::Nothing) => {}
            Ok(Command::Help) => writeln!(stdout(), "{HELP}")?,
            Ok(Command::Quit) => break,
            Ok(Command::Wait(time)) => sleep(time).await,
            Ok(Command::Start) => {
                stage.stop().await?;
                stage = Stage::start(&options).await?;
            }
            // A command that fails is no reason to lose the lab.
            Ok(command) => {
                if let Err(error) = stage.carry_out(command).await {
                    writeln!(stdout(), "{error:#}")?;
                }
            }
        }
    }
    stage.stop().await
}

/// The lines that are typed or piped in. Read on a thread of its own: reading a terminal
/// cannot be cancelled.
fn input() -> mpsc::Receiver<String> {
    let (send, lines) = mpsc::channel(1);
    thread::spawn(move || {
        for line in stdin().lock().lines().map_while(Result::ok) {
            if send.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

fn prompt() -> io::Result<()> {
    if stdin().is_terminal() {
        write!(stdout(), "lab> ")?;
        stdout().flush()?;
    }
    Ok(())
}

/// A running lab: h1 watches h2 and h3, and uploads to both.
struct Stage {
    scene: Scene,
    _traffic: Vec<Traffic>,
    watching: Arc<AtomicBool>,
    printer: JoinHandle<()>,
}

impl Stage {
    async fn start(options: &DaemonOptions) -> anyhow::Result<Self> {
        writeln!(
            stdout(),
            "starting three hosts: h1 runs the detector and uploads to h2 and h3 …"
        )?;
        let begun = clock::now_ns();
        let scene = Scene::new(SceneOptions {
            hosts: 3,
            daemon: options.clone(),
        })
        .await?;
        let watching = Arc::new(AtomicBool::new(true));
        let printer = print_changes(&scene, watching.clone(), begun);
        let mut traffic = Vec::new();
        for host in [2, 3] {
            traffic.push(scene.traffic_to(host).await?);
        }
        writeln!(
            stdout(),
            "ready after {:.1?}",
            clock::between(begun, clock::now_ns())
        )?;
        Ok(Self {
            scene,
            _traffic: traffic,
            watching,
            printer,
        })
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.printer.abort();
        self.scene.daemon.stop().await
    }

    async fn carry_out(&self, command: Command) -> anyhow::Result<()> {
        match command {
            Command::Cut(host, cut) => {
                let moment = self.scene.cut(host, cut)?;
                writeln!(
                    stdout(),
                    "h{host}: {} (took {:.1?})",
                    cut.as_str(),
                    moment.took
                )?;
            }
            Command::Heal(host) => {
                let moment = self.scene.heal(host)?;
                writeln!(stdout(), "h{host}: back (took {:.1?})", moment.took)?;
            }
            Command::Loss(host, percent) => {
                self.scene.lab.loss(host, percent)?;
                writeln!(stdout(), "h{host}: {percent} % loss each way")?;
            }
            Command::Watch => {
                let was = self.watching.fetch_xor(true, Ordering::Relaxed);
                writeln!(
                    stdout(),
                    "changes are {}printed",
                    if was { "no longer " } else { "" }
                )?;
            }
            Command::Peers => write!(stdout(), "{}", self.cli(&["peers"])?)?,
            Command::Explain(host) => {
                let url = self.scene.lab.host(host).url();
                write!(stdout(), "{}", self.cli(&["explain", &url])?)?;
            }
            // The session's own.
            Command::Start
            | Command::Wait(_)
            | Command::Help
            | Command::Quit
            | Command::Nothing => {}
        }
        Ok(())
    }

    /// As a person on h1 would call it.
    fn cli(&self, args: &[&str]) -> anyhow::Result<String> {
        self.scene.daemon.cli(self.scene.lab.host(1), args)
    }
}

fn print_changes(scene: &Scene, watching: Arc<AtomicBool>, begun_ns: u64) -> JoinHandle<()> {
    let seen = scene.daemon.watcher().seen().clone();
    tokio::spawn(async move {
        let mut position = 0;
        let forever = Duration::from_secs(u32::MAX.into());
        while let Some(change) = seen.find_from(position, forever, |s| Some(s.clone())).await {
            position += 1;
            if watching.load(Ordering::Relaxed) {
                // A reader that went away is the session's to notice.
                let _gone = writeln!(stdout(), "{}", line(&change, begun_ns));
            }
        }
    })
}

/// One change, with the time since the lab began.
fn line(change: &Observed, begun_ns: u64) -> String {
    let state = &change.state;
    format!(
        "{:>9.3} s  {}  {:<7}  {:<9}  {}",
        clock::between(begun_ns, change.at_ns).as_secs_f64(),
        state.peer,
        state.verdict(),
        state.breaker(),
        state.reason(),
    )
}
