//! `detector doctor`: checks what this kernel and these privileges permit, or asks all daemons.

use std::{collections::BTreeSet, net::IpAddr, path::Path, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::{
    args::{DoctorArgs, Global, Output},
    block_on, daemons,
    exit::{Exit, Failure},
    json, print,
};
use crate::{
    check::{Check, Status},
    config::{self, Config, PeerSpec, Target},
    effect::{
        destroy::{self, ProofError},
        protect,
    },
    netlink::sock_diag::{DestroyError, SockDiag},
    netns,
    object::chain,
    privileges::{self, Needs},
    process::Finder,
    source::{
        resolve::{Lookup as _, SystemLookup},
        stores, support,
    },
};

/// The time limit for resolving the names of all peers: a diagnosis must not hang where DNS does.
const LOOKUPS: Duration = Duration::from_secs(2);

pub fn doctor(global: &Global, args: &DoctorArgs) -> Result<Exit, Failure> {
    let flags: Vec<_> = args.stores.flags().collect();
    let loaded = config::load(global.config.as_deref(), &flags);
    let file = loaded.as_ref().ok().and_then(|loaded| loaded.file.clone());
    let config = loaded.map(|loaded| loaded.config);
    let finder = Finder::new()?;
    let checks = match args.all {
        true => {
            let config = config.map_err(Failure::Config)?;
            block_on(async { Ok(daemons::examine(&config, &finder).await) })?
        }
        // Errors of the configuration file are not reported here: `detector config check` does that.
        false => this_machine(config.unwrap_or_default(), file.as_deref(), &finder)?,
    };
    match global.output {
        Output::Text => print(&text(&checks))?,
        Output::Json => {
            print(&checks.iter().map(json::line).collect::<String>())?;
        }
    }
    Ok(verdict(&checks))
}

/// What the command says of this machine, as text.
pub fn told(config: Config, file: Option<&Path>, finder: &Finder) -> Result<String, Failure> {
    Ok(text(&this_machine(config, file, finder)?))
}

fn this_machine(
    config: Config,
    file: Option<&Path>,
    finder: &Finder,
) -> Result<Vec<Check>, Failure> {
    let needs = Needs::of(&config, file);
    let mut checks = support::checks(&block_on(peers(config.peers))?, &needs);
    checks.push(privileges::check_filter(config.seccomp));
    checks.push(destroy_sockets(&destroy::prove()));
    let namespace = |target| network_namespace(finder, target);
    checks.extend(config.network_namespaces.iter().map(namespace));
    checks.extend(protect::support::checks());
    checks.extend(block_on(async {
        Ok(stores::examine(&config.stores, finder).await)
    })?);
    Ok(checks)
}

/// The addresses of the peers in the configuration file, as far as their names resolve.
async fn peers(peers: Vec<PeerSpec>) -> Result<BTreeSet<IpAddr>, Failure> {
    let deadline = Instant::now() + LOOKUPS;
    let mut addrs = BTreeSet::new();
    for peer in peers {
        if !peer.addresses.is_empty() {
            addrs.extend(peer.addresses);
            continue;
        }
        let lookup = SystemLookup.lookup(&peer.host, peer.port);
        if let Ok(Ok(found)) = timeout_at(deadline, lookup).await {
            addrs.extend(found);
        }
    }
    Ok(addrs)
}

/// Checks whether the sockets of a network namespace in the configuration file can be read.
fn network_namespace(finder: &Finder, target: &Target) -> Check {
    let check = |status, found: String, meaning: &str| {
        Check::new(
            format!("network namespace {target}"),
            status,
            found,
            meaning,
        )
    };
    let read = || -> Result<Vec<String>, anyhow::Error> {
        let mut read = Vec::new();
        for (id, namespace) in netns::open(finder, target)? {
            let flows = SockDiag::open_in(&namespace)?.read_all()?.len();
            read.push(format!("{id} with {flows} connections"));
        }
        Ok(read)
    };
    match read() {
        Ok(read) if read.is_empty() => check(
            Status::Degraded,
            "not there now".to_owned(),
            "waited for: a file as /run/netns/NAME or /proc/PID/ns/net, or the unit or cgroup of \
             processes that run",
        ),
        Ok(read) => check(
            Status::Ok,
            format!("entered: {}", read.join(", ")),
            "its flows are watched, its sockets with a dead peer destroyed, peers probed from it",
        ),
        Err(error) => check(
            Status::Degraded,
            chain(error.as_ref()),
            "nothing of it is seen; entering takes CAP_SYS_ADMIN, finding that of another user's \
             processes CAP_SYS_PTRACE, and a systemd unit RestrictNamespaces=net (see \
             deploy/detector-containers.conf)",
        ),
    }
}

/// Verdicts do not need it, but without it blocked calls stay blocked.
fn destroy_sockets(proof: &Result<(), ProofError>) -> Check {
    let name = "destroy sockets";
    let without = "blocked calls to a dead peer return only when their own time-outs end them";
    match proof {
        Ok(()) => Check::new(
            name,
            Status::Ok,
            "a connection of my own over 127.0.0.1 was destroyed, and its read returned \
             ECONNABORTED",
            "calls that are blocked on a dead peer return after destroy_delay",
        ),
        Err(error) => {
            let remedy = match error {
                ProofError::Destroy(DestroyError::Unsupported) => {
                    "; this takes another kernel, most distributions' have it"
                }
                ProofError::Destroy(DestroyError::NotPermitted) => {
                    "; run as root, or give the service CAP_NET_ADMIN"
                }
                _ => "",
            };
            let meaning = format!("{without}{remedy}");
            Check::new(name, Status::Degraded, error.to_string(), meaning)
        }
    }
}

fn verdict(checks: &[Check]) -> Exit {
    match checks.iter().any(|check| check.status == Status::Missing) {
        true => Exit::Missing,
        false => Exit::Done,
    }
}

fn text(checks: &[Check]) -> String {
    let mut out = String::new();
    for check in checks {
        let Check {
            name,
            found,
            meaning,
            ..
        } = check;
        let status = check.status.as_str();
        out += &format!("{status:<10}{name}: {found}\n");
        for line in meaning.lines() {
            out += &format!("{:10}{line}\n", "");
        }
    }
    let count = |status| checks.iter().filter(|check| check.status == status).count();
    out + &format!(
        "\n{} ok, {} degraded, {} missing\n",
        count(Status::Ok),
        count(Status::Degraded),
        count(Status::Missing)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: Status) -> Check {
        Check {
            name: "tracepoint tcp:x".to_owned(),
            status,
            found: "not there".to_owned(),
            meaning: "Less evidence.\nUse a newer kernel.".to_owned(),
        }
    }

    #[test]
    fn sockets_that_cannot_be_destroyed_are_explained() {
        let told = |error: DestroyError| {
            let check = destroy_sockets(&Err(ProofError::Destroy(error)));
            assert_eq!(check.status, Status::Degraded);
            format!("{} {}", check.found, check.meaning)
        };
        assert!(told(DestroyError::Unsupported).contains("CONFIG_INET_DIAG_DESTROY"));
        assert!(told(DestroyError::NotPermitted).contains("CAP_NET_ADMIN"));
        assert_eq!(destroy_sockets(&Ok(())).status, Status::Ok);
    }

    #[test]
    fn only_something_missing_fails() {
        let checks = [check(Status::Ok), check(Status::Degraded)];
        assert_eq!(verdict(&checks), Exit::Done);
        assert_eq!(
            verdict(&[check(Status::Ok), check(Status::Missing)]),
            Exit::Missing
        );
    }

    #[test]
    fn each_check_is_told_with_its_meaning() {
        assert_eq!(
            text(&[check(Status::Degraded)]),
            "degraded  tracepoint tcp:x: not there\n          Less evidence.\n          \
             Use a newer kernel.\n\n0 ok, 1 degraded, 0 missing\n"
        );
    }
}
