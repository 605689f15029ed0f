//! Segments that must not count as an answer.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use anyhow::Context as _;
use detector_tests::{Cut, Loss, testbed};
use detector_user::{
    model::{ProbeAnswer, ProbeTarget},
    source::{ebpf::SequenceReader, probe::LEAST_SPACING},
};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::{
    A_WHILE, Asker, LIMIT, PATIENT, Pair, SHORT,
    answers::{fill, nft},
    pair, ready,
};

#[tokio::test]
async fn a_cut_host_answers_nothing_until_it_is_back() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let mut asker = Asker::on(us)?;
        for cut in Cut::ALL {
            let pair = pair(us, peer, peer.v4())?;
            assert_eq!(asker.answer(pair.target).await?, ProbeAnswer::Ack);
            lab.cut(&[2], cut)?;
            tokio::time::sleep(LEAST_SPACING).await;
            for _ in 0..2 {
                let silent = asker.silence(&[pair.target], SHORT).await;
                silent.with_context(|| cut.as_str())?;
            }
            lab.heal(&[2])?;
            assert_eq!(asker.answer(pair.target).await?, ProbeAnswer::Ack);
        }
        Ok(())
    })
    .await
}

/// Everything that this node sends is lost, while the peer continues to send: data, which it
/// retransmits, and keepalives.
#[tokio::test]
async fn a_deaf_peer_that_sends_does_not_answer() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let mut asker = Asker::on(us)?;
        let Pair {
            mut ours,
            mut theirs,
            target,
        } = pair(us, peer, peer.v4())?;
        let idle = pair(us, peer, peer.v4())?;
        let every = Duration::from_secs(1);
        let keepalive = TcpKeepalive::new().with_time(every).with_interval(every);
        SockRef::from(&idle.theirs).set_tcp_keepalive(&keepalive)?;
        let sender = thread::spawn(move || {
            // Ends with the error that the end of the test brings, or the time-out.
            while theirs.write_all(&[1; 1000]).is_ok() {
                thread::sleep(Duration::from_millis(1));
            }
        });
        let reader = thread::spawn(move || {
            let (mut got, mut buffer) = (0, [0; 4096]);
            while let Ok(length @ 1..) = ours.read(&mut buffer) {
                got += length;
            }
            got
        });
        assert_eq!(asker.answer(target).await?, ProbeAnswer::Ack);
        nft(peer, "input", "drop")?;
        tokio::time::sleep(LEAST_SPACING).await;
        for _ in 0..4 {
            asker.silence(&[target], SHORT).await?;
            asker.silence(&[idle.target], SHORT).await?;
        }
        peer.exec("nft", &["flush ruleset"])?;
        assert_eq!(asker.answer(target).await?, ProbeAnswer::Ack);
        assert_eq!(asker.answer(idle.target).await?, ProbeAnswer::Ack);
        // Ends both: the sockets are the peer's and ours.
        peer.exec("nft", &["flush ruleset"])?;
        lab.cut(&[2], Cut::SilentDrop)?;
        sender.join().expect("the sender panicked");
        let got = reader.join().expect("the reader panicked");
        println!("{got} bytes came while it was asked");
        Ok(())
    })
    .await
}

/// Everything that this node sends is lost, and the peer's program reads earlier data: its kernel
/// announces each new window with segments that look like answers.
#[tokio::test]
async fn a_new_window_is_no_answer() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(2).await?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let mut asker = Asker::on(us)?;
        let reader = SequenceReader::load()?;
        let Pair {
            mut ours,
            mut theirs,
            target,
        } = pair(us, peer, peer.v4())?;
        fill(&mut ours)?;
        let window = || -> anyhow::Result<u32> {
            let ProbeTarget::Flow { flow, .. } = target else {
                unreachable!("a pair is a flow");
            };
            let read = us.within(|| reader.read(&flow))??;
            Ok(read.context("the flow is gone")?.snd_wnd)
        };
        assert_eq!(window()?, 0);
        // From here on no segment of ours gets there.
        lab.drops(1, Some(Loss::AllFrom))?;
        for share in [3, 1] {
            let before = window()?;
            assert_eq!(asker.errno(target, SHORT).await?, 0);
            // Now it makes room, while the question waits.
            let mut room = vec![0; readable(&theirs)? / share];
            theirs.read_exact(&mut room)?;
            let quiet = asker.quiet(SHORT + A_WHILE).await;
            quiet.with_context(|| format!("after 1 of {share}"))?;
            assert_ne!(window()?, before, "the peer told of no window");
            tokio::time::sleep(LEAST_SPACING).await;
        }
        lab.drops(1, None)?;
        assert_eq!(asker.answer(target).await?, ProbeAnswer::Ack);
        Ok(())
    })
    .await
}

/// Another host sends answers in the peer's name, with numbers that it guesses.
#[tokio::test]
async fn a_guessed_answer_is_none() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = ready(3).await?;
        let (us, peer, other) = (lab.host(1), lab.host(2), lab.host(3));
        let mut asker = Asker::on(us)?;
        let pair = pair(us, peer, peer.v4())?;
        assert_eq!(asker.answer(pair.target).await?, ProbeAnswer::Ack);
        tokio::time::sleep(LEAST_SPACING).await;
        let (from, to) = (pair.ours.peer_addr()?, pair.ours.local_addr()?);
        lab.cut(&[2], Cut::SilentDrop)?;
        // Probes go on to the silent peer: the other host's kernel would reset a flow that it does
        // not know, with the right number.
        let at = peer.v4().to_string();
        us.exec(
            "ip",
            &["neigh", "change", &at, "dev", "eth0", "nud", "permanent"],
        )?;
        // It has the address now, so that what it sends is not dropped as coming from nowhere.
        let addr = format!("{at}/32");
        other.exec("ip", &["addr", "add", &addr, "dev", "eth0"])?;
        assert_eq!(asker.errno(pair.target, PATIENT).await?, 0);
        let socket = other.within(|| raw(from.ip(), to.ip()))??;
        let guess = |number: u32| number.wrapping_mul(0x9e37_79b9);
        for number in 0..20_000 {
            let flags = if number % 2 == 0 { ACK } else { RST };
            let ats = [guess(number), guess(number + 7)];
            let segment = bare_segment(from, to, ats, flags);
            socket.send(&segment)?;
        }
        let guesses = us.exec("nstat", &["-as", "TcpInSegs"])?;
        println!("{guesses}");
        asker.quiet(A_WHILE).await
    })
    .await
}

const ACK: u8 = 0x10;
const RST: u8 = 0x04;

/// A raw socket of one host that speaks to another.
fn raw(from: IpAddr, to: IpAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP))?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    socket.connect(&SocketAddr::new(to, 0).into())?;
    Ok(socket)
}

/// A segment without options; raw sockets that receive it do not check its checksum.
fn bare_segment(from: SocketAddr, to: SocketAddr, ats: [u32; 2], flags: u8) -> Vec<u8> {
    let mut segment = [from.port(), to.port()].map(u16::to_be_bytes).concat();
    segment.extend(ats.map(u32::to_be_bytes).concat());
    segment.extend([5 << 4, flags, 0, 64, 0, 0, 0, 0]);
    segment
}

/// How much there is to read.
fn readable(stream: &TcpStream) -> anyhow::Result<usize> {
    let mut buffer = vec![0; 16 << 20];
    Ok(stream.peek(&mut buffer)?)
}
