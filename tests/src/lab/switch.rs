//! The lab's switch: a bridge whose ports can be cut, lose frames and delay them.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};

use super::{
    command,
    host::within,
    relay::{Lateness, Relay},
};
use crate::clock;

/// How a host loses the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cut {
    /// The switch port goes down: the cut host loses its carrier, the others see nothing
    /// but silence. What a power cut looks like from outside.
    PortDown,
    /// The switch drops every frame to and from the port, ARP and neighbour discovery
    /// included, and the carrier stays: a broken switch or cable path.
    SilentDrop,
}

impl Cut {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::PortDown, Self::SilentDrop];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PortDown => "port_down",
            Self::SilentDrop => "silent_drop",
        }
    }

    /// In the words of `ip link set dev PORT …`: one netlink message each. A port of the
    /// bridge that is down stays up itself, and nothing comes in or goes out by it. (With no
    /// bridge at all, the router would take in what comes by a port of its far switch. Bridge
    /// port state "disabled" would do until the kernel's next carrier event, which may be a
    /// second late, enables the port again.)
    fn link_words(self) -> &'static str {
        match self {
            Self::PortDown => "down",
            Self::SilentDrop => "master dead0",
        }
    }
}

/// When a change at the switch was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutMoment {
    /// `CLOCK_MONOTONIC` nanoseconds just before the change was ordered.
    pub at_ns: u64,
    /// The change was in force this much later at the latest.
    pub took: Duration,
}

/// How long a port may take to forward again.
const FORWARDING_WITHIN: Duration = Duration::from_secs(5);
/// The output of `ip` for a bridge port that forwards.
const FORWARDING: &str = "state forwarding";

/// The bridge. `ip` stands ready in its namespace, so that a cut costs no process start.
#[derive(Debug)]
pub(super) struct Switch {
    namespace: String,
    ip: Mutex<Ip>,
    /// What is dropped, by port.
    loss: Mutex<BTreeMap<String, Loss>>,
    /// The ports whose frames are late.
    relays: Mutex<BTreeMap<String, Relay>>,
}

/// Which frames are dropped, of those to a host and of those from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// This share, in percent, each frame by itself.
    Random(u8),
    /// The first `lost` of every `of` frames, in one row.
    Burst { lost: u32, of: u32 },
    /// Everything to the host, nothing from it: half of a partition.
    AllTo,
    /// Everything from the host, nothing to it.
    AllFrom,
}

impl Loss {
    fn validate(self) -> anyhow::Result<()> {
        match self {
            Self::Random(percent) => ensure!(percent <= 100, "loss of {percent} %: at most 100"),
            Self::Burst { lost, of } => {
                ensure!(lost < of, "loss of {lost} frames of {of}: no burst")
            }
            Self::AllTo | Self::AllFrom => {}
        }
        Ok(())
    }

    /// The match of an nft rule. `numgen inc` counts the frames that come to it.
    fn matching(self) -> String {
        match self {
            Self::Random(percent) => format!("numgen random mod 100 < {percent}"),
            Self::Burst { lost, of } => format!("numgen inc mod {of} < {lost}"),
            Self::AllTo | Self::AllFrom => String::new(),
        }
    }

    /// By which interface of the port's the frames go that it is about: in from the host, out
    /// to it.
    fn directions(self) -> &'static [&'static str] {
        match self {
            Self::Random(_) | Self::Burst { .. } => &["iifname", "oifname"],
            Self::AllFrom => &["iifname"],
            Self::AllTo => &["oifname"],
        }
    }
}

impl Switch {
    pub(super) fn new(namespace: &str) -> anyhow::Result<Self> {
        Ok(Self {
            namespace: namespace.to_owned(),
            ip: Mutex::new(Ip::start(namespace)?),
            loss: Mutex::default(),
            relays: Mutex::default(),
        })
    }

    /// Where its ports are.
    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(super) fn cut(&self, ports: &[&str], cut: Cut) -> anyhow::Result<CutMoment> {
        let words = cut.link_words();
        let lines = ports
            .iter()
            .map(|port| format!("link set dev {port} {words}\n"));
        let moment = self.ip().change(&lines.collect::<String>(), ports)?;
        Ok(moment)
    }

    pub(super) fn heal(&self, ports: &[&str]) -> anyhow::Result<CutMoment> {
        let at_ns = clock::now_ns();
        for port in ports {
            let master = self.master(port);
            let line = format!("link set dev {port} master {master} up\n");
            self.ip().change(&line, &[port])?;
            self.await_forwarding(port)?;
        }
        Ok(CutMoment {
            at_ns,
            took: clock::between(at_ns, clock::now_ns()),
        })
    }

    /// The kernel brings a port to forwarding on its own time, after the carrier came.
    pub(super) fn await_forwarding(&self, port: &str) -> anyhow::Result<()> {
        let begun = clock::now_ns();
        loop {
            let shown = self.ip().show(port)?;
            if shown.contains(FORWARDING) {
                return Ok(());
            }
            if clock::between(begun, clock::now_ns()) > FORWARDING_WITHIN {
                bail!("port {port} did not come to forwarding in {FORWARDING_WITHIN:?}: {shown}");
            }
            sleep(Duration::from_millis(1));
        }
    }

    /// Sets what is dropped at the port; `None` ends it.
    pub(super) fn loss(&self, port: &str, what: Option<Loss>) -> anyhow::Result<()> {
        let mut loss = lock(&self.loss);
        match what {
            Some(what) => {
                what.validate()?;
                loss.insert(port.to_owned(), what);
            }
            None => {
                loss.remove(port);
            }
        }
        command::run(
            command::in_namespace(&self.namespace, "nft").args(["-f", "-"]),
            &loss_rules(&loss),
        )
        .context("cannot set the loss at the switch")?;
        Ok(())
    }

