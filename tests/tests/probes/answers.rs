//! Which host an answer is evidence of.

use std::{
    fs,
    net::{SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use anyhow::Context as _;
use detector_tests::{Cut, Host, testbed};
use detector_user::model::{ProbeAnswer, ProbeOutcome};

use super::{
    A_WHILE, Asker, LIMIT, OPEN, PATIENT, SHORT, SHUT, all, answers, card, connect, listen, ready,
};

#[tokio::test]
async fn a_living_host_answers_every_probe_and_its_programs_notice_nothing() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let listeners = listen(peer)?;
        let mut asker = Asker::on(us)?;
        let targets = all(&asker, peer);
        for _ in 0..20 {
            answers(&mut asker, &targets, peer).await?;
        }
        // The first connection that the program gets is the first real one.
        for listener in listeners {
            let addr = listener.local_addr()?;
            let real = us.within(|| TcpStream::connect(addr))??;
            assert_eq!(listener.accept()?.1, real.local_addr()?);
        }
        assert_eq!(asker.prober.malformed(), 0);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn this_host_itself_can_be_asked() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(1).await?;
        let us = lab.host(1);
        let _listeners = listen(us)?;
        let mut asker = Asker::on(us)?;
        let targets = [
            connect(us.v4(), OPEN),
            connect(us.v6(), OPEN),
            connect(us.v4().to_ipv6_mapped(), OPEN),
            connect(us.v4(), SHUT),
            connect(us.v6(), SHUT),
            connect([127, 0, 0, 1], SHUT),
        ];
        answers(&mut asker, &targets, us).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_cut_host_answers_nothing_until_it_is_back() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let _listeners = listen(peer)?;
        let mut asker = Asker::on(us)?;
        let targets = all(&asker, peer);
        for cut in Cut::ALL {
            asker.answer(targets[0]).await?;
            lab.cut(&[2], cut)?;
            let silent = asker.silence(&targets, SHORT).await;
            silent.with_context(|| cut.as_str())?;
            lab.heal(&[2])?;
            answers(&mut asker, &targets, peer).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_answer_after_giving_up_is_not_reported() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let _listeners = listen(peer)?;
        let mut asker = Asker::on(us)?;
        // All of them are answered, some microseconds later.
        let targets = all(&asker, peer);
        asker.silence(&targets, Duration::ZERO).await?;
        answers(&mut asker, &targets, peer).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_request_of_the_peer_s_own_is_an_answer() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (us, peer) = (lab.host(1), lab.host(2));
        // From now on it answers no ARP.
        peer.within(|| fs::write("/proc/sys/net/ipv4/conf/all/arp_ignore", "8"))??;
        let mut asker = Asker::on(us)?;
        let target = asker.neighbour(peer.v4());
        asker.silence(&[target], SHORT).await?;

        let probe = asker.send(target, PATIENT);
        assert_eq!(asker.event().await?.outcome, ProbeOutcome::Sent);
        peer.exec("ip", &["neigh", "flush", "all"])?;
        let from = peer.within(|| UdpSocket::bind((peer.v4(), 0)))??;
        from.send_to(b"x", SocketAddr::from((us.v4(), 7)))?;
        let event = asker.event().await?;
        let answered = ProbeOutcome::Answered(ProbeAnswer::Neighbour(card(peer)?));
        assert_eq!((event.probe, event.outcome), (probe, answered));
        Ok(())
    })
    .await
}

const REJECT: &str = "table inet t { chain c { type filter hook HOOK priority 0; \
     tcp dport 9000 reject with icmpx WHAT; }; }";

fn reject(host: &Host, hook: &str, what: &str) -> anyhow::Result<()> {
    let rules = REJECT.replace("HOOK", hook).replace("WHAT", what);
    host.exec("nft", &["flush ruleset"])?;
    host.exec("nft", &[&rules]).map(drop)
}

#[tokio::test]
async fn what_others_say_for_the_peer_is_no_answer_and_what_it_says_itself_is() -> anyhow::Result<()>
{
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let mut asker = Asker::on(us)?;
        let targets = [connect(peer.v4(), OPEN), connect(peer.v6(), OPEN)];
        for what in ["port-unreachable", "admin-prohibited"] {
            // The peer's own packet filter.
            reject(peer, "input", what)?;
            for target in targets {
                assert_eq!(
                    asker.answer(target).await?,
                    ProbeAnswer::Unreachable,
                    "{what} {target}"
                );
            }
            peer.exec("nft", &["flush ruleset"])?;

            // This host's packet filter, which says the same of a peer that may be dead.
            reject(us, "output", what)?;
            for target in targets {
                let event = asker.first(target, PATIENT).await?;
                let is_answer = matches!(event, ProbeOutcome::Answered(_));
                assert!(!is_answer, "{what} {target}: {event:?}");
                asker.quiet(A_WHILE).await?;
            }
            us.exec("nft", &["flush ruleset"])?;
        }
        Ok(())
    })
    .await
}
