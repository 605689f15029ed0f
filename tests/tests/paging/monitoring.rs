//! A real Prometheus and a real Alertmanager, with the files of deploy/.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use detector_tests::{Host, Process, get, testbed};
use serde_json::Value;
use tempfile::TempDir;

const PROMETHEUS: &str = "127.0.0.1:9090";
const ALERTMANAGER: &str = "127.0.0.1:9093";
/// What Grafana puts into queries, for a scrape interval of 3 s.
const RATE_INTERVAL: &str = "1m";
/// A rate needs two scrapes after the first value.
const PANEL_WITHIN: Duration = Duration::from_secs(30);

pub fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

pub struct Monitoring {
    host: Host,
    prometheus: Process,
    alertmanager: Process,
    _directory: TempDir,
}

impl Monitoring {
    pub fn start(host: &Host) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("prometheus.yml");
        let sample = fs::read_to_string(deploy().join("prometheus/prometheus.yml"))?;
        fs::write(&file, for_the_lab(&sample)?)?;
        let mut command = host.command("prometheus");
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!(
            "--storage.tsdb.path={}",
            directory.path().join("data").display()
        ));
        command.arg(format!("--web.listen-address={PROMETHEUS}"));
        Ok(Self {
            host: host.clone(),
            prometheus: Process::start("prometheus (cargo xtask setup)", command)?,
            alertmanager: alertmanager(host, directory.path())?,
            _directory: directory,
        })
    }

    /// The series that a query gives now.
    pub fn query(&self, expression: &str) -> anyhow::Result<Vec<Value>> {
        let expression: String = expression.bytes().map(|b| format!("%{b:02x}")).collect();
        let path = format!("/api/v1/query?query={expression}");
        let answer = get(&self.host, PROMETHEUS.parse()?, &path)?;
        let mut answer: Value = serde_json::from_str(&answer)?;
        match answer["data"]["result"].take() {
            Value::Array(series) => Ok(series),
            other => bail!("not a result: {other}"),
        }
    }

    /// Waits until the query gives something.
    pub async fn holds(&self, expression: &str, within: Duration) -> anyhow::Result<()> {
        testbed::until(expression, within, async || {
            let series = self.query(expression)?;
            let is_number = |series: &Value| series["value"][1] != "NaN";
            Ok(series.iter().any(is_number).then_some(()))
        })
        .await
        .with_context(|| self.logs())
    }

    /// Each query of each panel of the dashboard gives data.
    pub async fn dashboard(&self) -> anyhow::Result<()> {
        let text = fs::read_to_string(deploy().join("grafana/detector.json"))?;
        let dashboard: Value = serde_json::from_str(&text)?;
        let panels = dashboard["panels"].as_array().context("no panels")?;
        let mut asked = 0;
        for panel in panels {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let query = target["expr"].as_str().context("no query")?;
                let query = query.replace("$__rate_interval", RATE_INTERVAL);
                let answered = self.holds(&query, PANEL_WITHIN).await;
                answered.with_context(|| format!("the panel {}", panel["title"]))?;
                asked += 1;
            }
        }
        anyhow::ensure!(asked > 30, "{asked} queries");
        Ok(())
    }

    /// Waits until the Alertmanager has this alert, and tells nobody because of another one.
    pub async fn is_inhibited(&self, alert: &str, within: Duration) -> anyhow::Result<()> {
        testbed::until(alert, within, async || {
            let alerts = get(&self.host, ALERTMANAGER.parse()?, "/api/v2/alerts")?;
            let alerts: Vec<Value> = serde_json::from_str(&alerts)?;
            let of_alert = |one: &&Value| one["labels"]["alertname"] == alert;
            let found = alerts.iter().find(of_alert);
            let by = found.and_then(|one| one["status"]["inhibitedBy"].as_array());
            Ok(by.is_some_and(|by| !by.is_empty()).then_some(()))
        })
        .await
        .with_context(|| self.logs())
    }

    pub fn logs(&self) -> String {
        self.prometheus.stderr_tail(10) + "\n" + &self.alertmanager.stderr_tail(10)
    }
}

/// The sample with the lab's nodes, and the rules where they are.
fn for_the_lab(sample: &str) -> anyhow::Result<String> {
    let mut text = sample.to_owned();
    let rules = deploy().join("prometheus/rules/*.yml");
    for (from, to) in [
        ("rules/*.yml", rules.to_str().context("a path in UTF-8")?),
        (
            r#""node1:9464", "node2:9464""#,
            r#""10.77.0.1:9464", "10.77.0.2:9464""#,
        ),
        (r#""node3:9464", "node4:9464""#, r#""10.77.0.3:9464""#),
    ] {
        anyhow::ensure!(text.contains(from), "{from} is not in the sample");
        text = text.replace(from, to);
    }
    Ok(text)
}

/// Debian's program reads its templates at a fixed place. Where it is only unpacked, they are laid
/// there for it alone.
const WITH_TEMPLATES: &str = r#"
program=$(command -v prometheus-alertmanager) || exit 1
if ! [ -e /usr/share/prometheus/alertmanager ]; then
    share=${program%/bin/*}/share/prometheus
    mount -t tmpfs nodev /usr/share && mkdir /usr/share/prometheus &&
        mount --bind "$share" /usr/share/prometheus || exit 1
fi
exec "$program" "$@"
"#;

/// With the file of deploy/, unchanged.
pub fn alertmanager(host: &Host, directory: &Path) -> anyhow::Result<Process> {
    let file = deploy().join("alertmanager/alertmanager.yml");
    let mut command = host.command("unshare");
    command.args(["--mount", "--", "sh", "-c", WITH_TEMPLATES, "alertmanager"]);
    command.arg(format!("--config.file={}", file.display()));
    command.arg(format!(
        "--storage.path={}",
        directory.join("alerts").display()
    ));
    command.args([
        &format!("--web.listen-address={ALERTMANAGER}"),
        "--cluster.listen-address=",
    ]);
    Process::start("prometheus-alertmanager (cargo xtask setup)", command)
}
