//! Programs of their own that the measurement starts: one holds sockets, one probes by TCP.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use socket2::{Domain, Socket, Type};
use tokio::{
    net::TcpStream as AsyncTcpStream,
    time::{MissedTickBehavior, interval, timeout},
};

use super::floor;

/// The most connections that wait to be accepted: all of them, so that they need no descriptor.
const BACKLOG: i32 = 65_535;
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// A helper of `bench cost`; it is started by the benchmark.
#[derive(Debug, Parser)]
#[command(name = "bench helper")]
pub struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Opens this many connections to each of these addresses, and holds them until its stdin ends.
    Hold {
        #[arg(long)]
        connections: u32,
        #[command(flatten)]
        targets: Targets,
        /// Listen on the port, too.
        #[arg(long)]
        listen: bool,
        /// Send this many bytes on each when a line arrives on stdin.
        #[arg(long, default_value_t = 0)]
        bytes: usize,
    },
    /// Connects to each of these addresses again and again, and closes the connection.
    TcpProbe {
        #[command(flatten)]
        targets: Targets,
        #[arg(long)]
        every_ms: u64,
    },
    /// Opens a connection to each of these addresses, and probes it by keepalive segments, with the
    /// fewest system calls.
    Floor {
        #[command(flatten)]
        targets: Targets,
        #[arg(long)]
        every_ms: u64,
    },
}

/// This many addresses from the first on, all with this port.
#[derive(Clone, Copy, Debug, Args)]
struct Targets {
    #[arg(long)]
    first: Ipv4Addr,
    #[arg(long)]
    addresses: u32,
    #[arg(long)]
    port: u16,
}

impl Targets {
    fn all(self) -> impl Iterator<Item = SocketAddr> {
        many(self.first, self.addresses, self.port)
    }
}

pub fn run(cli: &Cli) -> anyhow::Result<()> {
    match cli.what {
        What::Hold {
            connections,
            targets,
            listen,
            bytes,
        } => {
            let _listener = listen.then(|| listener(targets.port)).transpose()?;
            hold(&open(targets.all(), connections)?, bytes)
        }
        What::TcpProbe { targets, every_ms } => {
            probe(targets.all(), Duration::from_millis(every_ms))
        }
        What::Floor { targets, every_ms } => {
            floor::probe(&open(targets.all(), 1)?, Duration::from_millis(every_ms))
        }
    }
}

/// These addresses, with this port.
pub fn many(first: Ipv4Addr, addresses: u32, port: u16) -> impl Iterator<Item = SocketAddr> {
    let first = u32::from(first);
    (first..first + addresses).map(move |addr| (IpAddr::V4(addr.into()), port).into())
}

/// Listens, and lets all connections wait to be accepted.
pub fn listener(port: u16) -> anyhow::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    // Several listeners on one port share the connections.
    socket.set_reuse_port(true)?;
    socket
        .bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())
        .and_then(|()| socket.listen(BACKLOG))
        .with_context(|| format!("cannot listen on port {port}"))?;
    Ok(socket.into())
}

fn open(
    addresses: impl Iterator<Item = SocketAddr>,
    connections: u32,
) -> anyhow::Result<Vec<TcpStream>> {
    let mut all = Vec::new();
    for addr in addresses {
        for _ in 0..connections {
            let stream = TcpStream::connect_timeout(&addr, CONNECT_WITHIN);
            all.push(stream.with_context(|| format!("cannot connect to {addr}"))?);
        }
    }
    Ok(all)
}

/// Prints that all are open. Sends on each connection for each byte on stdin, until stdin ends.
fn hold(streams: &[TcpStream], bytes: usize) -> anyhow::Result<()> {
    println!("holding {}", streams.len());
    let message = vec![0; bytes];
    let mut command = [0; 1];
    while std::io::stdin().read(&mut command)? > 0 {
        let mut failed = 0;
        for mut stream in streams {
            failed += u32::from(stream.write_all(&message).is_err());
        }
        println!("sent {failed}");
    }
    Ok(())
}

fn probe(targets: impl Iterator<Item = SocketAddr>, every: Duration) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let targets: Vec<SocketAddr> = targets.collect();
        for (n, target) in targets.iter().copied().enumerate() {
            let after = every * n as u32 / targets.len() as u32;
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                let mut due = interval(every);
                due.set_missed_tick_behavior(MissedTickBehavior::Skip);
                loop {
                    due.tick().await;
                    // As blackbox_exporter: what matters is whether it can be connected to.
                    drop(timeout(every, AsyncTcpStream::connect(target)).await);
                }
            });
        }
        println!("probing {}", targets.len());
        tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0])).await??;
        Ok(())
    })
}