    /// Delays each frame to and from the port; `None` ends it.
    pub(super) fn late(&self, port: &str, late: Option<Lateness>) -> anyhow::Result<()> {
        let mut relays = lock(&self.relays);
        if relays.remove(port).is_some() {
            // Its devices have gone with it.
            let back = format!(
                "link set dev {port} master br0\nlink del {}\n",
                own_bridge(port)
            );
            command::ip_batch(Some(&self.namespace), &back)?;
        }
        if let Some(late) = late {
            let (bridge, [host_end, switch_end]) = (own_bridge(port), relay_ends(port));
            let relay = within(&self.namespace, || {
                Relay::start([&host_end, &switch_end], late)
            })??;
            let lines = format!(
                "link add {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n\
                 link set {bridge} up\n\
                 link set {host_end} master {bridge} up\n\
                 link set {switch_end} master br0 up\n\
                 link set dev {port} master {bridge}\n"
            );
            command::ip_batch(Some(&self.namespace), &lines)?;
            relays.insert(port.to_owned(), relay);
            drop(relays);
            self.await_forwarding(&host_end)?;
            self.await_forwarding(&switch_end)?;
        } else {
            drop(relays);
        }
        self.await_forwarding(port)
    }

    /// The bridge that the port belongs to when it is not cut.
    fn master(&self, port: &str) -> String {
        if lock(&self.relays).contains_key(port) {
            own_bridge(port)
        } else {
            "br0".to_owned()
        }
    }

    fn ip(&self) -> MutexGuard<'_, Ip> {
        lock(&self.ip)
    }
}

/// What the lock guards is replaced as a whole or only read: a panic leaves it usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The bridge that only a port with a relay is in.
fn own_bridge(port: &str) -> String {
    format!("br{port}")
}

/// The relay's two devices: towards the host, and towards the switch.
fn relay_ends(port: &str) -> [String; 2] {
    [format!("{port}-host"), format!("{port}-net")]
}

/// The whole ruleset, for `nft` applies a file as one transaction. Every frame between two
/// hosts passes the forward hook once, with the port it came in by and the one it leaves by.
fn loss_rules(loss: &BTreeMap<String, Loss>) -> String {
    let mut rules = String::from(
        "table bridge lab\ndelete table bridge lab\ntable bridge lab {\n\
         chain loss {\n type filter hook forward priority 0; policy accept;\n",
    );
    for (port, loss) in loss {
        let matching = loss.matching();
        for direction in loss.directions() {
            rules.push_str(&format!(
                " {direction} \"{port}\" {matching} counter drop\n"
            ));
        }
    }
    rules.push_str("}\n}\n");
    rules
}

/// `ip -batch`, which carries out each line as it comes.
#[derive(Debug)]
struct Ip {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    stderr: ChildStderr,
}

impl Ip {
    fn start(namespace: &str) -> anyhow::Result<Self> {
        let mut child = command::in_namespace(namespace, "ip")
            // Details show a port's bridge state; one line each; stops at the first error.
            .args(["-details", "-oneline", "-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start ip -batch for the switch: is iproute2 installed?")?;
        let missing = "a piped stream is missing";
        Ok(Self {
            stdin: child.stdin.take().context(missing)?,
            stdout: BufReader::new(child.stdout.take().context(missing)?),
            stderr: child.stderr.take().context(missing)?,
            child,
        })
    }

    /// Orders the change with one write, and sees that it was made.
    fn change(&mut self, lines: &str, ports: &[&str]) -> anyhow::Result<CutMoment> {
        let at_ns = clock::now_ns();
        self.write(lines)?;
        for port in ports {
            self.show(port)?;
        }
        Ok(CutMoment {
            at_ns,
            took: clock::between(at_ns, clock::now_ns()),
        })
    }

    fn show(&mut self, port: &str) -> anyhow::Result<String> {
        self.write(&format!("link show dev {port}\n"))?;
        let mut line = String::new();
        let read = self.stdout.read_line(&mut line);
        if !matches!(read, Ok(1..)) {
            let mut said = String::new();
            let _silent = self.stderr.read_to_string(&mut said);
            bail!(
                "ip -batch ended at port {port} of the switch: {}",
                said.trim()
            );
        }
        Ok(line)
    }

    fn write(&mut self, lines: &str) -> anyhow::Result<()> {
        self.stdin
            .write_all(lines.as_bytes())
            .with_context(|| format!("ip -batch of the switch does not take {lines:?}"))
    }
}

impl Drop for Ip {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_applies_to_both_directions() {
        let rules = loss_rules(&BTreeMap::from([
            ("p1".to_owned(), Loss::Random(30)),
            ("p2".to_owned(), Loss::Burst { lost: 5, of: 100 }),
            ("p3".to_owned(), Loss::AllFrom),
        ]));
        assert!(rules.contains("iifname \"p3\"  counter drop"), "{rules}");
        assert!(!rules.contains("oifname \"p3\""), "{rules}");
        for rule in [
            "iifname \"p1\" numgen random mod 100 < 30 counter drop",
            "oifname \"p1\" numgen random mod 100 < 30 counter drop",
            "iifname \"p2\" numgen inc mod 100 < 5 counter drop",
        ] {
            assert!(rules.contains(rule), "{rules}");
        }
    }
}
