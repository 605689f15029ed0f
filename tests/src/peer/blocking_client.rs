//! A client with blocking calls and no time-outs.

use std::{
    convert::Infallible,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use anyhow::Context as _;
use nix::sys::socket::{setsockopt, sockopt::TcpUserTimeout};

use super::event::{Event, OkReporter};
use crate::clock;

const RECONNECT_PAUSE: Duration = Duration::from_millis(200);

/// Between two requests of one connection.
const REQUEST_PAUSE: Duration = Duration::from_millis(20);
/// Ends the head of an answer; the answers awaited here have no body.
const END: &[u8] = b"\r\n\r\n";

/// An unmodified program: blocking calls, no time-outs. It reports [`Event::Ok`] when it has sent
/// its request (or, with whole requests, when one was answered), and [`Event::Error`] when its read
/// or a connect has returned. The error begins with `read` or `connect`, and `started_ns` is when
/// that call began.
#[derive(Clone, Debug, clap::Args)]
pub struct BlockingClient {
    /// Address and port of the server.
    #[arg(long)]
    pub target: SocketAddr,
    /// Connections, each with a thread of its own.
    #[arg(long, default_value_t = 1)]
    pub connections: u32,
    /// Sends whole requests with bodies of this size, one after the other, and awaits each
    /// answer. Without it, one request that is never finished.
    #[arg(long, value_name = "BYTES")]
    pub body: Option<usize>,
    /// Dials anew for each request, as a client without a pool.
    #[arg(long, requires = "body")]
    pub redial: bool,
    /// `TCP_USER_TIMEOUT` of the connections: a program that somebody has changed.
    #[arg(long, value_name = "MS")]
    pub user_timeout_ms: Option<u32>,
}

impl BlockingClient {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        for number in 0..self.connections {
            let client = self.clone();
            thread::Builder::new()
                .name(format!("connection {number}"))
                .spawn(move || client.call_forever(number))
                .context("cannot start a thread for a connection")?;
        }
        std::future::pending().await
    }

    fn call_forever(&self, number: u32) {
        let reporter = OkReporter::default();
        loop {
            let Err((started, error)) = self.call(number, &reporter) else {
                thread::sleep(REQUEST_PAUSE);
                continue;
            };
            reporter.interrupted();
            Event::error(number, started, &error).say();
            // If the connection broke, it dials again at once, which shows how long that takes.
            if error.call == "connect" || error.source.raw_os_error().is_none() {
                thread::sleep(RECONNECT_PAUSE);
            }
        }
    }

    /// Makes calls on one connection until something fails (returns when it began, and the error)
    /// or, with a connection for each request, until the request was answered.
    fn call(&self, number: u32, reporter: &OkReporter) -> Result<(), (u64, Returned)> {
        let mut stream = timed("connect", || TcpStream::connect(self.target))?;
        if let Some(milliseconds) = self.user_timeout_ms {
            let set = || Ok(setsockopt(&stream, TcpUserTimeout, &milliseconds)?);
            timed("setsockopt", set)?;
        }
        let (at_ns, channel) = (clock::now_ns(), number);
        Event::Connected { at_ns, channel }.say();
        match self.body {
            Some(bytes) => self.requests(&mut stream, number, bytes, reporter),
            None => match self.wait_forever(&mut stream, number)? {},
        }
    }

    /// The body never comes, so neither does an answer.
    fn wait_forever(
        &self,
        stream: &mut TcpStream,
        channel: u32,
    ) -> Result<Infallible, (u64, Returned)> {
        let head = self.head(9);
        timed("write", || stream.write_all(head.as_bytes()))?;
        let at_ns = clock::now_ns();
        Event::Ok { at_ns, channel }.say();
        timed("read", || match stream.read(&mut [0; 1024]) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => Err(io::Error::other(format!("an answer of {bytes} bytes"))),
            Err(error) => Err(error),
        })
    }

    fn requests(
        &self,
        stream: &mut TcpStream,
        channel: u32,
        bytes: usize,
        reporter: &OkReporter,
    ) -> Result<(), (u64, Returned)> {
        let mut request = self.head(bytes).into_bytes();
        request.resize(request.len() + bytes, 0);
        loop {
            timed("write", || stream.write_all(&request))?;
            timed("read", || read_head(stream))?;
            reporter.ok(channel);
            if self.redial {
                return Ok(());
            }
            thread::sleep(REQUEST_PAUSE);
        }
    }

    fn head(&self, bytes: usize) -> String {
        let target = self.target;
        format!("POST /upload HTTP/1.1\r\nhost: {target}\r\ncontent-length: {bytes}\r\n\r\n")
    }
}

/// A blocking call that returned although it should not have.
#[derive(Debug, thiserror::Error)]
#[error("{call}")]
struct Returned {
    call: &'static str,
    source: io::Error,
}

/// Makes a call; if it fails, the error contains when the call began.
fn timed<T>(
    call: &'static str,
    make: impl FnOnce() -> io::Result<T>,
) -> Result<T, (u64, Returned)> {
    let started = clock::now_ns();
    make().map_err(|source| (started, Returned { call, source }))
}

/// Reads until the head of an answer has ended.
fn read_head(stream: &mut TcpStream) -> io::Result<()> {
    let mut answer = Vec::new();
    let mut bytes = [0; 1024];
    while !answer.ends_with(END) {
        match stream.read(&mut bytes)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => answer.extend_from_slice(&bytes[..length]),
        }
    }
    Ok(())
}
