//! The alerts in deploy/: each has what an operator needs, leads to a heading of the runbook, asks
//! for metrics that there are, and has a test that sees it fire and one that sees it silent.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

const RUNBOOK: &str = include_str!("../../deploy/RUNBOOK.md");
const RUNBOOK_URL: &str = "https://runbooks.example.com/detector/RUNBOOK.md#";
const OPERATIONS: &str = include_str!("../../docs/operations.md");
const DASHBOARD: &str = include_str!("../../deploy/grafana/detector.json");
const SEVERITIES: [&str; 4] = ["emergency", "critical", "warning", "info"];

/// The alerts that RustFS's documents promise, with their severities: nine (two critical, six
/// warnings, one of information; the documents name five of them), and six.
const DOCUMENTED: [(&str, &str); 15] = [
    ("IAMLockTimeoutHigh", "critical"),
    ("MultipleNodesUnreachable", "critical"),
    ("ConfigReadTimeoutHigh", "warning"),
    ("ConfigReadSlow", "warning"),
    ("DiskStateCheckTimeoutHigh", "warning"),
    ("DiskStateCheckSlow", "warning"),
    ("NodeUnreachableExtended", "warning"),
    ("QuorumAtRisk", "warning"),
    ("LockRetriesHigh", "info"),
    ("LockHealthDegraded", "warning"),
    ("LockHealthUnhealthy", "critical"),
    ("CascadingFailureDetected", "critical"),
    ("RecurringCascadingFailures", "emergency"),
    ("LockHealthTimeoutsAccumulating", "warning"),
    ("CascadingFailureEventsSpike", "warning"),
];

