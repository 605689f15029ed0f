//! Tests of the lab itself: what is reachable, what is not, and what remains afterwards.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    panic,
    process::Stdio,
    time::Duration,
};

use super::*;
use crate::testbed;

const LIMIT: Duration = Duration::from_secs(60);
const PORT: u16 = 7000;

/// A UDP socket on each of two hosts; datagrams show what the network does to one frame.
struct Wire {
    from: UdpSocket,
    to: UdpSocket,
    to_address: SocketAddr,
}

impl Wire {
    fn new(lab: &Lab, from: usize, to: usize, v6: bool) -> anyhow::Result<Self> {
        let address = |host: &Host| -> IpAddr {
            if v6 {
                host.v6().into()
            } else {
                host.v4().into()
            }
        };
        let bind = |host: &Host, port: u16| -> anyhow::Result<UdpSocket> {
            let address = address(host);
            Ok(host.within(|| UdpSocket::bind((address, port)))??)
        };
        Ok(Self {
            from: bind(lab.host(from), 0)?,
            to: bind(lab.host(to), PORT)?,
            to_address: SocketAddr::new(address(lab.host(to)), PORT),
        })
    }

    /// How many of these datagrams arrive.
    fn arriving(&self, datagrams: usize) -> io::Result<usize> {
        // Delivery over veth is synchronous but for address resolution.
        self.to.set_read_timeout(Some(Duration::from_millis(300)))?;
        let mut arrived = 0;
        for _ in 0..datagrams {
            // A cut may be told to the sender as an error.
            let _sent = self.from.send_to(b"frame", self.to_address);
        }
        for _ in 0..datagrams {
            match self.to.recv(&mut [0; 16]) {
                Ok(_) => arrived += 1,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(arrived)
    }

    /// Whether the next datagram arrives.
    fn arrives(&self) -> io::Result<bool> {
        Ok(self.one_way(Duration::from_millis(20))?.is_some())
    }

    /// How long one datagram takes, if it arrives within this time.
    fn one_way(&self, within: Duration) -> io::Result<Option<Duration>> {
        let begun = clock::now_ns();
        self.to.set_read_timeout(Some(within))?;
        // A cut, or one that was, may be told to the sender as an error.
        while self.from.send_to(b"frame", self.to_address).is_err() {
            if clock::between(begun, clock::now_ns()) > within {
                return Ok(None);
            }
        }
        match self.to.recv(&mut [0; 16]) {
            Ok(_) => Ok(Some(clock::between(begun, clock::now_ns()))),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[tokio::test]
async fn hosts_reach_each_other_and_a_cut_really_cuts() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(3)?;
        for v6 in [false, true] {
            let cut_off = Wire::new(&lab, 1, 2, v6)?;
            let bystander = Wire::new(&lab, 1, 3, v6)?;
            for cut in Cut::ALL {
                let case = format!("{} v6={v6}", cut.as_str());
                assert_eq!(cut_off.arriving(5)?, 5, "before {case}");
                let moment = lab.cut(&[2], cut)?;
                println!("{case}: cut within {:?}", moment.took);
                assert_eq!(cut_off.arriving(5)?, 0, "during {case}");
                assert_eq!(bystander.arriving(5)?, 5, "bystander during {case}");
                let moment = lab.heal(&[2])?;
                println!("{case}: healed within {:?}", moment.took);
                assert_eq!(cut_off.arriving(5)?, 5, "after {case}");
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn only_a_port_that_is_down_takes_the_carrier() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(2)?;
        let carrier = |host| lab.host(host).exec("ip", &["-o", "link", "show", "eth0"]);
        lab.cut(&[2], Cut::SilentDrop)?;
        assert!(carrier(2)?.contains("LOWER_UP"));
        lab.heal(&[2])?;
        lab.cut(&[2], Cut::PortDown)?;
        assert!(carrier(2)?.contains("NO-CARRIER"));
        assert!(carrier(1)?.contains("LOWER_UP"), "the others keep theirs");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn loss_drops_its_share_and_ends() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(2)?;
        let there = Wire::new(&lab, 1, 2, false)?;
        assert_eq!(there.arriving(100)?, 100);
        lab.loss(2, 30)?;
        let mut arrived = 0;
        for _ in 0..10 {
            arrived += there.arriving(100)?;
        }
        // 700 expected, deviation 14.5: ten deviations on each side.
        assert!((550..850).contains(&arrived), "{arrived} of 1000 arrived");
        lab.loss(2, 0)?;
        assert_eq!(there.arriving(100)?, 100);
        assert!(lab.loss(2, 101).is_err());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn two_labs_do_not_meet_and_nothing_is_left() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let first = Lab::new(2)?;
        let second = Lab::new(2)?;
        let mut echo = first
            .host(1)
            .command("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (mut stdin, stdout) = (echo.stdin.take(), echo.stdout.take());
        stdin.as_mut().context("no stdin")?.write_all(b"!")?;
        // The process has entered the namespace once it answers.
        stdout.context("no stdout")?.read_exact(&mut [0])?;
        let names = first.namespaces().to_vec();
        assert_eq!(names.len(), 3);
        first.cut(&[2], Cut::PortDown)?;
        assert_eq!(Wire::new(&second, 1, 2, false)?.arriving(3)?, 3);
        drop(first);
        for name in names {
            let path = format!("{}/{name}", command::NETNS);
            assert!(!std::path::Path::new(&path).exists(), "{path} is left");
        }
        drop(stdin);
        assert!(!echo.wait()?.success(), "the process in it was killed");
        assert_eq!(Wire::new(&second, 1, 2, false)?.arriving(3)?, 3);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_panic_removes_the_lab() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let lab = Lab::new(1).unwrap();
            tell.send(lab.namespaces().to_vec()).unwrap();
            panic::panic_any("on purpose");
        });
        assert!(thread.join().is_err());
        for name in told.recv()? {
            let path = format!("{}/{name}", command::NETNS);
            assert!(!std::path::Path::new(&path).exists(), "{path} is left");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_dead_owners_lab_is_swept_and_a_living_ones_is_not() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let mut owner = process::Command::new("true").spawn()?;
        let dead = Namespaces(vec![format!("{PREFIX}{}-1-h1", owner.id())]);
        owner.wait()?;
        dead.add()?;
        let living = Lab::new(1)?;
        let exists = |name: &String| std::path::Path::new(command::NETNS).join(name).exists();
        assert!(!dead.0.iter().any(exists), "the dead owner's is swept");
        let _next = Lab::new(1)?;
        assert!(living.namespaces().iter().all(exists));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn bursts_come_in_rows() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(2)?;
        let there = Wire::new(&lab, 1, 2, false)?;
        // Address resolution and its like pass the rule too.
        there.arriving(10)?;
        lab.drops(2, Some(Loss::Burst { lost: 20, of: 100 }))?;
        let lost: Vec<bool> = (0..200)
            .map(|_| there.arrives())
            .map(|arrives| arrives.map(|arrives| !arrives))
            .collect::<io::Result<_>>()?;
        let count = lost.iter().filter(|lost| **lost).count();
        assert!((35..=45).contains(&count), "{count} of 200 were lost");
        let rows = lost.windows(2).filter(|w| !w[0] && w[1]).count() + usize::from(lost[0]);
        assert!(rows <= 4, "{count} lost in {rows} rows");
        lab.drops(2, None)?;
        assert_eq!(there.arriving(100)?, 100);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn jitter_makes_frames_late_and_loses_none() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(3)?;
        let jitter = Duration::from_millis(200);
        lab.jitter(2, jitter)?;
        for v6 in [false, true] {
            let late = Wire::new(&lab, 1, 2, v6)?;
            let bystander = Wire::new(&lab, 1, 3, v6)?;
            // Address resolution is late too: it takes the first datagram's time.
            late.to.set_read_timeout(Some(Duration::from_secs(2)))?;
            assert!(late.one_way(Duration::from_secs(2))?.is_some());
            let times: Vec<Duration> = (0..60)
                .map(|_| late.one_way(Duration::from_secs(2)))
                .collect::<io::Result<Option<_>>>()?
                .expect("no frame is lost");
            let worst = times.iter().max().expect("60 times");
            let best = times.iter().min().expect("60 times");
            println!("v6={v6}: {best:?} to {worst:?}");
            // Of 60 uniform times, all below half of the jitter: one in 2^60.
            assert!(*worst > jitter / 2, "{worst:?}");
            assert!(*best < jitter / 2, "{best:?}");
            assert_eq!(bystander.arriving(5)?, 5);
        }
        let wire = Wire::new(&lab, 1, 2, false)?;
        for cut in Cut::ALL {
            lab.cut(&[2], cut)?;
            assert!(wire.one_way(jitter * 3)?.is_none(), "{cut:?}");
            lab.heal(&[2])?;
            assert!(wire.one_way(Duration::from_secs(5))?.is_some(), "{cut:?}");
        }
        lab.jitter(2, Duration::ZERO)?;
        let soon = wire.one_way(Duration::from_secs(5))?;
        assert!(soon.is_some());
        assert_eq!(wire.arriving(100)?, 100);
        Ok(())
    })
    .await
}

/// Segments that the sender's kernel left to the device to cut up and to sum: they pass the relay
/// as whole frames.
#[tokio::test]
async fn a_stream_passes_the_jitter_unharmed() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(2)?;
        lab.jitter(2, Duration::from_millis(5))?;
        let server = lab.host(2).within(|| TcpListener::bind("0.0.0.0:7001"))??;
        let reader = std::thread::spawn(move || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            server.accept()?.0.read_to_end(&mut bytes)?;
            Ok(bytes)
        });
        let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let mut client = lab
            .host(1)
            .within(|| TcpStream::connect((lab.host(2).v4(), 7001)))??;
        client.write_all(&sent)?;
        drop(client);
        let received = reader.join().expect("the reader does not panic")?;
        assert!(received == sent, "{} bytes arrived", received.len());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn hosts_behind_a_router_are_reached_through_it() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::routed(2, 2)?;
        assert_eq!(lab.host(3).v4().to_string(), "10.78.0.3");
        assert_eq!(
            lab.router().expect("a router").v4().to_string(),
            "10.77.0.254"
        );
        for v6 in [false, true] {
            let routed = Wire::new(&lab, 1, 3, v6)?;
            let sibling = Wire::new(&lab, 1, 4, v6)?;
            let near = Wire::new(&lab, 1, 2, v6)?;
            let back = Wire::new(&lab, 3, 1, v6)?;
            for cut in Cut::ALL {
                let case = format!("{} v6={v6}", cut.as_str());
                assert_eq!(routed.arriving(5)?, 5, "before {case}");
                lab.cut(&[3], cut)?;
                assert_eq!(routed.arriving(2)?, 0, "cut off behind the router, {case}");
                assert_eq!(back.arriving(2)?, 0, "nor does anything come back, {case}");
                assert_eq!(sibling.arriving(2)?, 2, "the router stays, {case}");
                lab.heal(&[3])?;
                lab.cut_router(Some(cut))?;
                assert_eq!(routed.arriving(2)?, 0, "the router is cut off, {case}");
                assert_eq!(near.arriving(2)?, 2, "the near ones stay, {case}");
                lab.cut_router(None)?;
                assert!(routed.one_way(Duration::from_secs(5))?.is_some(), "{case}");
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_hosts_own_link_and_the_whole_switch_can_fail() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::routed(3, 1)?;
        let shown = |host| lab.host(host).exec("ip", &["-o", "link", "show", "eth0"]);
        for v6 in [false, true] {
            let (from_us, routed) = (Wire::new(&lab, 1, 2, v6)?, Wire::new(&lab, 1, 4, v6)?);
            let others = Wire::new(&lab, 2, 3, v6)?;
            lab.own_link(1, false)?;
            assert!(shown(1)?.contains("state DOWN"), "{}", shown(1)?);
            assert_eq!(from_us.arriving(2)?, 0);
            assert_eq!(others.arriving(2)?, 2);
            lab.own_link(1, true)?;
            for wire in [&from_us, &routed] {
                assert!(wire.one_way(Duration::from_secs(5))?.is_some(), "v6={v6}");
            }
            lab.cut_switch(Cut::SilentDrop)?;
            assert!(shown(1)?.contains("LOWER_UP"), "the carrier stays");
            assert_eq!(from_us.arriving(2)? + others.arriving(2)?, 0);
            lab.heal_switch()?;
            assert!(
                from_us.one_way(Duration::from_secs(5))?.is_some(),
                "v6={v6}"
            );
        }
        Ok(())
    })
    .await
}

#[test]
fn a_lab_of_no_hosts_or_too_many_is_refused() {
    assert!(Lab::new(0).is_err());
    assert!(Lab::new(MAX_HOSTS + 1).is_err());
    assert!(Lab::routed(MAX_HOSTS, 1).is_err());
    assert!(Lab::routed(1, 0).is_err());
}
