//! Which probes count as evidence, and in which order targets are probed.

use std::collections::BTreeSet;

use super::*;
use crate::{
    core::testing::{established, ms},
    model::Endpoint,
};

/// A connect and a flow are asked for by turns: each connect and each flow comes up.
#[test]
fn the_turns_of_flows_and_of_connects_are_their_own() {
    let mut probes = Probes::default();
    let remote = established(1, ms(0)).id.remote;
    let connects = [CLOSED_PORT, remote.port()].map(|port| {
        ProbeTarget::Connect(Endpoint {
            addr: remote.ip(),
            port,
        })
    });
    probes.set_targets(&connects);
    for target in &mut probes.targets {
        target.answered(ms(0), ProbeAnswer::Reset);
    }
    probes.set_flows(&[1, 2].map(|cookie| FlowTarget {
        flow: established(1, ms(0)).id,
        cookie,
        is_troubled: true,
        is_stalled: false,
        is_contradicted: false,
    }));
    let mut asked = BTreeSet::new();
    for _ in 0..2 {
        asked.extend(probes.next_connect().map(|target| format!("{target:?}")));
        asked.extend(probes.next_flow().map(|target| format!("{target:?}")));
    }
    assert_eq!(asked.len(), 4, "{asked:?}");
}
