//! What this kernel has: `detector doctor` tells it in types, and tells what stands in for what is
//! missing.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, ensure};
use detector_tests::{Daemon, Lab, kernel, testbed};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);

/// What works on every kernel.
const EVERYWHERE: [&str; 11] = [
    "kernel",
    "eBPF object",
    "BTF /sys/kernel/btf/vmlinux",
    "loads and attaches",
    "sock_diag",
    "rtnetlink",
    "neighbour probes",
    "keepalive probes",
    "destroy sockets",
    "cgroup v2",
    "tune sockets",
];

/// The fields of sockets that BTF has to give.
const FIELDS: usize = 34;

/// Each line of the doctor, by its name.
fn told() -> anyhow::Result<BTreeMap<String, Value>> {
    let lab = Lab::new(1)?;
    let mut doctor = Daemon::command(lab.host(1))?;
    let output = doctor.args(["doctor", "--output", "json"]).output()?;
    let text = String::from_utf8(output.stdout)?;
    let lines = text.lines().map(|line| {
        let line: Value = serde_json::from_str(line).context(line.to_owned())?;
        let name = line["name"].as_str().context("a line without a name")?;
        Ok((name.to_owned(), line))
    });
    lines.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_tells_what_it_has_and_what_stands_in_for_the_rest() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let told = told()?;
        let is = |name: &str, status: &str, found: &str| {
            let line = told
                .get(name)
                .with_context(|| format!("{name}: {told:#?}"))?;
            ensure!(line["status"] == status, "not {status}: {line}");
            let text = line["found"].as_str().unwrap_or_default();
            ensure!(text.contains(found), "not {found:?}: {line}");
            anyhow::Ok(())
        };
        for name in EVERYWHERE {
            is(name, "ok", "")?;
        }
        let fields = told
            .iter()
            .filter(|(name, _)| name.starts_with("BTF field "));
        assert_eq!(
            fields.filter(|(_, line)| line["status"] == "ok").count(),
            FIELDS
        );

        let has = |there| {
            if there {
                ("ok", "there")
            } else {
                ("degraded", "this kernel has none")
            }
        };
        let tracepoints = [
            ("tcp:tcp_cong_state_set", kernel::shows_time_outs()),
            ("tcp:tcp_retransmit_skb", true),
            ("sock:inet_sock_set_state", true),
            ("sock:inet_sk_error_report", kernel::reports_errors()),
        ];
        let there = tracepoints.iter().filter(|(_, there)| *there).count();
        for (name, there) in tracepoints {
            let (status, found) = has(there);
            is(&format!("tracepoint {name}"), status, found)?;
        }
        is(
            "loads and attaches",
            "ok",
            &format!("attached to {there} tracepoints"),
        )?;
        let arguments = if kernel::is(6, 17) {
            "3 arguments"
        } else {
            "2 arguments"
        };
        is("tracepoint tcp:tcp_retransmit_skb", "ok", arguments)?;

        let (status, error) = match kernel::is(6, 1) {
            true => ("ok", "EHOSTUNREACH"),
            false => ("degraded", "EPERM"),
        };
        is("refuse connects", status, error)?;
        let locked = told.contains_key("RLIMIT_MEMLOCK");
        assert_eq!(
            locked,
            !kernel::is(5, 11),
            "only then do maps count against it"
        );
        Ok(())
    })
    .await
}
