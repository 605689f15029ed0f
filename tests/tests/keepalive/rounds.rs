//! Keepalives of many flows that leave and are answered in one turn.

use std::{
    io::{Read as _, Write as _},
    net::IpAddr,
    time::Duration,
};

use anyhow::ensure;
use detector_tests::{Cut, Host, asker::Asker, testbed};
use detector_user::model::{ProbeAnswer, ProbeEvent, ProbeId, ProbeOutcome, ProbeTarget};

use super::{A_WHILE, LIMIT, PATIENT, Pair, pair, ready, rest};

/// More than one call of the kernel sends, and more than one filter tells apart.
const FLOWS: usize = 100;

const ACK: ProbeOutcome = ProbeOutcome::Answered(ProbeAnswer::Ack);

/// Sends a keepalive on each flow in one turn; returns what became of them in this turn.
fn send(asker: &mut Asker, us: &Host, pairs: &[Pair]) -> anyhow::Result<Vec<ProbeEvent>> {
    for (number, pair) in pairs.iter().enumerate() {
        let probe = ProbeId(number as u64);
        asker.prober.send_with_others(probe, pair.target, PATIENT);
    }
    us.within(|| asker.prober.turn())
}

/// Reads until all are answered.
async fn answers(asker: &mut Asker, us: &Host, events: &mut Vec<ProbeEvent>) -> anyhow::Result<()> {
    testbed::until("all are answered", PATIENT, async || {
        events.extend(us.within(|| asker.prober.read())?);
        Ok(asker.prober.due().is_none().then_some(()))
    })
    .await
}

/// The probes with this outcome, each once.
fn with(events: &[ProbeEvent], outcome: ProbeOutcome) -> Vec<u64> {
    let found = events.iter().filter(|event| event.outcome == outcome);
    let mut found: Vec<_> = found.map(|event| event.probe.0).collect();
    found.sort_unstable();
    found
}

fn pairs(us: &Host, peer: &Host) -> anyhow::Result<Vec<Pair>> {
    let addrs = [IpAddr::from(peer.v4()), peer.v6().into()];
    let some = addrs.iter().cycle().take(FLOWS);
    some.map(|addr| pair(us, peer, *addr)).collect()
}

#[tokio::test]
async fn all_flows_with_a_living_host_are_answered_once() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let pairs = pairs(us, peer)?;
        let mut asker = Asker::on(us)?;
        let all: Vec<u64> = (0..FLOWS as u64).collect();
        // The first are plain, the next carry an octet.
        for _ in 0..3 {
            let mut events = send(&mut asker, us, &pairs)?;
            answers(&mut asker, us, &mut events).await?;
            assert_eq!(with(&events, ProbeOutcome::Sent), all);
            assert_eq!(with(&events, ACK), all);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for Pair {
            mut ours,
            mut theirs,
            ..
        } in pairs
        {
            ours.write_all(b"x")?;
            let mut got = [0; 8];
            ensure!(theirs.read(&mut got)? == 1, "nothing else came");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_cut_host_answers_when_it_is_back() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(3).await?;
        let (us, peer, other) = (lab.host(1), lab.host(2), lab.host(3));
        let pairs = [pair(us, peer, peer.v4())?, pair(us, other, other.v4())?];
        let mut asker = Asker::on(us)?;
        lab.cut(&[2], Cut::ALL[0])?;
        let mut events = send(&mut asker, us, &pairs)?;
        tokio::time::sleep(A_WHILE).await;
        events.extend(us.within(|| asker.prober.read())?);
        assert_eq!(with(&events, ProbeOutcome::Sent), [0, 1]);
        assert_eq!(with(&events, ACK), [1], "only the other host answers");
        assert!(asker.prober.due().is_some(), "one is waited for");

        // The same flow is asked again while the first waits: one answer is enough.
        lab.heal(&[2])?;
        rest().await;
        let mut events = send(&mut asker, us, &pairs)?;
        answers(&mut asker, us, &mut events).await?;
        assert_eq!(with(&events, ACK), [0, 1]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_is_no_flow_of_this_host_is_left_to_the_other_thread() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let pair = pair(us, peer, peer.v4())?;
        let mut asker = Asker::on(us)?;
        let neighbour = asker.neighbour(peer.v4());
        asker
            .prober
            .send_with_others(ProbeId(7), neighbour, PATIENT);
        assert_eq!(us.within(|| asker.prober.turn())?, []);
        assert_eq!(asker.event().await?.outcome, ProbeOutcome::Sent);
        let answered = asker.event().await?;
        let is_answer = matches!(answered.outcome, ProbeOutcome::Answered(_));
        ensure!(is_answer && answered.probe == ProbeId(7), "{answered:?}");

        // A flow that is gone has failed.
        let ProbeTarget::Flow { flow, cookie } = pair.target else {
            unreachable!("a pair is a flow");
        };
        let other = ProbeTarget::Flow {
            flow,
            cookie: cookie + 1,
        };
        asker.prober.send_with_others(ProbeId(8), other, PATIENT);
        let errno = nix::libc::ESTALE as u32;
        let events = us.within(|| asker.prober.turn())?;
        assert_eq!(with(&events, ProbeOutcome::Failed { errno }), [8]);
        Ok(())
    })
    .await
}
