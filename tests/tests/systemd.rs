//! Asks systemd for a unit over a real `dbus-daemon`, and tells it how the daemon is. The tests play
//! the part of systemd, which the machines that run them do not have.

use std::{
    future::pending,
    io::{BufRead as _, BufReader},
    os::unix::net::UnixDatagram,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use detector_tests::{Daemon, Lab, METRICS, Process};
use detector_user::systemd::control_group_by;
use nix::sys::signal::Signal;
use tempfile::TempDir;
use zbus::{Address, Connection, OwnedObjectPath, connection, fdo};

const UNIT_PATH: &str = "/org/freedesktop/systemd1/unit/rustfs_2eservice";
const CGROUP: &str = "/storage.slice/rustfs.service";

/// A bus of this test's own.
struct Bus {
    daemon: Child,
    address: Address,
    _directory: TempDir,
}

impl Bus {
    fn start() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let address = format!("unix:path={}/bus", directory.path().display());
        let mut daemon = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile", "--print-address"])
            .arg(format!("--address={address}"))
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start dbus-daemon; `cargo xtask setup` installs it")?;
        // It prints its address once it listens.
        let mut listening = String::new();
        let out = daemon.stdout.take().context("no output")?;
        BufReader::new(out).read_line(&mut listening)?;
        Ok(Self {
            daemon,
            address: listening.trim().parse()?,
            _directory: directory,
        })
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ended = self.daemon.kill();
        let _status = self.daemon.wait();
    }
}

struct Manager;

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    async fn get_unit(&self, name: &str) -> fdo::Result<OwnedObjectPath> {
        match name {
            "rustfs.service" => Ok(OwnedObjectPath::try_from(UNIT_PATH)?),
            "stuck.service" => pending().await,
            _ => Err(fdo::Error::Failed(format!("Unit {name} not loaded."))),
        }
    }
}

struct Service;

#[zbus::interface(name = "org.freedesktop.systemd1.Service")]
impl Service {
    #[zbus(property)]
    fn control_group(&self) -> String {
        CGROUP.to_owned()
    }
}

async fn systemd(bus: &Bus) -> anyhow::Result<Connection> {
    let manager = connection::Builder::address(bus.address.clone())
        .name("org.freedesktop.systemd1")
        .serve_at("/org/freedesktop/systemd1", Manager)
        .serve_at(UNIT_PATH, Service);
    Ok(manager.build().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_says_where_a_unit_s_cgroup_is() {
    let bus = Bus::start().unwrap();
    let asked = |unit| control_group_by(unit, bus.address.clone());
    assert_eq!(asked("rustfs.service"), None, "nobody is on the bus yet");
    let _systemd = systemd(&bus).await.unwrap();
    assert_eq!(asked("rustfs.service").as_deref(), Some(CGROUP));
    assert_eq!(asked("other.service"), None, "it is not loaded");
    assert_eq!(asked("stuck.service"), None, "no answer is waited for");
}

/// Waits until the daemon says this; what it says besides does not matter.
fn hears(manager: &UnixDatagram, wanted: &str) -> anyhow::Result<()> {
    let mut message = [0; 4096];
    loop {
        let length = manager
            .recv(&mut message)
            .with_context(|| format!("{wanted} was not said"))?;
        let said = String::from_utf8_lossy(&message[..length]);
        if said.lines().any(|line| line == wanted) {
            return Ok(());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_hears_that_the_daemon_is_ready_lives_reloads_and_stops() -> anyhow::Result<()> {
    let lab = Lab::new(1)?;
    let directory = tempfile::tempdir()?;
    let path = |name: &str| directory.path().join(name);
    let manager = UnixDatagram::bind(path("notify"))?;
    manager.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut command = Daemon::command(lab.host(1))?;
    command.args([
        "run",
        "--peer",
        "http://10.77.0.2:9000",
        "--metrics",
        METRICS,
    ]);
    command.arg("--socket").arg(path("detector.sock"));
    command.arg("--state-directory").arg(path("state"));
    command.env("NOTIFY_SOCKET", path("notify"));
    command.env("WATCHDOG_USEC", "3000000");
    let mut daemon = Process::start("detector", command)?;
    hears(&manager, "READY=1")?;
    hears(&manager, "WATCHDOG=1")?;
    hears(&manager, "WATCHDOG=1")?;
    daemon.signal(Signal::SIGHUP)?;
    hears(&manager, "RELOADING=1")?;
    hears(&manager, "READY=1")?;
    daemon.signal(Signal::SIGTERM)?;
    hears(&manager, "STOPPING=1")?;
    let status = daemon.ended(Duration::from_secs(10)).await?;
    anyhow::ensure!(status.success(), "{status}");
    Ok(())
}
