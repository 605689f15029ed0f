//! Speaks HTTP from within a host.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, bail};

use crate::Host;

const TIMEOUT: Duration = Duration::from_secs(5);
/// More than any page a test reads.
const MAX_BYTES: u64 = 16 << 20;

/// Reads a page over HTTP, from within a host: its loopback addresses work.
pub fn get(host: &Host, server: SocketAddr, path: &str) -> anyhow::Result<String> {
    ask(host, server, &format!("GET {path}"), "")
}

/// Sends a body and reads the answer.
pub fn post(host: &Host, server: SocketAddr, path: &str, body: &str) -> anyhow::Result<String> {
    ask(host, server, &format!("POST {path}"), body)
}

fn ask(host: &Host, server: SocketAddr, what: &str, body: &str) -> anyhow::Result<String> {
    host.within(|| {
        let mut stream = TcpStream::connect_timeout(&server, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        // 1.0: the answer is not chunked, and ends with the connection.
        write!(
            stream,
            "{what} HTTP/1.0\r\nHost: {server}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.take(MAX_BYTES).read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP head")?;
        let status = head.lines().next().unwrap_or_default();
        if status.split(' ').nth(1) != Some("200") {
            bail!("{status}: {body}");
        }
        Ok(body.to_owned())
    })?
    .with_context(|| format!("{what} of {server} on {}", host.name()))
}
