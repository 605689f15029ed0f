//! What people run today, on the same machine: node_exporter, a TCP probe of each peer, BFD.

use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use detector_tests::{Host, PEER_PORT, Process, get, testbed};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    Cli, Load, REST, Row,
    helper::many,
    spent::{Measured, Spent},
    stand::{FIRST_PEER, Stand, US, pin},
};

const SCRAPED_EVERY: Duration = Duration::from_secs(15);
const EXPORTER: &str = "127.0.0.1:9100";
const PROBED_EVERY_MS: u64 = 350;
const PROBED_PORT: u16 = 9_001;
const SOON: Duration = Duration::from_secs(60);

/// A row for each that can be had.
pub async fn all(cli: &Cli) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for &others in &cli.others {
        match exporter(cli, others).await {
            Ok(spent) => rows.push(row("node_exporter", 1, others, spent)),
            Err(error) => println!("node_exporter: {error:#}"),
        }
    }
    for &peers in &cli.peers {
        rows.push(row("TCP probe", peers, 0, tcp_probe(cli, peers).await?));
        match bfd(cli, peers).await {
            Ok(spent) => rows.push(row("BFD (bird2)", peers, 0, spent)),
            Err(error) => println!("BFD to {peers} peers: {error:#}"),
        }
    }
    Ok(rows)
}

fn row(program: &str, peers: u32, others: u32, spent: Spent) -> Row {
    Row {
        program: program.to_owned(),
        load: Load::Idle,
        peers,
        others,
        spent,
    }
}

/// Where Debian's package puts a program, and else where the search path has it.
fn program(name: &str, package: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/bin", "/usr/sbin"].map(PathBuf::from);
    let mut places = std::env::split_paths(&path).chain(usual);
    let found = places.find_map(|place| Some(place.join(name)).filter(|file| file.exists()));
    found.with_context(|| format!("there is no {name}: apt-get install {package}"))
}

async fn exporter(cli: &Cli, others: u32) -> anyhow::Result<Spent> {
    let program = program("prometheus-node-exporter", "prometheus-node-exporter")?;
    let stand = Stand::new()?;
    let _others = stand.others(others).await?;
    let mut command = stand.us().command(&program.to_string_lossy());
    command.args(["--web.listen-address", EXPORTER]);
    let process = Process::start("node_exporter", command)?;
    let page = testbed::until("the exporter answers", SOON, async || {
        Ok(Some(get(stand.us(), EXPORTER.parse()?, "/metrics")?))
    });
    ensure!(page.await?.contains("node_cpu_seconds_total"), "no metrics");
    pin(process.pid(), 0)?;
    sleep(REST).await;
    let mut measured = Measured::begin(process.pid())?;
    let end = Instant::now() + cli.time().max(SCRAPED_EVERY * 2);
    while Instant::now() < end {
        get(stand.us(), EXPORTER.parse()?, "/metrics")?;
        sleep_until(end.min(Instant::now() + SCRAPED_EVERY)).await;
    }
    measured.end()
}

async fn tcp_probe(cli: &Cli, peers: u32) -> anyhow::Result<Spent> {
    let stand = Stand::new()?;
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PROBED_PORT));
    let listener = stand.peers().within(|| TcpListener::bind(any))??;
    // It ends with the process; each connection ends at once.
    std::thread::spawn(move || listener.incoming().for_each(drop));
    prober(cli, &stand, "tcp-probe", peers, PROBED_PORT).await
}

/// The program that makes only the system calls that probing needs.
pub async fn floor(cli: &Cli, peers: u32) -> anyhow::Result<Row> {
    let stand = Stand::new()?;
    let spent = prober(cli, &stand, "floor", peers, PEER_PORT).await?;
    Ok(row("floor", peers, 0, spent))
}

