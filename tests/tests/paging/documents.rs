//! The commands of ours in deploy/RUNBOOK.md and deploy/CHECKLIST.md, run on a node.

use std::fs;

use anyhow::{Context as _, ensure};
use detector_tests::{METRICS, get};

use crate::{cluster::Cluster, monitoring::deploy};

/// The commands that ask, and end by themselves.
const ASKING: [&str; 7] = [
    "peers", "explain", "locks", "cascades", "quorum", "doctor", "config",
];

/// `detector doctor` exits with this where something is missing.
const MISSING: i32 = 5;

/// While h3 is dead: each command ends well, and what it prints is of this cluster.
pub fn run(cluster: &Cluster) -> anyhow::Result<()> {
    let mut ran = 0;
    for document in ["RUNBOOK.md", "CHECKLIST.md"] {
        let file = deploy().join(document);
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        for line in commands(&text) {
            run_one(cluster, line).with_context(|| format!("{document}: {line}"))?;
            ran += 1;
        }
    }
    ensure!(ran > 20, "{ran} commands");
    all_daemons(cluster)?;
    metrics(cluster)
}

/// The link of a page leads to a heading of the runbook.
pub fn explains(link: &str) -> anyhow::Result<()> {
    let (file, heading) = link.rsplit_once('#').context("no heading")?;
    let name = file.rsplit('/').next().unwrap_or(file);
    let text = fs::read_to_string(deploy().join(name)).with_context(|| link.to_owned())?;
    let mut headings = text.lines().filter_map(|line| line.strip_prefix("### "));
    let is_there = headings.any(|one| one.to_lowercase().replace(' ', "-") == heading);
    ensure!(is_there, "{name} has no heading for {link}");
    Ok(())
}

/// The commands of ours in the shell blocks, without comments and pipes.
fn commands(text: &str) -> impl Iterator<Item = &str> {
    let blocks = text.split("```").skip(1).step_by(2);
    let scripts = blocks.filter_map(|block| block.strip_prefix("sh\n"));
    let simple = scripts
        .flat_map(str::lines)
        .flat_map(|line| line.split(['#', '|', ';', '>']));
    let ours = simple.flat_map(|line| line.split("&&")).map(str::trim);
    ours.filter(|line| {
        let mut words = line.split(' ');
        words.next() == Some("detector") && words.next().is_some_and(|word| ASKING.contains(&word))
    })
}

fn run_one(cluster: &Cluster, line: &str) -> anyhow::Result<()> {
    let line = line.replace("http://node4:9000", &cluster.lab.host(3).url());
    let mut command = cluster.operated.command();
    let output = command.args(line.split_whitespace().skip(1)).output()?;
    let code = output.status.code();
    let is_fine = code == Some(0) || (line.contains("doctor") && code == Some(MISSING));
    ensure!(is_fine && !output.stdout.is_empty(), "{output:?}");
    Ok(())
}

fn all_daemons(cluster: &Cluster) -> anyhow::Result<()> {
    let output = cluster
        .operated
        .command()
        .args(["doctor", "--all"])
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let [living, dead] = [2, 3].map(|host| cluster.lab.host(host).v4());
    let told = format!("missing   daemon of {dead}");
    ensure!(
        output.status.code() == Some(MISSING) && said.contains(&told),
        "{said}"
    );
    let told = format!("degraded  daemon of {living}");
    let is_told = said.contains(&told) && said.contains(&format!("http://{dead}:9000 is dead"));
    ensure!(
        is_told && said.contains("\n0 ok, 2 degraded, 1 missing"),
        "{said}"
    );
    Ok(())
}

/// What Prometheus' own tool has to say of the metrics: that a name of RustFS's documents is odd.
fn metrics(cluster: &Cluster) -> anyhow::Result<()> {
    let node = cluster.lab.host(1);
    let text = get(node, METRICS.parse()?, "/metrics")?;
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), text)?;
    let check = format!(
        "promtool check metrics <{} 2>&1; true",
        file.path().display()
    );
    let said = node.exec("sh", &["-c", &check])?;
    let odd = said
        .lines()
        .filter(|line| !line.contains("rustfs_available_disks_total"));
    let odd: Vec<_> = odd.collect();
    ensure!(odd.is_empty(), "{odd:#?}");
    Ok(())
}
