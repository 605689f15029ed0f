//! Asks systemd for a unit over a real `dbus-daemon`. The test plays the part of systemd, which the
//! machines that run the tests do not have.

use std::{
    future::pending,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use anyhow::Context as _;
use detector_user::systemd::control_group_by;
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
