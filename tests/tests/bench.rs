//! The benchmark works. This test does not judge its results.

use std::{fs, time::Duration};

use anyhow::{Context as _, ensure};
use detector_tests::testbed;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(240);
const ROWS: &str = "calls-3,deaf-behind-arp,process-killed,probing-10-on-link";

#[tokio::test]
async fn a_quick_run_writes_every_cut_and_its_plots() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let out = tempfile::tempdir()?;
        let bench = env!("CARGO_BIN_EXE_bench");
        let said = testbed::benchmark(bench, &["--quick", "--rows", ROWS], out.path()).await?;

        let json = fs::read_to_string(out.path().join("bench.json"))?;
        let report: Value = serde_json::from_str(&json)?;
        let row = &report["results"]["cuts"][0];
        assert_eq!(row["row"], "calls-3");
        let cuts = row["cuts"].as_array().context("no cuts")?;
        assert_eq!(cuts.len(), 2);
        for (cut, kind) in cuts.iter().zip(["port_down", "silent_drop"]) {
            assert_eq!(cut["kind"], kind);
            let times = ["suspect_ms", "open_ms", "closed_ms"].map(|key| cut[key].as_f64());
            let [Some(suspect), Some(open), Some(_)] = times else {
                anyhow::bail!("not all was measured: {cut}");
            };
            assert!(suspect <= open, "{cut}");
            assert!(cut["baselines"].get("phi").is_some(), "{cut}");
        }
        assert_eq!(report["summaries"][0]["open"]["count"], 2);
        let gray = &report["results"]["gray"][0];
        assert_eq!(gray["fault"], "deaf");
        let seen = gray["seen"].as_array().context("no faults")?;
        assert_eq!(seen.len(), 2);
        for seen in seen {
            let told = seen["told"].as_array().context("nothing was told")?;
            ensure!(!told.is_empty(), "{seen}");
            ensure!(seen["explained"].is_string(), "{seen}");
        }
        let alarms = &report["results"]["alarms"][0];
        assert_eq!(alarms["row"], "process-killed");
        assert_eq!(alarms["ours"], 0, "{alarms}");
        let idle = &report["results"]["idle"][0];
        assert_eq!(idle["row"], "probing-10-on-link");
        let probes = |which: &str| idle[which]["probes_per_second"].as_f64();
        let probes = [probes("probing"), probes("not_probing")];
        let [Some(on), Some(off)] = probes else {
            anyhow::bail!("not all was measured: {idle}");
        };
        // Each of the ten is asked every 350 ms, or not at all.
        ensure!(on > 15.0 && off < 5.0, "{idle}");
        for name in ["latency.svg", "latency.png", "bench.txt"] {
            assert!(out.path().join(name).metadata()?.len() > 100, "{name}");
        }
        assert!(said.contains("targets met"), "{said}");
        Ok(())
    })
    .await
}
