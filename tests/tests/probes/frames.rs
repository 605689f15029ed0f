//! Which cards a neighbour probe goes to: the frames as the other hosts of the link see them.

use std::{
    net::IpAddr,
    os::fd::{AsRawFd as _, OwnedFd},
};

use detector_tests::{Cut, Host, testbed};
use detector_user::model::ProbeAnswer;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, socket};

use super::{Asker, LIMIT, SHORT, card, ready};

/// Questions about neighbours, as they come to one host.
struct Questions(OwnedFd);

impl Questions {
    fn to(host: &Host) -> anyhow::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (domain, all) = (AddressFamily::Packet, SockProtocol::EthAll);
        let socket = host.within(|| socket(domain, SockType::Raw, flags, all))??;
        Ok(Self(socket))
    }

    /// The cards to which requests for this address were sent since the last call; a group address
    /// is `None`.
    fn about(&self, addr: IpAddr) -> Vec<Option<[u8; 6]>> {
        let mut asked = Vec::new();
        let mut frame = [0; 256];
        while let Ok(length) = recv(self.0.as_raw_fd(), &mut frame, MsgFlags::empty()) {
            if is_question(&frame[..length.min(256)], addr) {
                let to: Option<[u8; 6]> = frame[..6].try_into().ok();
                asked.push(to.filter(|card| card[0] & 1 == 0));
            }
        }
        asked
    }
}

/// An ARP request or a neighbour solicitation for this address.
fn is_question(frame: &[u8], addr: IpAddr) -> bool {
    let part = |range| frame.get(range).unwrap_or_default();
    match addr {
        IpAddr::V4(addr) => {
            part(12..14) == [8, 6] && part(20..22) == [0, 1] && part(38..42) == addr.octets()
        }
        IpAddr::V6(addr) => {
            part(12..14) == [0x86, 0xdd] && part(54..55) == [135] && part(62..78) == addr.octets()
        }
    }
}

const ROUNDS: usize = 10;

#[tokio::test]
async fn a_peer_that_answers_is_asked_alone() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(3).await?;
        let (peer, bystander) = (lab.host(2), lab.host(3));
        let mut asker = Asker::on(lab.host(1))?;
        let card = card(peer)?;
        for addr in [IpAddr::from(peer.v4()), peer.v6().into()] {
            let (at_peer, at_bystander) = (Questions::to(peer)?, Questions::to(bystander)?);
            let target = asker.neighbour(addr);
            // Nobody knows its card.
            assert_eq!(asker.answer(target).await?, ProbeAnswer::Neighbour(card));
            assert_eq!(at_peer.about(addr), [None], "{addr}");
            at_bystander.about(addr);
            for _ in 0..ROUNDS {
                assert_eq!(asker.answer(target).await?, ProbeAnswer::Neighbour(card));
            }
            assert_eq!(at_peer.about(addr), [Some(card.0); ROUNDS], "{addr}");
            assert_eq!(at_bystander.about(addr), [], "{addr}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_card_that_the_kernel_knows_is_asked_first() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let card = card(peer)?;
        for addr in [IpAddr::from(peer.v4()), peer.v6().into()] {
            let (to, lladdr) = (addr.to_string(), card.to_string());
            let entry = ["neigh", "replace", &to, "dev", "eth0", "lladdr", &lladdr];
            us.exec("ip", &[&entry[..], &["nud", "stale"]].concat())?;
            let questions = Questions::to(peer)?;
            let mut asker = Asker::on(us)?;
            let answer = asker.answer(asker.neighbour(addr)).await?;
            assert_eq!(answer, ProbeAnswer::Neighbour(card));
            assert_eq!(questions.about(addr), [Some(card.0)], "{addr}");
        }
        Ok(())
    })
    .await
}

/// The address moves to another host while its own is cut off.
#[tokio::test]
async fn all_are_asked_after_a_silence_and_then_the_new_card() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(3).await?;
        let (peer, other) = (lab.host(2), lab.host(3));
        let mut asker = Asker::on(lab.host(1))?;
        let (old, new) = (card(peer)?, card(other)?);
        let targets = [
            (IpAddr::from(peer.v4()), format!("{}/24", peer.v4())),
            (peer.v6().into(), format!("{}/64", peer.v6())),
        ];
        for (addr, _) in &targets {
            let answer = asker.answer(asker.neighbour(*addr)).await?;
            assert_eq!(answer, ProbeAnswer::Neighbour(old));
        }
        lab.cut(&[2], Cut::SilentDrop)?;
        for (_, prefix) in &targets {
            other.exec("ip", &["addr", "add", prefix, "dev", "eth0", "nodad"])?;
        }
        for (addr, _) in targets {
            let target = asker.neighbour(addr);
            // The one question that goes to the card of old.
            asker.silence(&[target], SHORT).await?;
            let questions = Questions::to(other)?;
            for _ in 0..2 {
                assert_eq!(asker.answer(target).await?, ProbeAnswer::Neighbour(new));
            }
            assert_eq!(questions.about(addr), [None, Some(new.0)], "{addr}");
        }
        Ok(())
    })
    .await
}
