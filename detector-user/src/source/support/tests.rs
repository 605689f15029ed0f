//! What `detector doctor` says about the sources.

use rustix::thread::CapabilitySet;

use super::{privileges::soft_limit, *};

#[test]
fn a_survey_names_the_links_that_peers_are_reached_by() {
    let survey = Survey {
        links: 3,
        used: [("eth0".to_owned(), true), ("eth1".to_owned(), false)].into(),
        without_route: 1,
    };
    assert_eq!(
        surveyed(&survey),
        "3 links are known; peers are reached by eth0, which is up; peers are reached by \
         eth1, which is DOWN; 1 peer addresses are this host's or have no route"
    );
}

fn statuses(effective: CapabilitySet) -> Vec<Status> {
    let checks = capabilities(effective, &Needs::default());
    checks.iter().map(|check| check.status).collect()
}

#[test]
fn reads_the_soft_limit() {
    let limits = "Limit                     Soft Limit           Hard Limit\n\
        Max locked memory         67108864             unlimited            bytes\n";
    assert_eq!(soft_limit(limits, "Max locked memory"), Some("67108864"));
    assert_eq!(soft_limit("", "Max locked memory"), None);
}

#[test]
fn a_low_limit_of_locked_memory_matters_where_it_cannot_be_lifted() {
    let status = |limits, effective| locked_memory(limits, effective).status;
    let low = "Max locked memory         65536                65536                bytes\n";
    assert_eq!(status(low, CapabilitySet::empty()), Status::Degraded);
    assert_eq!(status(low, CapabilitySet::SYS_RESOURCE), Status::Ok);
    assert_eq!(
        status(
            "Max locked memory  8388608  8388608  bytes\n",
            CapabilitySet::empty()
        ),
        Status::Ok
    );
    assert_eq!(
        status(
            "Max locked memory  unlimited  unlimited  bytes\n",
            CapabilitySet::empty()
        ),
        Status::Ok
    );
    assert_eq!(status("", CapabilitySet::empty()), Status::Degraded);
}

#[test]
fn each_capability_is_its_own_answer() {
    use Status::{Degraded, Missing, Ok};
    let (bpf, perfmon) = (CapabilitySet::BPF, CapabilitySet::PERFMON);
    let none = CapabilitySet::empty();
    assert_eq!(statuses(none), [Missing, Missing, Degraded, Degraded]);
    assert_eq!(statuses(bpf), [Ok, Missing, Degraded, Degraded]);
    assert_eq!(statuses(bpf | perfmon), [Ok, Ok, Degraded, Degraded]);
    let admin = statuses(CapabilitySet::SYS_ADMIN);
    assert_eq!(admin, [Ok, Ok, Degraded, Degraded]);
    let net = CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW;
    assert_eq!(statuses(net), [Missing, Missing, Ok, Ok]);
}

#[test]
fn a_capability_that_is_configured_is_listed_and_said_to_be_kept() {
    let needs = Needs {
        enters_namespaces: true,
        ..Needs::default()
    };
    let checks = capabilities(CapabilitySet::empty(), &needs);
    let admin = checks.iter().find(|check| check.name == "CAP_SYS_ADMIN");
    let admin = admin.expect("it is listed");
    assert_eq!(admin.status, Status::Degraded);
    assert!(admin.meaning.contains("keeps it"), "{}", admin.meaning);
    let bpf = &checks[0];
    assert!(bpf.meaning.contains("gives it up"), "{}", bpf.meaning);
}

#[test]
fn neighbour_probes_want_both_kinds() {
    use nix::errno::Errno::{EAFNOSUPPORT, EPERM};
    let check = |arp, ndp| neighbour_probes(probe::Access { arp, ndp });
    assert_eq!(check(Ok(()), Ok(())).status, Status::Ok);
    for (arp, ndp) in [
        (Err(EPERM), Err(EPERM)),
        (Ok(()), Err(EAFNOSUPPORT)),
        (Err(EPERM), Ok(())),
    ] {
        let check = check(arp, ndp);
        assert_eq!(check.status, Status::Degraded);
        assert!(check.meaning.contains("CAP_NET_RAW"), "{}", check.meaning);
    }
}

#[test]
fn every_check_says_what_it_found_and_means() {
    let checks = checks(&[[127, 0, 0, 1].into()].into(), &Needs::default());
    for wanted in [
        "kernel",
        "eBPF object",
        "BTF field sock_common.skc_v6_daddr",
        "tracepoint tcp:tcp_retransmit_skb",
        "loads and attaches",
        "sock_diag",
        "rtnetlink",
        "neighbour probes",
    ] {
        assert!(checks.iter().any(|check| check.name == wanted), "{wanted}");
    }
    for check in checks {
        assert!(!check.found.is_empty(), "{}", check.name);
        assert!(!check.meaning.is_empty(), "{}", check.name);
    }
}

#[test]
fn keepalives_are_proven_or_say_what_they_take() {
    let proven = keepalives(Ok(Duration::from_micros(70)));
    assert_eq!(proven.status, Status::Ok);
    assert!(proven.found.contains("70"), "{}", proven.found);
    let silent = keepalives(Err(probe::KeepaliveProofError::Silent));
    assert_eq!(silent.status, Status::Degraded);
    for word in ["CAP_NET_ADMIN", "CAP_NET_RAW", "BTF"] {
        assert!(silent.meaning.contains(word), "{}", silent.meaning);
    }
}
