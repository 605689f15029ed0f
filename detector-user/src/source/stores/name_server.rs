//! Asks the name servers of a container, from its own network: Docker's, for one, is at 127.0.0.11
//! in there and nowhere else.
//!
//! The process's own `getaddrinfo` cannot be used: it would load libraries from the container's
//! files into the daemon.

use std::{io, net::IpAddr, thread, time::Duration};

use hickory_resolver::{
    Resolver,
    config::{LookupIpStrategy, ResolveHosts},
    net::runtime::TokioRuntimeProvider,
    system_conf::parse_resolv_conf,
};

use crate::netns::Namespace;

/// How long each server has for its answer, and how often it is asked again.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);
const ASKED_AGAIN: usize = 1;

/// The addresses of a host, as the servers of this resolv.conf(5) tell. Blocks.
pub(super) fn ask(
    resolv_conf: &str,
    namespace: Option<&Namespace>,
    host: &str,
) -> io::Result<Vec<IpAddr>> {
    let ask = || ask_here(resolv_conf, host);
    match namespace {
        None => ask(),
        // A thread of a thread in the namespace is in it as well; this one has room.
        Some(namespace) => namespace.within(|| {
            thread::scope(|scope| scope.spawn(ask).join())
                .unwrap_or_else(|_| Err(io::Error::other("the thread that asked panicked")))
        })?,
    }
}

fn ask_here(resolv_conf: &str, host: &str) -> io::Result<Vec<IpAddr>> {
    let (config, mut options) = parse_resolv_conf(resolv_conf).map_err(io::Error::other)?;
    options.use_hosts_file = ResolveHosts::Never;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.cache_size = 0;
    options.timeout = ANSWERS_WITHIN;
    options.attempts = ASKED_AGAIN;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let provider = TokioRuntimeProvider::default();
        let resolver = Resolver::builder_with_config(config, provider).with_options(options);
        let resolver = resolver.build().map_err(io::Error::other)?;
        let found = resolver.lookup_ip(host).await.map_err(io::Error::other)?;
        Ok(found.iter().collect())
    })
}
