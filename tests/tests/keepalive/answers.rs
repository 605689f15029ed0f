//! Which keepalives are answered, and what an answer leads to.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, Shutdown, TcpStream},
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use detector_tests::{Host, testbed};
use detector_user::{
    model::{Bounds, ProbeAnswer, ProbeTarget},
    netns::{Namespace, Namespaces},
    source::probe::{LEAST_SPACING, Prober},
};
use socket2::SockRef;

use super::{Asker, LIMIT, PATIENT, Pair, pair, ready, rest};

/// Sends a little both ways, and sees that it comes and that nothing else does.
fn exchange(pair: &Pair) -> anyhow::Result<()> {
    let Pair { ours, theirs, .. } = pair;
    for (mut from, mut to) in [(ours, theirs), (theirs, ours)] {
        from.write_all(b"hello")?;
        let mut got = [0; 5];
        to.read_exact(&mut got)?;
        ensure!(&got == b"hello", "{got:?}");
        to.set_nonblocking(true)?;
        let more = to.read(&mut got);
        to.set_nonblocking(false)?;
        let is_empty = more
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        ensure!(is_empty, "something came of itself: {more:?} {got:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_living_host_answers_and_its_program_notices_nothing() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let mut asker = Asker::on(us)?;
        for addr in [IpAddr::from(peer.v4()), peer.v6().into()] {
            let pair = pair(us, peer, addr)?;
            // Nothing was ever sent: the octet stands in place of the SYN.
            assert_eq!(asker.answer(pair.target).await?, ProbeAnswer::Ack);
            for _ in 0..20 {
                // Soon after the last: these carry an octet.
                tokio::time::sleep(LEAST_SPACING).await;
                assert_eq!(asker.answer(pair.target).await?, ProbeAnswer::Ack);
                exchange(&pair)?;
            }
            rest().await;
            assert_eq!(asker.answer(pair.target).await?, ProbeAnswer::Ack);
            exchange(&pair)?;
        }
        Ok(())
    })
    .await
}

/// With every option that changes a segment or its answer off.
#[tokio::test]
async fn a_flow_without_options_is_asked_too() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (us, peer) = (lab.host(1), lab.host(2));
        us.within(|| {
            for option in ["timestamps", "sack", "window_scaling"] {
                fs::write(format!("/proc/sys/net/ipv4/tcp_{option}"), "0")?;
            }
            std::io::Result::Ok(())
        })??;
        let mut asker = Asker::on(us)?;
        let pair = pair(us, peer, peer.v4())?;
        for _ in 0..5 {
            assert_eq!(asker.answer(pair.target).await?, ProbeAnswer::Ack);
            exchange(&pair)?;
            tokio::time::sleep(LEAST_SPACING).await;
        }
        Ok(())
    })
    .await
}

/// The host's program reads nothing, or does not run: its kernel answers.
#[tokio::test]
async fn a_peer_whose_window_is_shut_answers() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let mut asker = Asker::on(us)?;
        let mut pair = pair(us, peer, peer.v4())?;
        fill(&mut pair.ours)?;
        for _ in 0..5 {
            assert_eq!(asker.answer(pair.target).await?, ProbeAnswer::Ack);
            tokio::time::sleep(LEAST_SPACING).await;
        }
        Ok(())
    })
    .await
}

/// Large segments are lost, small ones pass: the flow sends again and again, and its peer's
/// kernel answers.
#[tokio::test]
async fn a_flow_whose_data_is_lost_is_answered() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let mut asker = Asker::on(us)?;
        let mut pair = pair(us, peer, peer.v4())?;
        nft(peer, "input", "meta length > 500 drop")?;
        pair.ours.write_all(&[1; 16 << 10])?;
        testbed::until("the flow sends again", PATIENT, async || {
            let shown = us.exec("ss", &["-tinH", "state", "established"])?;
            anyhow::ensure!(shown.contains("backoff:2"), "{shown}");
            Ok(Some(()))
        })
        .await?;
        for _ in 0..5 {
            assert_eq!(asker.answer(pair.target).await?, ProbeAnswer::Ack);
            tokio::time::sleep(LEAST_SPACING).await;
        }
        Ok(())
    })
    .await
}

