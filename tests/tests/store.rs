//! The small store: how its clients experience a power cut, with and without a detector.

use std::time::Duration;

use anyhow::ensure;
use detector_tests::{
    store::{Daemons, Measured, Op, Options, run, scenario},
    testbed,
};

const LIMIT: Duration = Duration::from_secs(150);

/// Small and short: what it shows is that it works. The daemons destroy no sockets: what frees
/// the store's calls here is the crate alone.
fn quick() -> Options {
    let mut options = Options::new("ebpf", true);
    options.daemon.config = Some("destroy_sockets = \"off\"\n".into());
    options
}

/// Whatever happened: nothing that was acknowledged is lost, nothing hangs.
fn nothing_lost(measured: &Measured) -> anyhow::Result<()> {
    ensure!(measured.damaged.is_empty(), "{measured:#?}");
    ensure!(measured.acknowledged > 0, "nothing was acknowledged");
    for error in measured.ops.values().filter_map(|seen| seen.error.as_ref()) {
        ensure!(!error.contains("it hangs"), "{error}");
    }
    Ok(())
}

/// What a client may wait with a detector. The machine may be slow: what the time-outs of
/// today take is far beyond it.
const SOON: Duration = Duration::from_secs(8);

fn soon(measured: &Measured) -> anyhow::Result<()> {
    for (op, _) in Op::ALL {
        let seen = measured.ops.get(&op);
        let worst = seen.map_or(f64::INFINITY, |seen| seen.worst_ms);
        ensure!(worst < SOON.as_secs_f64() * 1000.0, "{op:?}: {measured:#?}");
    }
    Ok(())
}

fn all_succeeded(measured: &Measured) -> anyhow::Result<()> {
    let failed = measured.ops.values().any(|seen| seen.failed > 0);
    ensure!(!failed && !measured.ops.is_empty(), "{measured:#?}");
    Ok(())
}

#[tokio::test]
async fn a_healthy_store_gives_back_what_it_took() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let measured = run(scenario("healthy")?.with(Daemons::Today), &quick()).await?;
        nothing_lost(&measured)?;
        all_succeeded(&measured)
    })
    .await
}

#[tokio::test]
async fn a_cut_in_transfer_is_hardly_seen_with_a_detector() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let measured = run(scenario("cut-in-transfer")?, &quick()).await?;
        nothing_lost(&measured)?;
        all_succeeded(&measured)?;
        soon(&measured)
    })
    .await
}

/// Unmodified nodes: an outage that is long enough for a death, and over before today's time-outs.
#[tokio::test]
async fn a_flap_costs_an_unmodified_store_no_small_request() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let mut options = quick();
        options.daemon.config = None;
        let measured = run(scenario("flap-400ms")?, &options).await?;
        nothing_lost(&measured)?;
        for (op, seen) in &measured.ops {
            ensure!(
                op.is_transfer() || seen.failed == 0,
                "{op:?}: {measured:#?}"
            );
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_lost_quorum_is_an_error_and_no_hang() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let measured = run(scenario("two-nodes-cut")?, &quick()).await?;
        nothing_lost(&measured)?;
        let failed = measured.ops.get(&Op::SmallPut).map(|seen| seen.failed);
        ensure!(failed.is_some_and(|n| n > 0), "{measured:#?}");
        soon(&measured)
    })
    .await
}

#[tokio::test]
async fn a_daemon_that_lies_about_its_version_is_not_believed() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        // Every peer is said to be down: were it believed, there would be no quorum.
        let measured = run(scenario("healthy")?.with(Daemons::Lie), &quick()).await?;
        nothing_lost(&measured)?;
        all_succeeded(&measured)
    })
    .await
}
