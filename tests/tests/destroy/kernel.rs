//! The kernel's events about a teardown, and what they lack.

use std::{collections::BTreeMap, io::Write as _, net::TcpStream, thread};

use anyhow::Context as _;
use detector_tests::{Cut, Lab, binary, kernel, testbed};
use detector_user::{
    clock,
    model::{Endpoint, FlowEventKind, FlowId, PeerName, Signal},
    signals,
    source::{
        Source as _,
        ebpf::{EbpfOptions, EbpfSource},
    },
};
use nix::libc::ECONNABORTED;
use tokio::sync::mpsc::Receiver;

use super::{LIMIT, SOON, Stand, assert_aborted, result};

/// The tracepoints report the daemon's own teardowns with ECONNABORTED, which the core does not
/// count as evidence.
#[tokio::test(flavor = "multi_thread")]
async fn the_tracepoints_tell_our_own_kills_apart() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let mut stand = Stand::new()?;
        let addr = stand.v4();
        let options = EbpfOptions {
            netns: Some(stand.sock_diag.netns()),
            ..EbpfOptions::default()
        };
        let (sender, mut signals) = signals::channel(64);
        let mut source = EbpfSource::load(&options, sender)?;
        let peer = PeerName::from_canonical(&stand.lab.host(2).url());
        let endpoint = Endpoint {
            addr: addr.ip(),
            port: addr.port(),
        };
        source.watch(&BTreeMap::from([(peer, vec![endpoint])]))?;

        let mut pair = stand.connect(addr)?;
        let established = stand.named(&pair.ours)?;
        stand.lab.cut(&[2], Cut::SilentDrop)?;
        pair.ours.write_all(b"a request")?;
        let host = stand.lab.host(1).clone();
        let connect = thread::spawn(move || host.within(|| TcpStream::connect(addr)));
        // The end of a flow is only reported if the flow had an event before.
        let rto = |flow: &FlowId, kind| {
            let is_ours = flow.local == established.0.local;
            (is_ours && matches!(kind, FlowEventKind::Rto { .. })).then_some(())
        };
        while event(&mut signals, rto).await?.is_none() {}
        let sockets = testbed::until("both sockets are there", SOON, async || {
            Ok(Some(stand.sockets()?).filter(|sockets| sockets.len() == 2))
        })
        .await?;
        let named: Vec<_> = sockets
            .iter()
            .map(|socket| (socket.reading.id, socket.reading.cookie))
            .collect();
        let told = stand.destroy(clock::now(), &named).await?;
        assert_eq!(told, result(2, 0, 0, 0));
        assert_aborted(connect.join().expect("the thread does not panic")?);

        let mut ends = Vec::new();
        let expected: &[&str] = match kernel::reports_errors() {
            true => &["closed", "connect failed", "error report", "error report"],
            false => &["closed", "connect failed"],
        };
        while ends.len() < expected.len() {
            let end = |_: &FlowId, kind: FlowEventKind| match kind {
                FlowEventKind::Closed { errno } => Some(("closed", errno)),
                FlowEventKind::ConnectFailed { errno } => Some(("connect failed", errno)),
                FlowEventKind::ErrorReport { errno } => Some(("error report", errno)),
                _ => None,
            };
            ends.extend(event(&mut signals, end).await?);
        }
        ends.sort_unstable();
        let aborted = ECONNABORTED as u32;
        let expected: Vec<_> = expected.iter().map(|&what| (what, aborted)).collect();
        assert_eq!(ends, expected);
        Ok(())
    })
    .await
}

/// What `find` makes of the next event.
async fn event<T>(
    signals: &mut Receiver<Signal>,
    find: impl Fn(&FlowId, FlowEventKind) -> Option<T>,
) -> anyhow::Result<Option<T>> {
    let signal = tokio::time::timeout(SOON, signals.recv()).await;
    match signal.context("no event")? {
        Some(Signal::Flow(event)) => Ok(find(&event.flow, event.kind)),
        _ => Ok(None),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_proves_it_and_says_what_is_missing() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(1)?;
        let program = binary()?;
        let check = |capabilities: &str| -> anyhow::Result<serde_json::Value> {
            let mut command = lab.host(1).command("setpriv");
            let bounding = format!("--bounding-set={capabilities}");
            command.args([&bounding, "--"]).arg(&program);
            let output = command.args(["doctor", "--output", "json"]).output()?;
            let text = String::from_utf8(output.stdout)?;
            let lines: Vec<serde_json::Value> = text
                .lines()
                .map(serde_json::from_str)
                .collect::<Result<_, _>>()?;
            let mut lines = lines.into_iter();
            lines
                .find(|check| check["name"] == "destroy sockets")
                .with_context(|| format!("no such check: {text}"))
        };
        let able = check("+all")?;
        assert_eq!(able["status"], "ok", "{able}");
        let unable = check("-net_admin")?;
        assert_eq!(unable["status"], "degraded", "{unable}");
        let told = unable.to_string();
        assert!(told.contains("CAP_NET_ADMIN"), "{told}");
        Ok(())
    })
    .await
}
