//! What all end-to-end tests have in common.

use std::{env, future::Future, path::Path, time::Duration};

use anyhow::{Context as _, bail, ensure};
use tokio::process::Command;

use crate::binary;

/// Set to 1 to skip the tests that need root, where there is none.
pub const SKIP: &str = "DETECTOR_SKIP_ROOT_TESTS";

/// Runs a test that needs root, with a time limit. Without root it fails and says why, or is
/// skipped if the environment asks for that.
pub async fn run(
    limit: Duration,
    test: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        if env::var(SKIP).is_ok_and(|value| value == "1") {
            println!("skipped: needs root for network namespaces, and {SKIP}=1 is set");
            return Ok(());
        }
        bail!("needs root for network namespaces and eBPF; {SKIP}=1 skips these tests");
    }
    tokio::time::timeout(limit, test)
        .await
        .with_context(|| format!("the test did not end within {limit:?}"))?
}

/// Polls until there is a result. Use it for what cannot be awaited, such as another program's
/// page, or a kernel object that is freed in the background.
pub async fn until<T>(
    what: &str,
    within: Duration,
    mut ask: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let mut last_error = None;
    let asking = async {
        loop {
            match ask().await {
                Ok(Some(answer)) => return answer,
                Ok(None) => last_error = None,
                Err(error) => last_error = Some(error),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(within, asking).await {
        Ok(answer) => Ok(answer),
        Err(_) => match last_error {
            Some(error) => Err(error.context(format!("{what}: not within {within:?}"))),
            None => bail!("{what}: not within {within:?}"),
        },
    }
}

/// Runs the benchmark program with these arguments and the daemon of this build; returns what it
/// prints. Its files are in `out`.
pub async fn benchmark(program: &str, args: &[&str], out: &Path) -> anyhow::Result<String> {
    let run = Command::new(program)
        .args(args)
        .arg("--out")
        .arg(out)
        .env("DETECTOR_BIN", binary()?)
        .kill_on_drop(true)
        .output()
        .await
        .context("cannot run the benchmark")?;
    let printed = String::from_utf8_lossy(&run.stdout).into_owned();
    let errors = String::from_utf8_lossy(&run.stderr);
    ensure!(run.status.success(), "{printed}{errors}");
    Ok(printed)
}
