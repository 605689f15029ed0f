//! What is kept for which configuration.

use rustix::thread::CapabilitySet;

use super::*;
use crate::config::Target;

fn kept(config: &Config) -> CapabilitySet {
    let needs = Needs {
        // Of this machine, not of the configuration.
        maps_take_a_capability: false,
        uses_what_others_own: false,
        ..Needs::of(config, None)
    };
    needs.kept()
}

#[test]
fn what_is_configured_decides_what_is_kept() {
    let (raw, admin) = (CapabilitySet::NET_RAW, CapabilitySet::NET_ADMIN);
    let mut config = Config::default();
    assert_eq!(kept(&config), raw | admin);
    config.core.destroy_sockets = false;
    assert_eq!(kept(&config), raw);
    config.refuse_connects = vec![Target::Unit("a.service".to_owned())];
    assert_eq!(kept(&config), raw | admin);
    config.refuse_connects = Vec::new();
    config.tune_sockets = vec![Target::Exe("a".to_owned())];
    assert_eq!(kept(&config), raw | admin | CapabilitySet::SYS_PTRACE);
    config.tune_sockets = Vec::new();
    config.network_namespaces = vec![Target::Path("/run/netns/a".to_owned())];
    let enters = CapabilitySet::SYS_ADMIN | CapabilitySet::SYS_PTRACE;
    assert_eq!(kept(&config), raw | enters);
    config.network_namespaces = Vec::new();
    config.socket_group = Some("a".to_owned());
    config.metrics = "127.0.0.1:80".parse().ok();
    let serves = CapabilitySet::CHOWN | CapabilitySet::NET_BIND_SERVICE;
    assert_eq!(kept(&config), raw | serves);
}

#[test]
fn old_kernels_take_a_capability_for_maps_and_others_files_another() {
    let needs = Needs {
        maps_take_a_capability: true,
        uses_what_others_own: true,
        ..Needs::default()
    };
    let expected = CapabilitySet::NET_RAW | CapabilitySet::BPF | CapabilitySet::DAC_OVERRIDE;
    assert_eq!(needs.kept(), expected);
}

#[test]
fn each_capability_is_listed_once_and_has_a_use() {
    let mut seen = CapabilitySet::empty();
    for one in CAPABILITIES {
        assert!(!seen.intersects(one.set), "{}", one.name);
        seen |= one.set;
        let all = Needs {
            destroys: true,
            protects: true,
            enters_namespaces: true,
            finds_programs: true,
            reads_stores: true,
            maps_take_a_capability: true,
            gives_its_socket_to_a_group: true,
            serves_on_a_low_port: true,
            uses_what_others_own: true,
        };
        assert!(one.at_start || one.is_kept(&all), "{}", one.name);
    }
}

#[test]
fn sets_are_named_for_people() {
    assert_eq!(names(CapabilitySet::empty()), "none");
    let set = CapabilitySet::NET_RAW | CapabilitySet::NET_ADMIN;
    assert_eq!(names(set), "CAP_NET_ADMIN CAP_NET_RAW");
    let unknown = CapabilitySet::SYS_BOOT | CapabilitySet::BPF;
    assert_eq!(names(unknown), "CAP_BPF 0x400000");
}

#[test]
fn the_effective_set_is_read() {
    let status = "Name:\tx\nCapInh:\t0000000000000000\nCapEff:\t0000000000003000\n";
    let net = CapabilitySet::NET_RAW | CapabilitySet::NET_ADMIN;
    assert_eq!(effective(status), net);
    assert_eq!(effective("CapEff:\tzz\n"), CapabilitySet::empty());
    assert_eq!(effective(""), CapabilitySet::empty());
}

/// On a thread of its own: a filter is for good.
#[test]
fn what_the_daemon_has_no_use_for_fails_and_nothing_else() {
    use std::{net::TcpListener, process::Command, thread};

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

    let filtered = thread::spawn(|| {
        syscalls::tests::filter_this_thread(CapabilitySet::empty());
        let denied = Some(nix::libc::ENOSYS);
        let executed = Command::new("true").spawn().map(drop).unwrap_err();
        assert_eq!(executed.raw_os_error(), denied);
        let vsock = socket(
            AddressFamily::Vsock,
            SockType::Stream,
            SockFlag::empty(),
            None,
        );
        assert_eq!(vsock.unwrap_err() as i32, nix::libc::ENOSYS);
        let namespace = std::fs::File::open("/proc/self/ns/net").unwrap();
        let entered = nix::sched::setns(&namespace, nix::sched::CloneFlags::CLONE_NEWNET);
        assert_eq!(entered.unwrap_err() as i32, nix::libc::ENOSYS);
        TcpListener::bind("127.0.0.1:0").unwrap();
        tempfile::tempfile().unwrap();
        thread::spawn(|| ()).join().unwrap();
    });
    filtered.join().unwrap();
}