/// Writes until nothing more is taken; how much it was.
pub(super) fn fill(stream: &mut TcpStream) -> anyhow::Result<usize> {
    stream.set_nonblocking(true)?;
    let (mut written, mut idle) = (0, 0);
    // What the kernel moves on to the peer makes room again, for a moment.
    while idle < 10 {
        match stream.write(&[7; 64 << 10]) {
            Ok(taken) => (written, idle) = (written + taken, 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                idle += 1;
                thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(error).context("cannot fill the flow"),
        }
    }
    stream.set_nonblocking(false)?;
    Ok(written)
}

#[tokio::test]
async fn a_half_closed_flow_is_answered() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let mut asker = Asker::on(us)?;
        // Whoever closed first.
        for we_do in [true, false] {
            let Pair {
                ours,
                theirs,
                target,
            } = pair(us, peer, peer.v4())?;
            let (closes, reads) = if we_do {
                (ours, theirs)
            } else {
                (theirs, ours)
            };
            closes.shutdown(Shutdown::Write)?;
            let mut reads = reads;
            ensure!(reads.read(&mut [0; 1])? == 0, "the end is not told");
            assert_eq!(asker.answer(target).await?, ProbeAnswer::Ack);
            tokio::time::sleep(LEAST_SPACING).await;
            assert_eq!(asker.answer(target).await?, ProbeAnswer::Ack);
        }
        Ok(())
    })
    .await
}

/// The peer forgets the flow as after a restart, without any segment.
pub(super) fn forget(peer: &Host, theirs: TcpStream) -> anyhow::Result<()> {
    nft(peer, "output", "drop")?;
    SockRef::from(&theirs).set_linger(Some(Duration::ZERO))?;
    drop(theirs);
    peer.exec("nft", &["flush ruleset"]).map(drop)
}

/// A rule for TCP at one of the host's hooks.
pub(super) fn nft(host: &Host, hook: &str, rule: &str) -> anyhow::Result<()> {
    let rules = format!(
        "table inet t {{ chain {hook} {{ type filter hook {hook} priority 0; \
         meta l4proto tcp {rule}; }}; }}"
    );
    host.exec("nft", &[&rules]).map(drop)
}

#[tokio::test]
async fn a_host_that_restarted_resets_and_who_waits_is_freed() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let mut asker = Asker::on(us)?;
        for addr in [IpAddr::from(peer.v4()), peer.v6().into()] {
            let Pair {
                mut ours,
                theirs,
                target,
            } = pair(us, peer, addr)?;
            let waiting = thread::spawn(move || ours.read(&mut [0; 1]));
            forget(peer, theirs)?;
            assert_eq!(asker.answer(target).await?, ProbeAnswer::Reset);
            let read = waiting.join().expect("the reader panicked");
            let error = read.expect_err("there is nothing to read");
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
        }
        Ok(())
    })
    .await
}

/// What a careful host lets in: flows that it knows, and one new one a second.
const CAREFUL: &str = "table inet t { chain input { type filter hook input priority 0; \
     meta l4proto != tcp accept; ct state invalid drop; ct state established accept; \
     tcp flags & (syn|ack) == syn limit rate 1/second burst 1 packets accept; drop; }; \
     chain output { type filter hook output priority 0; ct state invalid drop; }; }";

#[tokio::test]
async fn firewalls_that_know_the_flow_let_it_pass() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (us, peer) = (lab.host(1), lab.host(2));
        for host in [us, peer] {
            host.exec("nft", &[CAREFUL])?;
        }
        let mut asker = Asker::on(us)?;
        let pair = pair(us, peer, peer.v4())?;
        for _ in 0..50 {
            assert_eq!(asker.answer(pair.target).await?, ProbeAnswer::Ack);
            tokio::time::sleep(LEAST_SPACING).await;
        }
        exchange(&pair)
    })
    .await
}

#[tokio::test]
async fn a_flow_of_another_namespace_is_asked_from_there() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(3).await?;
        let (us, container, peer) = (lab.host(1), lab.host(2), lab.host(3));
        let pair = pair(container, peer, peer.v4())?;
        let path = format!("/run/netns/{}", container.namespace());
        let namespace = Namespace::open(Path::new(&path))?;
        let netns = namespace.id();
        let others = [(netns, Arc::new(namespace))].into();
        let mut asker = Asker::with(us, |signals| {
            let namespaces = Namespaces::fixed(others)?;
            Prober::start(signals, namespaces, Bounds::new(4))
        })?;
        let ProbeTarget::Flow { mut flow, cookie } = pair.target else {
            unreachable!("a pair is a flow");
        };
        // Not from the daemon's own.
        let errno = asker.errno(pair.target, PATIENT).await?;
        assert_eq!(errno, nix::libc::ENOTCONN as u32);
        flow.netns = netns;
        let there = ProbeTarget::Flow { flow, cookie };
        assert_eq!(asker.answer(there).await?, ProbeAnswer::Ack);
        Ok(())
    })
    .await
}