/// What a helper spends that probes this many peers.
async fn prober(
    cli: &Cli,
    stand: &Stand,
    name: &str,
    peers: u32,
    port: u16,
) -> anyhow::Result<Spent> {
    let me = std::env::current_exe()?;
    let mut command = stand.us().command(&me.to_string_lossy());
    command.args(["helper", name, "--first", &FIRST_PEER.to_string()]);
    command.args(["--addresses", &peers.to_string()]);
    command.args(["--port", &port.to_string()]);
    command.args(["--every-ms", &PROBED_EVERY_MS.to_string()]);
    let (process, _stdin) = Process::start_piped(name, command)?;
    let says = |line: &String| line.starts_with("probing").then_some(());
    process
        .stdout()
        .find(SOON, says)
        .await
        .with_context(|| format!("it does not begin\n{}", process.stderr_tail(5)))?;
    pin(process.pid(), 0)?;
    sleep(REST).await;
    let mut measured = Measured::begin(process.pid())?;
    sleep(cli.time()).await;
    measured.end()
}

/// BFD with 350 ms × 3 to each peer. One bird answers for all of them.
async fn bfd(cli: &Cli, peers: u32) -> anyhow::Result<Spent> {
    let program = program("bird", "bird2")?;
    let stand = Stand::new()?;
    let directory = tempfile::tempdir()?;
    let all: Vec<Ipv4Addr> = addresses(peers);
    let ours = config("10.80.0.1", all.iter().map(|peer| (US, *peer)));
    let theirs = config("10.80.128.1", all.iter().map(|peer| (*peer, US)));
    let bird = Bird::new(&program, &directory);
    let _answers = bird.start(stand.peers(), "theirs", &theirs)?;
    let mut process = bird.start(stand.us(), "ours", &ours)?;
    testbed::until("all sessions are up", SOON, async || {
        if process.has_ended()? {
            return Ok(Some(false));
        }
        Ok((bird.sessions_up("ours")? == peers as usize).then_some(true))
    })
    .await?
    .then_some(())
    .with_context(|| process.stderr_tail(5))?;
    pin(process.pid(), 0)?;
    sleep(REST).await;
    let mut measured = Measured::begin(process.pid())?;
    sleep(cli.time()).await;
    measured.end()
}

fn addresses(peers: u32) -> Vec<Ipv4Addr> {
    many(FIRST_PEER, peers, 0)
        .filter_map(|addr| match addr {
            SocketAddr::V4(addr) => Some(*addr.ip()),
            SocketAddr::V6(_) => None,
        })
        .collect()
}

fn config(router: &str, sessions: impl Iterator<Item = (Ipv4Addr, Ipv4Addr)>) -> String {
    let mut text = format!(
        "router id {router};\nprotocol device {{}}\nprotocol bfd {{\n  multihop {{\n    interval \
         {PROBED_EVERY_MS} ms;\n    multiplier 3;\n  }};\n"
    );
    for (local, remote) in sessions {
        let _infallible = writeln!(text, "  neighbor {remote} local {local} multihop on;");
    }
    text.push_str("}\n");
    text
}

/// Debian's bird2, with its files in a directory of its own.
struct Bird<'a> {
    program: &'a PathBuf,
    directory: &'a TempDir,
}

impl<'a> Bird<'a> {
    fn new(program: &'a PathBuf, directory: &'a TempDir) -> Self {
        Self { program, directory }
    }

    fn start(&self, host: &Host, name: &str, config: &str) -> anyhow::Result<Process> {
        let file = |kind: &str| self.directory.path().join(format!("{name}.{kind}"));
        fs::write(file("conf"), config)?;
        let mut command = host.command(&self.program.to_string_lossy());
        command.arg("-f").arg("-c").arg(file("conf"));
        command
            .arg("-s")
            .arg(file("ctl"))
            .arg("-P")
            .arg(file("pid"));
        Process::start("bird", command)
    }

    fn sessions_up(&self, name: &str) -> anyhow::Result<usize> {
        let client = self.program.with_file_name("birdcl");
        let socket = self.directory.path().join(format!("{name}.ctl"));
        let shown = Command::new(client)
            .arg("-s")
            .arg(socket)
            .args(["show", "bfd", "sessions"])
            .output()
            .context("cannot run birdcl")?;
        if !shown.status.success() {
            bail!("birdcl: {}", String::from_utf8_lossy(&shown.stderr));
        }
        let text = String::from_utf8_lossy(&shown.stdout);
        let is_up = |line: &&str| line.split_whitespace().any(|word| word == "Up");
        Ok(text.lines().filter(is_up).count())
    }
}
