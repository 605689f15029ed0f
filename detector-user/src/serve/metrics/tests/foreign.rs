//! Names from elsewhere, in labels.

use super::*;

#[test]
fn a_name_ends_neither_its_label_nor_its_line() {
    let metrics = Metrics::new().unwrap();
    let name = "http://a\"} 1\nforged_total{x=\"\\";
    metrics.state_published(None, &state(name, Verdict::Alive, Breaker::Closed));
    let text = metrics.render();
    assert!(
        !text.lines().any(|line| line.starts_with("forged")),
        "{text}"
    );
    has(
        &text,
        r#"rustfs_circuit_breaker_state{peer="http://a\"} 1\nforged_total{x=\"\\"} 0"#,
    );
}
