use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use anyhow::Context as _;

use super::event::Event;
use crate::clock;

const RECONNECT_PAUSE: Duration = Duration::from_millis(200);

/// A program that nobody has changed: blocking calls, no time-outs. It says [`Event::Ok`] when
/// it has sent its request, and [`Event::Error`] when its read or a connect has returned; the
/// error begins with `read` or `connect`, `started_ns` is when that call began.
#[derive(Clone, Debug, clap::Args)]
pub struct BlockingClient {
    /// Address and port of the server.
    #[arg(long)]
    pub target: SocketAddr,
    /// Connections, each with a thread of its own.
    #[arg(long, default_value_t = 1)]
    pub connections: u32,
}

impl BlockingClient {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        for number in 0..self.connections {
            let target = self.target;
            thread::Builder::new()
                .name(format!("connection {number}"))
                .spawn(move || call_forever(target, number))
                .context("cannot start a thread for a connection")?;
        }
        std::future::pending().await
    }
}

fn call_forever(target: SocketAddr, number: u32) {
    loop {
        let (started, error) = call(target, number);
        Event::error(number, started, &error).say();
        // Dialled anew at once where the connection broke: that shows how long it takes.
        if error.call == "connect" || error.source.raw_os_error().is_none() {
            thread::sleep(RECONNECT_PAUSE);
        }
    }
}

/// A blocking call that returned, though it should not have.
#[derive(Debug, thiserror::Error)]
#[error("{call}")]
struct Returned {
    call: &'static str,
    source: io::Error,
}

/// One call, until something in it fails: what, and when that began.
fn call(target: SocketAddr, number: u32) -> (u64, Returned) {
    let mut started = clock::now_ns();
    let failed = |started, call, source| (started, Returned { call, source });
    let mut stream = match TcpStream::connect(target) {
        Ok(stream) => stream,
        Err(error) => return failed(started, "connect", error),
    };
    let at_ns = clock::now_ns();
    let channel = number;
    Event::Connected { at_ns, channel }.say();
    // The body never comes, so neither does an answer.
    let request = format!("POST /upload HTTP/1.1\r\nhost: {target}\r\ncontent-length: 9\r\n\r\n");
    started = clock::now_ns();
    if let Err(error) = stream.write_all(request.as_bytes()) {
        return failed(started, "write", error);
    }
    started = clock::now_ns();
    Event::Ok {
        at_ns: started,
        channel,
    }
    .say();
    let mut answer = [0; 1024];
    let error = match stream.read(&mut answer) {
        Ok(0) => io::ErrorKind::UnexpectedEof.into(),
        Ok(bytes) => io::Error::other(format!("an answer of {bytes} bytes")),
        Err(error) => error,
    };
    failed(started, "read", error)
}
