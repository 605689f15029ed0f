//! Which alert silences which, asked of a real Alertmanager by its own tool.

use std::{collections::BTreeSet, time::Duration};

use detector_tests::{Host, Lab, testbed};
use serde_json::Value;

use crate::monitoring::alertmanager;

const SOON: Duration = Duration::from_secs(20);
const URL: &str = "--alertmanager.url=http://127.0.0.1:9093";

/// Alerts that are there at once, and whether another one silences each.
const ALERTS: [(&str, bool); 20] = [
    (
        "alertname=DetectorIsolated node=n1 instance=n1:9464 job=detector",
        false,
    ),
    (
        "alertname=DetectorFlowsStalled node=n2 instance=n1:9464 peer=n2 job=detector",
        true,
    ),
    (
        "alertname=DetectorFlowsStalled node=n2 instance=n3:9464 peer=n2 job=detector",
        false,
    ),
    (
        "alertname=DetectorMostPeersDead node=n1 instance=n1:9464 job=detector",
        true,
    ),
    (
        "alertname=DetectorHostDead node=n1 peer=n1 job=detector",
        true,
    ),
    (
        "alertname=MultipleNodesUnreachable instance=n1:9464 job=detector",
        true,
    ),
    (
        "alertname=MultipleNodesUnreachable instance=n3:9464 job=detector",
        false,
    ),
    (
        "alertname=DetectorHostDead node=n4 peer=n4 job=detector",
        false,
    ),
    (
        "alertname=DetectorHostDegraded node=n4 peer=n4 job=detector",
        true,
    ),
    (
        "alertname=DetectorPeerUnwell node=n4 instance=n3:9464 peer=n4 job=detector",
        true,
    ),
    (
        "alertname=DetectorDown node=n4 instance=n4:9464 job=detector",
        true,
    ),
    (
        "alertname=DetectorDown node=n5 instance=n5:9464 job=detector",
        false,
    ),
    (
        "alertname=DetectorDeadFromOneNode node=n5 instance=n3:9464 peer=n5 job=detector",
        false,
    ),
    (
        "alertname=DetectorMaintenance node=n6 peer=n6 job=detector",
        false,
    ),
    (
        "alertname=DetectorHostDead node=n6 peer=n6 job=detector",
        true,
    ),
    (
        "alertname=DetectorDown node=n6 instance=n6:9464 job=detector",
        true,
    ),
    (
        "alertname=QuorumLost pool=hot set=0 instance=n3:9464 job=detector",
        false,
    ),
    (
        "alertname=QuorumAtRisk pool=hot set=0 instance=n3:9464 job=detector",
        true,
    ),
    (
        "alertname=QuorumAtRisk pool=hot set=1 instance=n3:9464 job=detector",
        false,
    ),
    (
        "alertname=LockHealthDegraded path=iam instance=n3:9464 job=detector",
        false,
    ),
];

pub async fn check() -> anyhow::Result<()> {
    let lab = Lab::new(1)?;
    let (host, directory) = (lab.host(1), tempfile::tempdir()?);
    let alertmanager = alertmanager(host, directory.path())?;
    let add = |labels: &str| {
        let mut args = vec!["alert", "add", URL];
        args.extend(labels.split(' '));
        host.exec("amtool", &args)
    };
    testbed::until("the Alertmanager takes alerts", SOON, async || {
        ALERTS
            .iter()
            .try_for_each(|(labels, _)| add(labels).map(|_| ()))?;
        Ok(Some(()))
    })
    .await?;
    let silent = |is| {
        let these = ALERTS.iter().filter(move |(_, silent)| *silent == is);
        these.map(|(labels, _)| sorted(labels.split(' ').map(str::to_owned)))
    };
    testbed::until(
        "all that another one explains are silent",
        SOON,
        async || {
            let (inhibited, active) = (query(host, "--inhibited")?, query(host, "--active")?);
            let is_so = inhibited == silent(true).collect() && active == silent(false).collect();
            anyhow::ensure!(is_so, "silent: {inhibited:#?}\nnot silent: {active:#?}");
            Ok(Some(()))
        },
    )
    .await?;
    drop(alertmanager);
    Ok(())
}

/// The labels of the alerts in this state.
fn query(host: &Host, state: &str) -> anyhow::Result<BTreeSet<Vec<String>>> {
    let printed = host.exec("amtool", &["alert", "query", URL, state, "--output=json"])?;
    let alerts: Vec<Value> = serde_json::from_str(&printed)?;
    let labels = alerts
        .iter()
        .filter_map(|alert| alert["labels"].as_object());
    let shown = labels.map(|labels| {
        let labels = labels.iter();
        sorted(labels.map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default())))
    });
    Ok(shown.collect())
}

fn sorted(labels: impl Iterator<Item = String>) -> Vec<String> {
    let mut labels: Vec<String> = labels.collect();
    labels.sort();
    labels
}
