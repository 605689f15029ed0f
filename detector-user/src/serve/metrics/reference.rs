//! docs/metrics.md and the table of metrics say the same.

use std::collections::BTreeSet;

use super::series::TABLE;

const REFERENCE: &str = include_str!("../../../../docs/metrics.md");

/// RustFS's documents name this gauge so.
const NAMED_BY_THE_DOCUMENTS: &str = "rustfs_available_disks_total";

fn kind(of: &str) -> &'static str {
    match of {
        "IntCounter" | "IntCounterVec" => "counter",
        "Histogram" => "histogram",
        _ => "gauge",
    }
}

/// The first four cells that the reference must have for a metric, and its help.
fn expected() -> BTreeSet<[String; 4]> {
    let rows = TABLE.iter().map(|(name, of, help, more)| {
        let labels: Vec<_> = more.split('"').skip(1).step_by(2).collect();
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = match labels.is_empty() {
            true => "-".to_owned(),
            false => labels.join(", "),
        };
        let name = format!("`{name}`");
        [name, kind(of).to_owned(), labels, (*help).to_owned()]
    });
    rows.collect()
}

/// The rows of the reference: name, kind, labels, unit, help.
fn rows() -> Vec<[&'static str; 5]> {
    let rows = REFERENCE.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|line| line.trim_matches(['|', ' ']).split(" | "));
    let five = cells.filter_map(|cells| cells.collect::<Vec<_>>().try_into().ok());
    five.collect()
}

#[test]
fn the_reference_names_each_metric_with_its_kind_its_labels_and_its_help() {
    let documented: BTreeSet<_> = rows()
        .into_iter()
        .map(|[name, kind, labels, _, help]| [name, kind, labels, help].map(str::to_owned))
        .collect();
    let expected = expected();
    let either: Vec<_> = expected.symmetric_difference(&documented).collect();
    assert!(
        either.is_empty(),
        "only in the code, or only in docs/metrics.md: {either:#?}"
    );
}

#[test]
fn each_name_tells_the_unit() {
    for [name, kind, _, unit, help] in rows() {
        let name = name.trim_matches('`');
        let is_named = name == NAMED_BY_THE_DOCUMENTS;
        assert!(help.ends_with('.'), "{name}: {help}");
        assert!(!unit.is_empty(), "{name} has no unit");
        assert_eq!(unit == "s", name.ends_with("_seconds"), "{name}: {unit}");
        assert!(
            is_named || (kind == "counter") == name.ends_with("_total"),
            "{name} is a {kind}"
        );
    }
}
