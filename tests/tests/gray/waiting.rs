//! A call waits for its reply on a flow that a middlebox has forgotten: nothing is sent on it, so no
//! retransmission shows it.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use anyhow::Context as _;
use detector_api::v1::Reason;
use detector_tests::{
    PEER_PORT, Trio, clock, testbed,
    trio::{A_WHILE, SOON},
};

use crate::LIMIT;

/// What a client of HTTP/2 says first, and its acknowledgement of the server's settings: the server
/// owes nothing after that, which on the client's side looks like a call that waits.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const SETTINGS_ACK: &[u8] = b"\0\0\0\x04\x01\0\0\0\0";

/// By then the daemon has seen that a call waits: a socket snapshot comes once in the idle probe
/// interval, and a call is probed half a second after it began.
const KNOWN: Duration = Duration::from_secs(2);

/// A connection on which a call waits, and its port.
fn waiting(trio: &Trio) -> anyhow::Result<(TcpStream, u16)> {
    let peer = SocketAddr::from((trio.lab().host(2).v4(), PEER_PORT));
    let mut stream = trio.lab().host(1).within(|| TcpStream::connect(peer))??;
    stream.write_all(PREFACE)?;
    stream.set_read_timeout(Some(Duration::from_millis(300)))?;
    // All that the server says by itself.
    let mut said = [0; 1024];
    loop {
        match stream.read(&mut said) {
            Ok(0) => anyhow::bail!("the server closed the connection"),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error.into()),
        }
    }
    stream.write_all(SETTINGS_ACK)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let port = stream.local_addr()?.port();
    Ok((stream, port))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_on_a_forgotten_flow_returns() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let trio = Trio::new().await?;
        let (mut stream, port) = waiting(&trio)?;
        tokio::time::sleep(KNOWN).await;
        let call = thread::spawn(move || stream.read(&mut [0; 1]));
        let begun = clock::now_ns();
        let fault = trio.lab().lose_flow(1, port, true)?;
        let degraded = trio.degrades(begun, Reason::FlowsStalled).await?;
        assert_eq!(degraded.state.stalled_flows, 1, "{degraded:?}");
        testbed::until("the call returns", SOON, async || {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Ok(call.is_finished().then_some(()))
        })
        .await?;
        let returned_at = clock::now_ns();
        println!(
            "the call returned after {:?}",
            clock::between(begun, returned_at)
        );
        let returned = call.join().ok().context("the call panicked")?;
        let error = returned.expect_err("the peer said something");
        assert_eq!(error.kind(), ErrorKind::ConnectionAborted, "{error}");
        trio.recovers(clock::now_ns()).await?;
        drop(fault);
        trio.scene.daemon.stop().await
    })
    .await
}

/// However long it waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_on_a_good_flow_is_left_alone() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let trio = Trio::new().await?;
        let (mut stream, _) = waiting(&trio)?;
        stream.set_read_timeout(Some(A_WHILE))?;
        let call = thread::spawn(move || stream.read(&mut [0; 1]));
        trio.daemon().never_dead(&trio.peer(), A_WHILE).await?;
        let ended = call.join().ok().context("the call panicked")?;
        let error = ended.expect_err("the peer said something");
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
        trio.scene.daemon.stop().await
    })
    .await
}
