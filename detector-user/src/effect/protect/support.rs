//! Checks for `detector doctor` of what can be protected here.

use std::{
    collections::BTreeMap,
    fs, io,
    net::{Ipv4Addr, TcpListener, TcpStream},
};

use anyhow::Context as _;
use detector_ebpf::refuse_flag;

use super::{Protection, RefusePrograms};
use crate::{
    cgroup::{NoTree, Tree, v2_path},
    check::{Check, Status},
    config::{Target, Tuning},
    model::{Bounds, Endpoint, PeerName},
    object::chain,
};

/// Checks everything: looks for the cgroup tree, loads the programs, and tunes a connection of its
/// own.
pub fn checks() -> Vec<Check> {
    vec![tree(), refuse(), tune()]
}

fn tree() -> Check {
    let name = "cgroup v2";
    let meaning = "services are protected (refuse_connects, tune_sockets, --protect) by their \
                   place in this tree";
    match Tree::find() {
        Ok(Some(tree)) => {
            let found = format!("mounted at {}", tree.mount().display());
            Check::new(name, Status::Ok, found, meaning)
        }
        Ok(None) => Check::new(
            name,
            Status::Degraded,
            "not mounted",
            format!("no service can be protected: {}", NoTree::reason()),
        ),
        Err(error) => Check::new(name, Status::Degraded, error.to_string(), meaning),
    }
}

fn refuse() -> Check {
    let programs = match RefusePrograms::load(1, 1) {
        Ok(programs) => programs,
        Err(error) => {
            return refusals(
                Status::Degraded,
                error.to_string(),
                "new connects to a dead peer hang for as long as the program waits",
            );
        }
    };
    let has = |flag| programs.flags & flag != 0;
    if !has(refuse_flag::PID_IN_NAMESPACE) && !has(refuse_flag::PID_IN_INITIAL) {
        return refusals(
            Status::Degraded,
            "the verifier takes the programs, but they cannot tell the daemon from others",
            "keep the daemon out of the cgroups whose connects are refused, or run it in the \
             initial pid namespace; from kernel 6.10 neither matters",
        );
    }
    if has(refuse_flag::SET_RETVAL) {
        return refusals(
            Status::Ok,
            "the verifier takes the programs; a refused connect fails with EHOSTUNREACH",
            "connects of a service to a dead peer can be refused at once",
        );
    }
    refusals(
        Status::Degraded,
        "the verifier takes the programs; a refused connect fails with EPERM",
        "connects to a dead peer can be refused at once, with an error that says less: \
         EHOSTUNREACH is from kernel 6.1 on",
    )
}

fn refusals(status: Status, found: impl Into<String>, meaning: &str) -> Check {
    Check::new("refuse connects", status, found, meaning)
}

fn tune() -> Check {
    let name = "tune sockets";
    match tuned_options() {
        Ok(options) if options.contains(&"rto_min") => Check::new(
            name,
            Status::Ok,
            format!(
                "a connection of its own was given: {}; and the program is gone again",
                options.join(", ")
            ),
            "retransmission time-outs of a service's connections can be shortened from 200 ms, \
             which shows a dead peer sooner",
        ),
        Ok(options) => Check::new(
            name,
            Status::Degraded,
            format!(
                "a connection of its own was given: {}; the kernel takes no RTO min",
                options.join(", ")
            ),
            "keepalive and user time-out can be set; the least retransmission time-out stays \
             200 ms, and its setting is from kernel 5.10 on",
        ),
        Err(error) => Check::new(
            name,
            Status::Degraded,
            chain(error.as_ref()),
            "connections keep the kernel's least retransmission time-out of 200 ms; a route's \
             rto_min does the same for all",
        ),
    }
}

/// Tunes one connection of this process to itself.
fn tuned_options() -> anyhow::Result<Vec<&'static str>> {
    let own = own_cgroup().context("cannot read this process's cgroup from /proc/self/cgroup")?;
    let mut protection = Protection::tune(&Tuning::default(), Target::Path(own), Bounds::new(1))?;
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on loopback")?;
    let address = listener.local_addr()?;
    let endpoint = Endpoint {
        addr: address.ip(),
        port: address.port(),
    };
    let peer = PeerName::from_canonical("http://localhost");
    protection.watch(&BTreeMap::from([(peer, vec![endpoint])]));
    let _connection = TcpStream::connect(address).context("cannot connect on loopback")?;
    let (sockets, _) = protection.announced();
    let socket = sockets
        .into_iter()
        .find(|socket| socket.remote == address)
        .context("the program was not called for a connection of this process")?;
    Ok(socket.options)
}

/// This process's path in the v2 tree.
fn own_cgroup() -> io::Result<String> {
    let text = fs::read_to_string("/proc/self/cgroup")?;
    v2_path(&text)
        .map(str::to_owned)
        .ok_or_else(|| io::Error::other("it has no line of the cgroup v2 tree"))
}
