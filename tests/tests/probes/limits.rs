//! The limits of probes: which are sent, which cannot be, and what remains of them.

use std::{collections::BTreeMap, env, fs, net::IpAddr, process::Command, time::Duration};

use anyhow::{Context as _, ensure};
use detector_tests::{Cut, Host, testbed};
use detector_user::{
    clock,
    model::{ProbeAnswer, ProbeId, ProbeOutcome, ProbeTarget, Signal, Time},
    signals::channel,
};
use nix::{
    libc::{EAGAIN, ENETDOWN, ENETUNREACH, ENODEV, EOPNOTSUPP, EPERM},
    net::if_::if_nametoindex,
};
use tokio::time::timeout;

use super::{
    A_WHILE, Asker, LIMIT, OPEN, PATIENT, SHORT, SHUT, all, card, connect, listen, ready, start,
};

#[tokio::test]
async fn no_syn_is_ever_sent_again() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let mut asker = Asker::on(us)?;
        for addr in [IpAddr::from(peer.v4()), peer.v6().into()] {
            asker.answer(connect(addr, SHUT)).await?;
            // Its hardware address is known, and stays so: each SYN leaves at once.
            let (addr, lladdr) = (addr.to_string(), "02:00:00:00:00:01");
            let entry = ["neigh", "replace", &addr, "dev", "eth0", "lladdr", lladdr];
            us.exec("ip", &[&entry[..], &["nud", "permanent"]].concat())?;
        }
        lab.cut(&[2], Cut::SilentDrop)?;
        let targets = [connect(peer.v4(), SHUT), connect(peer.v6(), SHUT)];
        let far_beyond = Duration::from_secs(3);
        // It is given up shortly before it would be sent again: who gets no CPU in between is
        // late, but not each time.
        let mut before = counter(us, "TCPSynRetrans")?;
        for _ in 0..5 {
            let begun = clock::now();
            asker.silence(&targets, far_beyond).await?;
            assert!(clock::now().since(begun) > far_beyond);
            let now = counter(us, "TCPSynRetrans")?;
            if now == before {
                return Ok(());
            }
            before = now;
        }
        anyhow::bail!("SYNs are sent again: {before}")
    })
    .await
}

/// A counter of the host's /proc/net/netstat, which has lines of names and lines of values.
fn counter(host: &Host, name: &str) -> anyhow::Result<u64> {
    let text = host.within(|| fs::read_to_string("/proc/thread-self/net/netstat"))??;
    let lines: Vec<&str> = text.lines().collect();
    let mut values = lines.chunks(2).filter_map(|pair| {
        let place = pair[0].split(' ').position(|word| word == name)?;
        pair.get(1)?.split(' ').nth(place)?.parse().ok()
    });
    values.next().with_context(|| format!("no {name}: {text}"))
}

#[tokio::test]
async fn what_cannot_be_sent_has_failed() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let mut asker = Asker::on(us)?;
        let failed = |errno: i32| ProbeOutcome::Failed {
            errno: errno as u32,
        };
        let on = |link| ProbeTarget::Neighbour {
            addr: peer.v4().into(),
            link,
        };
        let loopback = us.within(|| if_nametoindex("lo"))??;
        assert_eq!(asker.first(on(0xffff), PATIENT).await?, failed(ENODEV));
        assert_eq!(
            asker.first(on(loopback), PATIENT).await?,
            failed(EOPNOTSUPP)
        );
        let nowhere = connect([192, 0, 2, 1], OPEN);
        assert_eq!(asker.first(nowhere, PATIENT).await?, failed(ENETUNREACH));

        // Administratively down, and then up without a carrier.
        let down = || us.exec("ip", &["link", "set", "eth0", "down"]).map(drop);
        let no_carrier = || {
            us.exec("ip", &["link", "set", "eth0", "up"])?;
            lab.cut(&[1], Cut::PortDown).map(drop)
        };
        for change in [&down as &dyn Fn() -> anyhow::Result<()>, &no_carrier] {
            assert_eq!(
                asker.answer(asker.neighbour(peer.v4())).await?,
                ProbeAnswer::Neighbour(card(peer)?)
            );
            change()?;
            for addr in [IpAddr::from(peer.v4()), peer.v6().into()] {
                let target = asker.neighbour(addr);
                fails_with(&mut asker, target, failed(ENETDOWN)).await?;
            }
            us.exec("ip", &["link", "set", "eth0", "up"])?;
            us.exec(
                "ip",
                &[
                    "addr",
                    "replace",
                    &format!("{}/64", us.v6()),
                    "dev",
                    "eth0",
                    "nodad",
                ],
            )?;
            lab.heal(&[1])?;
            let target = asker.neighbour(peer.v4());
            testbed::until("the link is up again", PATIENT, async || {
                Ok((asker.first(target, PATIENT).await? == ProbeOutcome::Sent).then_some(()))
            })
            .await?;
            asker.event().await?;
        }
        Ok(())
    })
    .await
}

/// The links are read once a second at most: what was read may be that old.
async fn fails_with(
    asker: &mut Asker,
    target: ProbeTarget,
    wanted: ProbeOutcome,
) -> anyhow::Result<()> {
    testbed::until("the link is seen to be down", PATIENT, async || {
        let outcome = asker.first(target, PATIENT).await?;
        ensure!(
            outcome == wanted || outcome == ProbeOutcome::Sent,
            "{outcome:?}"
        );
        Ok((outcome == wanted).then_some(()))
    })
    .await
}

