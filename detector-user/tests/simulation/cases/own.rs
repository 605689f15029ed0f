//! Faults of this node itself: no other host may be found dead because of them.

use super::*;

/// Two peers, one of them without connections: it was last heard when the daemon started, and its
/// next regular probe is due while this node's switch is dead.
#[test]
fn nobody_dies_of_this_nodes_own_switch() {
    let script = Script {
        seed: 1,
        scenario: "by hand",
        length: SECONDS(90),
        settings: Settings::default(),
        hosts: vec![HostSpec::near(&[]), HostSpec::near(&[Work::UPLOAD])],
        gateway: false,
        faults: vec![Timed {
            at: ms(31_549),
            fault: Fault::OwnSwitch,
            lasts: ms(17_011),
        }],
    };
    for seed in 1..=20 {
        holds(&Script {
            seed,
            ..script.clone()
        });
    }
}

/// This machine is paused while its switch is dead, and continues shortly before the switch is
/// back. By then every host was last heard long ago.
#[test]
fn nobody_dies_of_this_nodes_own_switch_after_a_pause() {
    for seed in 1..=8 {
        let faults = [Fault::OwnSwitch, Fault::Pause];
        let mut script = script(&faults, ms(17_011));
        script.gateway = false;
        script.faults[1].at += ms(266);
        script.faults[1].lasts = ms(16_206);
        lives(&Script { seed, ..script });
    }
}

/// The general case: one flow that has long been idle, whichever other hosts are cut off with it.
#[test]
fn nobody_who_was_long_idle_dies_of_this_nodes_own_switch() {
    for seed in 1..=20 {
        let mut script = script(&[Fault::OwnSwitch], SECONDS(10));
        script.hosts = vec![
            HostSpec::near(&[Work::IDLE]),
            HostSpec::near(&[]),
            HostSpec::near(&[Work::UPLOAD]),
        ];
        script.gateway = false;
        holds(&Script { seed, ..script });
    }
}

#[test]
fn nobody_dies_of_this_nodes_own_full_table() {
    for work in [Work::UPLOAD, Work::IDLE, Work::WAITING] {
        let mut script = with_work(&[work; 2], &[Fault::OwnSyns], SECONDS(20));
        script.hosts.iter_mut().for_each(|host| host.routed = true);
        lives(&script);
    }
}

/// Another card on this node's side of the cut is no witness for the network.
#[test]
fn one_cards_answer_does_not_show_that_this_node_is_connected() {
    for seed in 1..=8 {
        let cut_off = [Fault::Proxied { host: NEAR }, Fault::OwnSwitch];
        let script = script(&cut_off, SECONDS(10));
        lives(&Script { seed, ..script });
    }
}

#[test]
fn a_daemon_that_starts_while_its_node_is_cut_off_destroys_nothing() {
    for fault in [Fault::OwnSwitch, Fault::OwnLink] {
        for after in [ms(1), ms(200), ms(3000)] {
            let mut script = script(&[fault, Fault::Daemon], SECONDS(10));
            script.faults[1].at += after;
            lives(&script);
        }
    }
}

/// What arrives just after the start was on its way when this node was cut off, and nobody has
/// answered a probe. The call of the second host is the first thing that is sent, much later.
#[test]
fn what_came_unasked_just_after_the_start_does_not_show_that_this_node_is_connected() {
    let works: [&[Work]; 2] = [&[Work::DOWNLOAD], &[Work::WAITING]];
    for seed in 1..=8 {
        let script = script(&[Fault::OwnSwitch, Fault::Daemon], SECONDS(20));
        lives(&Script {
            seed,
            hosts: works.map(HostSpec::near).to_vec(),
            gateway: false,
            ..script
        });
    }
}

/// Its peers are alive; what was sent in vain before the daemon started is no evidence.
#[test]
fn a_daemon_that_starts_as_its_link_comes_back_asks_first() {
    for distance in [ms(1), ms(10)] {
        for after in [ms(1), ms(50), ms(1000)] {
            let mut script = script(&[Fault::OwnSwitch, Fault::Daemon], SECONDS(5));
            script.faults[1].at += SECONDS(5) + after;
            let hosts = script.hosts.iter_mut();
            hosts.for_each(|host| host.distance = distance);
            lives(&script);
        }
    }
}

/// The peer was rightly found dead, and is back at a time when this node is cut off.
#[test]
fn a_dead_peers_sockets_are_kept_while_this_node_is_cut_off() {
    let cut = Fault::Cut {
        host: NEAR,
        ways: Ways::Out,
    };
    for seed in 1..=20 {
        let work = [Work::DOWNLOAD, Work::UPLOAD];
        let mut script = with_work(&work, &[cut, Fault::OwnSwitch], ms(431));
        script.gateway = false;
        script.faults[1].at += ms(137);
        script.faults[1].lasts = ms(1500);
        holds(&Script { seed, ..script });
    }
}
