//! What `--help` says beside the meanings of single arguments.

use crate::config::{Config, DEFAULT_FILE, keys};

pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed
  2  bad usage or configuration
  3  the daemon cannot be reached
  4  no such peer
  5  doctor: something is missing";

pub(super) const REPLAY_HELP: &str = "\
With the recorded settings the verdicts are exactly the recorded ones. With other settings the
replay shows the verdicts that they would give for the same signals. What the kernel and the
peers would have answered to socket snapshots and probes at other moments cannot be known: the
replay has only the recorded answers, at their recorded times. Nothing is probed, destroyed or
refused.

Times are counted from the beginning of the recording, so a wall clock that was set during the
recording has no effect.

Examples:
  detector replay node1.rec
  detector replay node1.rec --detection-time 50ms
  detector replay node1.rec --explain http://node4:9000 --at +12.5
  zcat node1.rec.gz | detector replay - --output json";

pub(super) const TUNE_HELP: &str = "\
To see which open connections are tuned, use `detector tune --list` for the daemon, and
`kill -USR1` for this command. `detector explain PEER` marks them among a peer's connections.

Examples:
  detector tune rustfs.service --peer http://node4:9000
  detector tune --list";

pub(super) const MAINTENANCE_HELP: &str = "\
While it lasts, new connects to the peer are refused and open connections are left to end by
themselves; if the peer dies, they are destroyed as always. The alerts for the peer are silent.
It outlasts a restart of the daemon, and is in its audit log. Root, the daemon's user, and those
in admin_users and admin_groups may do it.

Examples:
  detector maintenance http://node4:9000 --for 10m --reason \"new disk\"
  detector maintenance http://node4:9000 --end";

pub(super) const OVERRIDE_HELP: &str = "\
Open: programs avoid the peer, although it may be alive. Closed: programs call the peer, although
it may be dead, and none of its sockets is destroyed. The verdict follows the evidence as always.
It outlasts a restart of the daemon, and is in its audit log. Root, the daemon's user, and those
in admin_users and admin_groups may do it.

Examples:
  detector override http://node4:9000 closed --for 1h --reason \"false alarm, see ticket 4711\"
  detector override http://node4:9000 --end";

pub(super) const REPORT_HELP: &str = "\
In it: the evidence behind the verdict, a recording of the last minute and of the minute around the
peer's last death for `detector replay`, its history, all peers, the configuration in effect, the
last hour of the daemon's journal, what `detector doctor` says, and versions. Passwords are taken
out; names and addresses are not. What cannot be had is named. The recordings are for root, the
daemon's user, and those in admin_users and admin_groups.

Examples:
  detector report http://node4:9000
  detector report http://node4:9000 --to /tmp/ticket-4711.tar.gz";

pub(super) const TOP_HELP: &str = "\
Keys:
  up, down, j, k      choose a peer
  Enter               show the evidence behind its verdict, as `detector explain`; Esc goes back
  s                   the next order: worst first, by name, round trip, loss, flows
  /                   filter by name, verdict, reason, address or override; Esc clears it
  q, Ctrl-C           end

It continues after restarts of the daemon. In observe mode, open* is a breaker that would be open.";

pub(super) const EXAMPLES: &str = "\
Examples:
  detector run --rustfs
  detector run --peer http://node2:9000 --peer http://node3:9000
  detector run --mode observe
  detector watch --output json | jq 'select(.verdict == \"dead\")'
  detector explain http://node4:9000
  detector top
  detector run --config /etc/detector/detector.toml --record node1.rec
  detector replay node1.rec --detection-time 50ms";

/// A key's meaning and default, for `--help`.
pub(super) fn describe(key: &str) -> String {
    let Some(key) = keys::find(key) else {
        return String::new();
    };
    let default = key.get(&Config::default()).to_plain();
    let (first, rest) = key.help.split_at(1);
    format!("{}{rest} [default: {default}]", first.to_uppercase())
}

pub(super) fn config_help() -> String {
    format!("The configuration file [default: {DEFAULT_FILE}, if it is there]")
}
