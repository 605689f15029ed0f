//! Explanations agree with the rule: all clauses hold when a peer is found dead, and only then.

use std::collections::BTreeMap;

use detector_user::model::{ClauseLine, Explanation, Time, Verdict};

use super::{Checks, shown};

/// Whether the core tells the clauses of its rule: one that tells none is wrong then.
const TOLD: bool = false;

impl Checks {
    /// Checks the clauses that are explained with a published state.
    pub fn clauses(&mut self, now: Time, explanation: &Explanation) {
        let Explanation { state, clauses, .. } = explanation;
        if clauses.is_empty() {
            if TOLD {
                self.broken("the rule is explained", shown::state(state));
            }
            return;
        }
        let holds = by_address(clauses).values().all(|holds| *holds);
        let dead = state.verdict == Verdict::Dead;
        // A death outlasts what led to it: of an older one only that it was found is known.
        let is_new = dead && state.changed_at == now;
        // That an address is contested is published between two decisions; the next is due then.
        let is_undecided = holds && !dead && !state.contested;
        if is_undecided || (is_new && !holds) {
            let clauses: Vec<_> = clauses.iter().map(shown::clause).collect();
            let what = format!("{}\n{}", shown::state(state), clauses.join("\n"));
            self.broken(
                "a peer is Dead where all clauses hold, and only there",
                what,
            );
        }
    }
}

/// Whether all clauses of each address hold.
fn by_address(clauses: &[ClauseLine]) -> BTreeMap<std::net::IpAddr, bool> {
    let mut addresses = BTreeMap::new();
    for clause in clauses {
        *addresses.entry(clause.address).or_insert(true) &= clause.holds;
    }
    addresses
}