#[derive(Deserialize)]
struct RuleFile {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    alert: Option<String>,
    record: Option<String>,
    expr: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct TestFile {
    tests: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    #[serde(default)]
    alert_rule_test: Vec<AlertTest>,
    #[serde(default)]
    promql_expr_test: Vec<Query>,
}

#[derive(Deserialize)]
struct AlertTest {
    alertname: String,
    #[serde(default)]
    exp_alerts: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Query {
    expr: String,
    #[serde(default)]
    exp_samples: Vec<Sample>,
}

#[derive(Deserialize)]
struct Sample {
    #[serde(default)]
    labels: String,
    value: f64,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read<T: for<'a> Deserialize<'a>>(folder: &str) -> Vec<T> {
    let folder = root().join("deploy/prometheus").join(folder);
    let files = fs::read_dir(folder).unwrap();
    let texts = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
    texts
        .map(|text| serde_saphyr::from_str(&text).unwrap())
        .collect()
}

fn rules() -> Vec<Rule> {
    let files: Vec<RuleFile> = read("rules");
    let groups = files.into_iter().flat_map(|file| file.groups);
    groups.flat_map(|group| group.rules).collect()
}

fn alerts() -> BTreeMap<String, Rule> {
    let alerts = rules().into_iter();
    let named = alerts.filter_map(|rule| Some((rule.alert.clone()?, rule)));
    named.collect()
}

/// The anchors of the headings, as GitHub makes them.
fn anchors(markdown: &str) -> BTreeSet<String> {
    let headings = markdown.lines().filter_map(|line| line.strip_prefix("##"));
    let anchor = |heading: &str| -> String {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn each_alert_says_what_it_is_what_to_do_and_where_that_is_explained() {
    let anchors = anchors(RUNBOOK);
    let alerts = alerts();
    assert!(alerts.len() > 30, "{}", alerts.len());
    for (name, alert) in &alerts {
        for annotation in ["summary", "description", "remediation"] {
            let text = alert.annotations.get(annotation);
            assert!(
                text.is_some_and(|text| text.len() > 10),
                "{name}: {annotation}"
            );
        }
        let url = &alert.annotations["runbook_url"];
        let anchor = url
            .strip_prefix(RUNBOOK_URL)
            .unwrap_or_else(|| panic!("{name}: {url}"));
        assert_eq!(anchor, name.to_lowercase());
        assert!(
            anchors.contains(anchor),
            "{name}: no heading {anchor} in deploy/RUNBOOK.md"
        );
        let severity = alert.labels["severity"].as_str();
        assert!(SEVERITIES.contains(&severity), "{name}: {severity}");
        assert!(
            OPERATIONS.contains(name),
            "{name} is not in docs/operations.md"
        );
    }
}

#[test]
fn the_documents_fifteen_are_there_with_their_severities() {
    let alerts = alerts();
    for (name, severity) in DOCUMENTED {
        let alert = alerts
            .get(name)
            .unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(alert.labels["severity"], severity, "{name}");
    }
}

/// A test of the alert's samples that selects this alert or all of them.
fn concerns(query: &Query, name: &str) -> bool {
    let this = format!("alertname=\"{name}\"");
    query.expr.contains("ALERTS")
        && (query.expr.contains(&this) || !query.expr.contains("alertname="))
}

fn fires(query: &Query, name: &str) -> bool {
    let this = format!("alertname=\"{name}\"");
    let is_selected = query.expr.contains(&this) && !query.exp_samples.is_empty();
    is_selected
        || query
            .exp_samples
            .iter()
            .any(|sample| sample.labels.contains(&this))
}

/// In this case the alert is expected to fire at one time, and to be silent at another.
fn sees_both(case: &Case, name: &str) -> bool {
    let by_rule = case
        .alert_rule_test
        .iter()
        .filter(|test| test.alertname == name);
    let by_rule = by_rule.map(|test| !test.exp_alerts.is_empty());
    let queries = case
        .promql_expr_test
        .iter()
        .filter(|query| concerns(query, name));
    let seen: BTreeSet<bool> = by_rule
        .chain(queries.map(|query| fires(query, name)))
        .collect();
    seen.len() == 2
}

#[test]
fn each_alert_is_tested_to_fire_and_to_be_silent() {
    let files: Vec<TestFile> = read("tests");
    let cases: Vec<Case> = files.into_iter().flat_map(|file| file.tests).collect();
    let alerts = alerts();
    let untested: Vec<_> = alerts
        .keys()
        .filter(|name| !cases.iter().any(|case| sees_both(case, name)))
        .collect();
    assert!(
        untested.is_empty(),
        "without a case that sees both: {untested:?}"
    );
}

/// A recorded series is there with a value, and absent or zero in another test.
#[test]
fn each_recording_rule_is_tested_with_something_and_with_nothing() {
    let files: Vec<TestFile> = read("tests");
    let cases = files.into_iter().flat_map(|file| file.tests);
    let queries: Vec<Query> = cases.flat_map(|case| case.promql_expr_test).collect();
    let records: Vec<String> = rules().into_iter().filter_map(|rule| rule.record).collect();
    assert!(records.len() >= 5, "{records:?}");
    for record in records {
        let about: Vec<_> = queries
            .iter()
            .filter(|query| query.expr.contains(&record))
            .collect();
        let samples = |query: &&&Query| query.exp_samples.iter().any(|sample| sample.value > 0.0);
        assert!(
            about.iter().any(|query| samples(&query)),
            "{record} with something"
        );
        let nothing = about.iter().any(|query| {
            query.exp_samples.is_empty()
                || query.exp_samples.iter().any(|sample| sample.value == 0.0)
        });
        assert!(nothing, "{record} with nothing");
    }
}

/// The words of a query that are names of metrics of ours.
fn metrics_of(query: &str) -> impl Iterator<Item = &str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_:".contains(c);
    let words = query.split(move |c| !is_name(c));
    words.filter(|word| {
        word.starts_with("detector_") || word.starts_with("rustfs_") || word.contains(":detector_")
    })
}

/// The queries of the dashboard's panels.
fn panels() -> Vec<String> {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    targets
        .map(|target| target["expr"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn alerts_and_panels_ask_for_metrics_that_there_are() {
    let rules = rules();
    let recorded: BTreeSet<_> = rules
        .iter()
        .filter_map(|rule| rule.record.clone())
        .collect();
    let table = root().join("detector-user/src/serve/metrics/series.rs");
    let table = fs::read_to_string(table).unwrap();
    let queries = rules.iter().map(|rule| rule.expr.clone()).chain(panels());
    let queries: Vec<String> = queries.collect();
    let metrics: BTreeSet<_> = queries.iter().flat_map(|query| metrics_of(query)).collect();
    assert!(metrics.len() > 30, "{metrics:?}");
    for metric in metrics {
        let whole = metric.strip_suffix("_bucket").unwrap_or(metric);
        let is_there = recorded.contains(metric) || table.contains(&format!("\"{whole}\""));
        assert!(is_there, "{metric} is not exported");
    }
}
