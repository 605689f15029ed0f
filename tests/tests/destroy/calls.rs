//! The effects on a program that was blocked.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    thread,
};

use detector_tests::{Cut, Traffic, peer::Event, testbed};
use detector_user::{clock, model::TcpState, netlink::sock_diag::Socket};

use super::{LIMIT, SOON, Stand, assert_aborted, blocked, result};

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_read_returns_econnaborted() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let mut stand = Stand::new()?;
        let mut pair = stand.connect(stand.v4())?;
        let other = stand.connect(stand.v4())?;
        let named = stand.named(&pair.ours)?;
        stand.lab.cut(&[2], Cut::SilentDrop)?;
        pair.ours.write_all(b"a request")?;
        let ours = pair.ours.try_clone()?;
        let read = blocked(move || (&ours).read(&mut [0; 16])).await?;

        let asked = clock::now();
        assert_eq!(stand.destroy(asked, &[named]).await?, result(1, 0, 0, 0));
        println!("answered after {:?}", clock::now().since(asked));
        let returned = read.join().expect("the thread does not panic");
        println!("the read returned within {:?}", clock::now().since(asked));
        assert_aborted(returned);
        assert!(!stand.is_there(named.1)?);
        // It was not in the request.
        let (_, cookie) = stand.named(&other.ours)?;
        assert!(stand.is_there(cookie)?);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connect_that_nobody_answers_returns_too() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let mut stand = Stand::new()?;
        let addr = stand.v4();
        stand.lab.cut(&[2], Cut::SilentDrop)?;
        let host = stand.lab.host(1).clone();
        let connect = thread::spawn(move || host.within(|| TcpStream::connect(addr)));
        let named = testbed::until("a SYN is sent", SOON, async || {
            let sockets = stand.sockets()?;
            let connecting = |socket: &&Socket| socket.reading.state == TcpState::SynSent;
            let found = sockets.iter().find(connecting);
            Ok(found.map(|socket| (socket.reading.id, socket.reading.cookie)))
        })
        .await?;
        let told = stand.destroy(clock::now(), &[named]).await?;
        assert_eq!(told, result(1, 0, 0, 0));
        let returned = connect.join().expect("the thread does not panic")?;
        assert_aborted(returned);
        Ok(())
    })
    .await
}

/// The effect on a program without its own time-outs.
#[tokio::test(flavor = "multi_thread")]
async fn an_unmodified_program_gets_its_calls_back() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let mut stand = Stand::new()?;
        let client = Traffic::blocking_client(stand.lab.host(1), stand.lab.host(2), 2).await?;
        let cut = stand.lab.cut(&[2], Cut::SilentDrop)?;
        // The request was sent, so both wait in read(); then both dial again, in vain.
        for (call, state) in [
            ("read", TcpState::Established),
            ("connect", TcpState::SynSent),
        ] {
            let named = testbed::until("both wait", SOON, async || {
                let sockets = stand.sockets()?;
                let waiting = sockets.iter().filter(|s| s.reading.state == state);
                let named: Vec<_> = waiting.map(|s| (s.reading.id, s.reading.cookie)).collect();
                Ok((named.len() == 2).then_some(named))
            })
            .await?;
            let told = stand.destroy(clock::now(), &named).await?;
            assert_eq!(told, result(2, 0, 0, 0), "{call}");
            for connection in 0..2 {
                let error = client.event(cut.at_ns, SOON, |event| match event {
                    Event::Error { channel, error, .. } if *channel == connection => {
                        error.starts_with(call).then(|| error.clone())
                    }
                    _ => None,
                });
                let error = error.await?;
                assert!(error.contains("os error 103"), "{error}");
            }
        }
        Ok(())
    })
    .await
}

/// No program waits for them, but they hold memory and ports for minutes.
#[tokio::test(flavor = "multi_thread")]
async fn orphans_are_destroyed() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let mut stand = Stand::new()?;
        let fin_wait_1 = stand.connect(stand.v4())?;
        let mut last_ack = stand.connect(stand.v4())?;
        last_ack.theirs.shutdown(Shutdown::Write)?;
        assert_eq!(last_ack.ours.read(&mut [0])?, 0);
        let named = [stand.named(&fin_wait_1.ours)?, stand.named(&last_ack.ours)?];
        stand.lab.cut(&[2], Cut::SilentDrop)?;
        drop((fin_wait_1.ours, last_ack.ours));
        // A program that is just being started by another test holds a copy of the descriptors.
        testbed::until("both are closing", SOON, async || {
            let sockets = stand.sockets()?;
            let mut states = sockets.iter().map(|socket| socket.reading.state);
            let all = states.all(|state| state == TcpState::Closing);
            Ok(all.then_some(()))
        })
        .await?;
        let told = stand.destroy(clock::now(), &named).await?;
        assert_eq!(told, result(2, 0, 0, 0));
        for (_, cookie) in named {
            assert!(!stand.is_there(cookie)?);
        }
        Ok(())
    })
    .await
}
