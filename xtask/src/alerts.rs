//! Checks and tests the alerts in deploy/, with the tools that operators have.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use crate::{
    invocation::Invocation,
    step::{Runner, Step},
    workspace::Workspace,
};

/// The rules by promtool, the routes by amtool.
pub fn check(runner: &Runner, workspace: &Workspace) -> Result<()> {
    runner.heading("alerts");
    let prometheus = workspace.root.join("deploy/prometheus");
    let promtool = workspace.tool("promtool")?;
    runner.run(&Step::new(
        "check the rules",
        "a rule file that Prometheus refuses would silence every alert",
        Invocation::new(&promtool)
            .args(["check", "config"])
            .args([prometheus.join("prometheus.yml")]),
    ))?;
    let mut tests: Vec<_> = fs::read_dir(prometheus.join("tests"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    tests.sort();
    runner.run(&Step::new(
        "test the rules",
        "each alert fires when it should and not otherwise",
        Invocation::new(&promtool)
            .args(["test", "rules"])
            .args(tests),
    ))?;
    routes(runner, workspace)
}

fn routes(runner: &Runner, workspace: &Workspace) -> Result<()> {
    let folder = workspace.root.join("deploy/alertmanager");
    let config = folder.join("alertmanager.yml");
    let amtool = workspace.tool("amtool")?;
    runner.run(&Step::new(
        "check the routes",
        "an Alertmanager that refuses its file tells nobody of anything",
        Invocation::new(&amtool)
            .args(["check-config"])
            .args([&config]),
    ))?;
    for (receiver, labels) in cases(&folder.join("routes.txt"))? {
        let route = ["config", "routes", "test"].map(str::to_owned);
        let options = [
            format!("--config.file={}", config.display()),
            format!("--verify.receivers={receiver}"),
        ];
        runner.run(&Step::new(
            format!("test the route of {}", labels.join(" ")),
            format!("it should reach {receiver}"),
            Invocation::new(&amtool)
                .args(route)
                .args(options)
                .args(labels),
        ))?;
    }
    Ok(())
}

/// The receiver and the labels of each line that is no comment.
fn cases(file: &Path) -> Result<Vec<(String, Vec<String>)>> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let cases = lines.filter_map(|line| {
        let mut words = line.split_whitespace().map(str::to_owned);
        Some((words.next()?, words.collect()))
    });
    Ok(cases.collect())
}