#[tokio::test]
async fn what_waits_is_bounded() -> anyhow::Result<()> {
    const AT_MOST: usize = 4096;
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (peer, mut asker) = (lab.host(2), Asker::on(lab.host(1))?);
        lab.cut(&[2], Cut::SilentDrop)?;
        for target in [asker.neighbour(peer.v4()), connect(peer.v4(), OPEN)] {
            // Few enough at a time for the queue, which is bounded by itself.
            let (mut sent, mut refused) = (Vec::new(), 0);
            for _ in 0..20 {
                for _ in 0..500 {
                    asker.send(target, PATIENT);
                }
                for _ in 0..500 {
                    let event = asker.event().await?;
                    match event.outcome {
                        ProbeOutcome::Sent => sent.push(event.at),
                        ProbeOutcome::Failed { errno } if errno == EAGAIN as u32 => refused += 1,
                        other => anyhow::bail!("{target}: {other:?}"),
                    }
                }
            }
            println!("{target}: {} sent, {refused} refused", sent.len());
            // A connect does not wait longer, whatever the request says.
            let together = Duration::from_millis(900);
            let begun = sent[0];
            sent.retain(|at| at.since(begun) < together);
            assert!((1..=AT_MOST).contains(&sent.len()), "{}", sent.len());
            assert!(refused > 0);
        }
        asker.quiet(PATIENT + A_WHILE).await?;
        // And room again.
        lab.heal(&[2])?;
        asker.answer(asker.neighbour(peer.v4())).await?;
        asker.answer(connect(peer.v4(), OPEN)).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn nothing_is_left() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let listeners = listen(peer)?;
        let mut asker = Asker::on(us)?;
        for target in all(&asker, peer) {
            asker.answer(target).await?;
        }
        // The raw sockets are kept for the next probe, a connect is not kept at all.
        assert_eq!(sockets(us)?, ["packet", "packet"]);
        drop(listeners);
        assert_eq!(sockets(peer)?, [""; 0]);
        lab.cut(&[2], Cut::SilentDrop)?;
        asker.silence(&all(&asker, peer), SHORT).await?;
        testbed::until("the connects are closed", PATIENT, async || {
            Ok((sockets(us)? == ["packet", "packet"]).then_some(()))
        })
        .await?;
        // Some wait while it is dropped.
        for target in all(&asker, peer) {
            asker.send(target, PATIENT);
        }
        asker.event().await?;
        drop(asker);
        testbed::until("all sockets are closed", PATIENT, async || {
            Ok(sockets(us)?.is_empty().then_some(()))
        })
        .await
    })
    .await
}

/// The sockets in a host's namespace, by the file of /proc/net that lists them.
fn sockets(host: &Host) -> anyhow::Result<Vec<&'static str>> {
    let mut found = Vec::new();
    for table in ["packet", "raw", "raw6", "tcp", "tcp6"] {
        let path = format!("/proc/thread-self/net/{table}");
        let text = host.within(|| fs::read_to_string(&path))?.context(path)?;
        found.extend(text.lines().skip(1).map(|_| table));
    }
    Ok(found)
}

/// Tells this test program that it runs without the capability.
const WITHOUT_NET_RAW: &str = "DETECTOR_TEST_WITHOUT_NET_RAW";

/// The program runs itself again without the capability: a thread alone cannot lose it here.
#[tokio::test]
async fn without_cap_net_raw_only_connects_are_left() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        if env::var_os(WITHOUT_NET_RAW).is_none() {
            let test = "limits::without_cap_net_raw_only_connects_are_left";
            let output = Command::new("setpriv")
                .args(["--bounding-set=-net_raw", "--inh-caps=-net_raw", "--"])
                .arg(env::current_exe()?)
                .args(["--exact", test, "--nocapture"])
                .env(WITHOUT_NET_RAW, "1")
                .output()
                .context("cannot run setpriv: is util-linux installed?")?;
            let said = String::from_utf8_lossy(&output.stdout);
            ensure!(output.status.success(), "{said}{output:?}");
            ensure!(said.contains("1 passed"), "{said}");
            return Ok(());
        }
        let lab = ready(2).await?;
        let peer = lab.host(2);
        let mut asker = Asker::on(lab.host(1))?;
        let errno = EPERM as u32;
        for addr in [IpAddr::from(peer.v4()), peer.v6().into()] {
            let target = asker.neighbour(addr);
            assert_eq!(
                asker.first(target, PATIENT).await?,
                ProbeOutcome::Failed { errno }
            );
            let answer = asker.answer(connect(addr, SHUT)).await?;
            assert_eq!(answer, ProbeAnswer::Reset);
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_loop_s_delay_loses_no_word() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let (sender, mut signals) = channel(1);
        let prober = us.within(move || start(sender))??;
        for probe in 0..100 {
            prober.send(ProbeId(probe), connect(peer.v4(), SHUT), PATIENT);
        }
        let mut last: BTreeMap<ProbeId, (usize, Time)> = BTreeMap::new();
        while last.values().filter(|(events, _)| *events == 2).count() < 100 {
            let signal = timeout(PATIENT, signals.recv()).await?;
            let Some(Signal::Probe(event)) = signal else {
                anyhow::bail!("{signal:?}");
            };
            let (events, at) = last.entry(event.probe).or_default();
            assert!(*at <= event.at);
            (*events, *at) = (*events + 1, event.at);
        }
        Ok(())
    })
    .await
}
