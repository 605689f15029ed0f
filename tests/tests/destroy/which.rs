//! Which sockets are destroyed, and which are spared.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use anyhow::ensure;
use detector_tests::{PEER_PORT, testbed};
use detector_user::{clock, model::FlowId};
use nix::sys::{
    resource::{Resource, getrlimit, setrlimit},
    socket::{self as sys, AddressFamily, SockFlag, SockType, sockopt},
};

use super::{LIMIT, Pair, Stand, assert_aborted, result};

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_has_spoken_since_keeps_all_its_sockets() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let mut stand = Stand::new()?;
        let mut pairs = Vec::new();
        for _ in 0..3 {
            pairs.push(stand.connect(stand.v4())?);
        }
        let mut named = Vec::new();
        for pair in &pairs {
            named.push(stand.named(&pair.ours)?);
        }
        let silent_since = clock::now();
        // Longer than the resolution of what the kernel says.
        tokio::time::sleep(Duration::from_millis(60)).await;
        pairs[1].theirs.write_all(b"x")?;
        pairs[1].ours.read_exact(&mut [0])?;

        let told = stand.destroy(silent_since, &named).await?;
        assert_eq!(told, result(0, 3, 0, 0));
        for pair in &mut pairs {
            pair.theirs.write_all(b"y")?;
            pair.ours.read_exact(&mut [0])?;
        }

        // Nor are they if the one that heard was not to be destroyed.
        let told = stand.destroy(silent_since, &named[2..]).await?;
        assert_eq!(told, result(0, 1, 0, 0));

        // It was that, and nothing else, that spared them.
        let told = stand.destroy(clock::now(), &named).await?;
        assert_eq!(told, result(3, 0, 0, 0));
        for mut pair in pairs {
            assert_aborted(pair.ours.read(&mut [0]));
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_socket_is_destroyed() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let mut stand = Stand::new()?;
        let (us, peer) = (stand.lab.host(1).clone(), stand.lab.host(2).clone());
        let at = |ip: IpAddr| SocketAddr::new(ip, PEER_PORT);

        let v4 = stand.connect(at(peer.v4().into()))?;
        let v6 = stand.connect(at(peer.v6().into()))?;
        let mapped = stand.connect(at(peer.v4().to_ipv6_mapped().into()))?;
        let listener = us.within(|| TcpListener::bind(at(Ipv6Addr::UNSPECIFIED.into())))??;
        let theirs = peer.within(|| TcpStream::connect(at(us.v4().into())))??;
        let (ours, _) = listener.accept()?;
        let accepted = Pair { ours, theirs };
        let ours = us.within(|| bound_to_device("eth0", at(peer.v4().into())))??;
        let (theirs, _) = stand.listener.accept()?;
        let bound = Pair { ours, theirs };

        for (what, pair) in [
            ("IPv4", v4),
            ("IPv6", v6),
            ("dialled as v4-mapped", mapped),
            ("accepted as v4-mapped", accepted),
            ("bound to a device", bound),
        ] {
            let named = stand.named(&pair.ours)?;
            let told = stand.destroy(clock::now(), &[named]).await?;
            assert_eq!(told, result(1, 0, 0, 0), "{what}");
            let mut ours = pair.ours;
            assert_aborted(ours.read(&mut [0]));
        }
        Ok(())
    })
    .await
}

/// SO_BINDTODEVICE, as in a VRF.
fn bound_to_device(device: &str, addr: SocketAddr) -> anyhow::Result<TcpStream> {
    let family = match addr {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let socket = sys::socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    sys::setsockopt(&socket, sockopt::BindToDevice, &device.into())?;
    let addr = sys::SockaddrStorage::from(addr);
    sys::connect(std::os::fd::AsRawFd::as_raw_fd(&socket), &addr)?;
    Ok(TcpStream::from(socket))
}

/// Its ports may be another connection's by now.
#[tokio::test(flavor = "multi_thread")]
async fn another_cookie_is_another_socket() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let mut stand = Stand::new()?;
        let mut pair = stand.connect(stand.v4())?;
        let (flow, cookie) = stand.named(&pair.ours)?;
        let told = stand.destroy(clock::now(), &[(flow, cookie + 1)]).await?;
        assert_eq!(told, result(0, 0, 1, 0));
        let told = stand
            .destroy(clock::now(), &[(flow, 0), (flow, u64::MAX)])
            .await?;
        assert_eq!(told, result(0, 0, 0, 2));
        pair.theirs.write_all(b"x")?;
        pair.ours.read_exact(&mut [0])?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_namespace_is_out_of_reach() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let mut stand = Stand::new()?;
        let mut elsewhere = Stand::new()?;
        let mut pair = elsewhere.connect(elsewhere.v4())?;
        let (flow, cookie) = elsewhere.named(&pair.ours)?;
        let told = stand.destroy(clock::now(), &[(flow, cookie)]).await?;
        assert_eq!(told, result(0, 0, 0, 1));
        let unknown = FlowId { netns: 0, ..flow };
        let told = stand.destroy(clock::now(), &[(unknown, cookie)]).await?;
        assert_eq!(told, result(0, 0, 1, 0));
        pair.theirs.write_all(b"x")?;
        pair.ours.read_exact(&mut [0])?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_sockets_in_one_request() -> anyhow::Result<()> {
    const SOCKETS: usize = 2000;
    testbed::run(LIMIT, async {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let needed = 2 * SOCKETS as u64 + 200;
        ensure!(
            hard >= needed,
            "needs {needed} files, the hard limit is {hard}"
        );
        setrlimit(Resource::RLIMIT_NOFILE, soft.max(needed), hard)?;

        let mut stand = Stand::new()?;
        let addr = stand.v4();
        let listener = stand.listener.try_clone()?;
        let accept = thread::spawn(move || -> io::Result<Vec<TcpStream>> {
            (0..SOCKETS).map(|_| Ok(listener.accept()?.0)).collect()
        });
        let connect = || -> io::Result<Vec<TcpStream>> {
            (0..SOCKETS).map(|_| TcpStream::connect(addr)).collect()
        };
        let mut ours = stand.lab.host(1).within(connect)??;
        let _theirs = accept.join().expect("the thread does not panic")?;
        let begun = clock::now();
        let sockets = stand.sockets()?;
        println!(
            "one look at {}: {:?}",
            sockets.len(),
            clock::now().since(begun)
        );
        let named: Vec<_> = sockets
            .iter()
            .map(|socket| (socket.reading.id, socket.reading.cookie))
            .collect();
        assert_eq!(named.len(), SOCKETS);

        let begun = clock::now();
        let told = stand.destroy(begun, &named).await?;
        println!("{SOCKETS} destroyed: {:?}", clock::now().since(begun));
        assert_eq!(told, result(SOCKETS as u32, 0, 0, 0));
        for stream in &mut ours {
            assert_aborted(stream.read(&mut [0]));
        }
        Ok(())
    })
    .await
}
