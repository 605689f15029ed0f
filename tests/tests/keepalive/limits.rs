//! Which flows are not probed, and why.

use std::{env, io::Read as _, net::SocketAddr, process::Command, time::Duration};

use anyhow::{Context as _, ensure};
use detector_tests::{Cut, testbed};
use detector_user::model::{FlowId, ProbeAnswer, ProbeTarget};
use nix::libc::{EAGAIN, ENETUNREACH, ENOTCONN, EPERM, ESTALE};
use socket2::{Domain, Socket, Type};

use super::{Asker, LIMIT, PATIENT, SHORT, pair, ready, target};

#[tokio::test]
async fn what_is_no_flow_is_not_asked() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let mut asker = Asker::on(us)?;
        let mut pair = pair(us, peer, peer.v4())?;
        let ProbeTarget::Flow { flow, cookie } = pair.target else {
            unreachable!("a pair is a flow");
        };
        let other = |flow, cookie| ProbeTarget::Flow { flow, cookie };
        let elsewhere = FlowId { netns: 1, ..flow };
        let unknown = FlowId {
            remote: SocketAddr::new(flow.remote.ip(), 1),
            ..flow
        };
        for (target, errno) in [
            (other(flow, cookie + 1), ESTALE),
            (other(elsewhere, cookie), ENETUNREACH),
            (other(unknown, cookie), ENOTCONN),
        ] {
            assert_eq!(
                asker.errno(target, PATIENT).await?,
                errno as u32,
                "{target}"
            );
        }
        // A source that knows no cookies asks without.
        assert_eq!(asker.answer(other(flow, 0)).await?, ProbeAnswer::Ack);

        // Closed on both sides, the peer first: nothing is left of it here.
        drop(pair.theirs);
        ensure!(pair.ours.read(&mut [0; 1])? == 0);
        drop(pair.ours);
        testbed::until("the flow is closed", PATIENT, async || {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let errno = asker.errno(pair.target, Duration::ZERO).await?;
            Ok((errno == ENOTCONN as u32).then_some(()))
        })
        .await
    })
    .await
}

#[tokio::test]
async fn a_flow_that_is_being_opened_is_not_asked() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let mut asker = Asker::on(us)?;
        lab.cut(&[2], Cut::SilentDrop)?;
        let remote = SocketAddr::from((peer.v4(), 9000));
        let opening = us.within(|| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
            let _in_progress = socket.connect(&remote.into());
            std::io::Result::Ok(socket)
        })??;
        let local = opening.local_addr()?.as_socket().context("no address")?;
        let target = ProbeTarget::Flow {
            flow: FlowId {
                netns: 0,
                local,
                remote,
            },
            cookie: opening.cookie()?,
        };
        assert_eq!(asker.errno(target, PATIENT).await?, ENOTCONN as u32);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_flow_is_not_asked_twice_at_once_and_again_a_little_later() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let mut asker = Asker::on(us)?;
        let (first, second) = (pair(us, peer, peer.v4())?, pair(us, peer, peer.v4())?);
        assert_eq!(asker.answer(first.target).await?, ProbeAnswer::Ack);
        // Far sooner than a flow may be asked again, however slow this machine is: the two
        // are queued at once.
        asker.send(second.target, Duration::ZERO);
        asker.send(second.target, PATIENT);
        asker.event().await?;
        let refused = format!("{:?}", asker.event().await?.outcome);
        ensure!(
            refused == format!("Failed {{ errno: {EAGAIN} }}"),
            "{refused}"
        );

        lab.cut(&[2], Cut::SilentDrop)?;
        tokio::time::sleep(SHORT).await;
        assert_eq!(asker.errno(first.target, PATIENT).await?, 0);
        tokio::time::sleep(SHORT).await;
        let errno = asker.errno(first.target, PATIENT).await?;
        assert_eq!(errno, 0, "while the first is not answered");
        assert_eq!(
            asker.errno(second.target, SHORT).await?,
            0,
            "another flow is"
        );
        Ok(())
    })
    .await
}

/// Tells this test program that it runs without the capability that it names.
const WITHOUT: &str = "DETECTOR_TEST_WITHOUT";

/// The program runs itself again without the capability: a thread alone cannot lose it here.
#[tokio::test]
async fn without_a_capability_a_flow_is_not_asked() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        if env::var_os(WITHOUT).is_some() {
            let lab = ready(2).await?;
            let (us, peer) = (lab.host(1), lab.host(2));
            let mut asker = Asker::on(us)?;
            let pair = pair(us, peer, peer.v4())?;
            assert_eq!(target(&pair.ours)?, pair.target);
            let errno = asker.errno(pair.target, PATIENT).await?;
            assert_eq!(errno, EPERM as u32);
            return Ok(());
        }
        // CAP_SYS_ADMIN, which the lab needs, stands for CAP_BPF and CAP_PERFMON.
        let test = "limits::without_a_capability_a_flow_is_not_asked";
        let output = Command::new("setpriv")
            .args(["--bounding-set=-net_raw", "--inh-caps=-net_raw", "--"])
            .arg(env::current_exe()?)
            .args(["--exact", test, "--nocapture"])
            .env(WITHOUT, "net_raw")
            .output()
            .context("cannot run setpriv: is util-linux installed?")?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "{said}{output:?}");
        ensure!(said.contains("1 passed"), "{said}");
        Ok(())
    })
    .await
}
