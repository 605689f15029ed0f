//! What the daemon costs while all is well grows no faster than the number of peers, and not with
//! sockets that are none of its business: `bench cost --small`, which judges it by counts of
//! wake-ups and system calls.

use std::{fs, time::Duration};

use anyhow::{Context as _, ensure};
use detector_tests::testbed;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(180);

#[tokio::test]
async fn the_cost_grows_no_faster_than_the_number_of_peers() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let out = tempfile::tempdir()?;
        let bench = env!("CARGO_BIN_EXE_bench");
        let said = testbed::benchmark(bench, &["cost", "--small"], out.path()).await?;
        println!("{said}");

        let json = fs::read_to_string(out.path().join("cost.json"))?;
        let report: Value = serde_json::from_str(&json)?;
        let rows = report["rows"].as_array().context("no rows")?;
        assert_eq!(rows.len(), 8, "{said}");
        for row in rows {
            let wakeups = row["spent"]["wakeups_per_second"].as_f64();
            ensure!(wakeups > Some(0.0), "nothing was measured: {row}");
        }
        for name in ["cost.svg", "cost.png", "cost.txt"] {
            assert!(out.path().join(name).metadata()?.len() > 100, "{name}");
        }
        Ok(())
    })
    .await
}
