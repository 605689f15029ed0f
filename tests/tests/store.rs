//! The small store: what its clients see of a power cut, with a detector and without.

use std::time::Duration;

use anyhow::ensure;
use detector_tests::{
    store::{Build, Measured, Op, Options, Pace, Scenario, run},
    testbed,
};

const LIMIT: Duration = Duration::from_secs(150);

/// Small and short: what it shows is that it works.
fn quick() -> Options {
    Options {
        big_bytes: 16 << 20,
        pace: Pace {
            bytes_per_second: 4 << 20,
        },
        window: Duration::from_secs(5),
        window_today: Duration::from_secs(35),
        ..Options::default()
    }
}

/// Whatever happened: nothing that was acknowledged is lost, nothing hangs.
fn nothing_lost(measured: &Measured) -> anyhow::Result<()> {
    ensure!(measured.damaged.is_empty(), "{:#?}", measured.damaged);
    ensure!(measured.acknowledged > 0, "nothing was acknowledged");
    let hangs = measured.ops.values().filter_map(|seen| seen.error.as_ref());
    for error in hangs {
        ensure!(!error.contains("it hangs"), "{error}");
    }
    Ok(())
}

fn worst(measured: &Measured, op: Op) -> Duration {
    let seen = measured.ops.get(&op);
    seen.map_or(Duration::ZERO, |seen| {
        Duration::from_secs_f64(seen.worst_ms / 1000.0)
    })
}

#[tokio::test]
async fn a_healthy_store_gives_back_what_it_took() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let measured = run(Scenario::Healthy, Build::Today, &quick()).await?;
        nothing_lost(&measured)?;
        for (op, seen) in &measured.ops {
            ensure!(seen.count > 0 && seen.failed == 0, "{op:?}: {seen:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore]
async fn try_one() -> anyhow::Result<()> {
    let name = std::env::var("SCENARIO")?;
    let scenario = Scenario::ALL
        .into_iter()
        .find(|s| s.as_str() == name)
        .unwrap();
    let build = match std::env::var("BUILD")?.as_str() {
        "today" => Build::Today,
        _ => scenario.build(),
    };
    testbed::run(LIMIT, async {
        let measured = run(scenario, build, &quick()).await?;
        println!("{measured:#?}");
        Ok(())
    })
    .await
}
