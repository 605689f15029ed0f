//! The lab itself: what is reachable, what is not, and what is left.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr, UdpSocket},
    panic,
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
        let mut sleeper = first.host(1).command("sleep").arg("600").spawn()?;
        let names = first.namespaces().to_vec();
        assert_eq!(names.len(), 3);
        first.cut(&[2], Cut::PortDown)?;
        assert_eq!(Wire::new(&second, 1, 2, false)?.arriving(3)?, 3);
        drop(first);
        for name in names {
            let path = format!("{}/{name}", command::NETNS);
            assert!(!std::path::Path::new(&path).exists(), "{path} is left");
        }
        assert!(!sleeper.wait()?.success(), "the process in it was killed");
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

#[test]
fn a_lab_of_no_hosts_or_too_many_is_refused() {
    assert!(Lab::new(0).is_err());
    assert!(Lab::new(MAX_HOSTS + 1).is_err());
}
