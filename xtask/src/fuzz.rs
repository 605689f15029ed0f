//! `cargo xtask fuzz`: libFuzzer searches for bytes that bring the daemon down.
//!
//! The targets are those of `detector_user::hostile`, whose unit tests read damaged samples with the
//! same functions. Here our own crates are compiled so that libFuzzer sees which branches an input
//! takes; others are taken as they are built already. This needs no nightly, but a C++ compiler.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    invocation::Invocation,
    plan::Needs,
    setup,
    step::{Runner, Step},
    workspace::{Profile, Workspace},
};

/// The samples, a folder for each target.
const CORPUS: &str = "detector-user/fuzz/corpus";
/// Where it works: what was found, and the inputs that reach something new.
const WORK: &str = "target/fuzz";
const WRAPPER: &str = "detector-user/fuzz/instrumented.sh";

/// An input is no longer than this: a larger one is only slower.
const LONGEST: usize = 8192;
/// No input may take longer, or more memory.
const SECONDS_FOR_ONE: u32 = 10;
const MEGABYTES: u32 = 512;

/// The options of `cargo xtask fuzz`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Only this target; the folders in detector-user/fuzz/corpus are their names.
    target: Option<String>,
    /// How long each target is searched.
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
    /// As many inputs for each target instead, the same ones for the same seed.
    #[arg(long, value_name = "N", conflicts_with = "seconds", requires = "seed")]
    runs: Option<u32>,
    /// Seed of the search; random by default.
    #[arg(long, value_name = "N")]
    seed: Option<u32>,
}

/// Builds the program, and searches one target after the other. The first input that brings one down
/// ends it.
pub fn run(runner: &Runner, workspace: &Workspace, options: &Options) -> Result<()> {
    let targets = chosen(targets(&workspace.root)?, options.target.as_deref())?;
    setup::prepare(runner, Needs::FUZZ)?;
    runner.heading("build libFuzzer's program");
    runner.run(&build(&workspace.root))?;
    let program = workspace.binary(Profile::Debug, "detector-fuzz");
    for target in &targets {
        runner.heading(&format!("search {target}"));
        search(runner, &program, target, options)?;
    }
    Ok(())
}

/// The names of all targets.
fn targets(root: &Path) -> Result<Vec<String>> {
    let folder = root.join(CORPUS);
    let entries = fs::read_dir(&folder).with_context(|| format!("no {}", folder.display()))?;
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut names: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
    names.sort();
    Ok(names)
}

fn chosen(all: Vec<String>, wanted: Option<&str>) -> Result<Vec<String>> {
    match wanted {
        None => Ok(all),
        Some(name) if all.iter().any(|known| known == name) => Ok(vec![name.to_owned()]),
        Some(name) => bail!("no target {name:?}; there are {}", all.join(", ")),
    }
}

fn build(root: &Path) -> Step {
    let cargo = Invocation::cargo("build")
        .args(["--package", "detector-fuzz"])
        .args(["--features", "libfuzzer"])
        .env("RUSTC_WORKSPACE_WRAPPER", root.join(WRAPPER));
    Step::new(
        "compile the daemon's functions with libFuzzer's counters",
        "libFuzzer keeps the inputs that reach branches which no other has reached",
        cargo,
    )
}

fn search(runner: &Runner, program: &Path, target: &str, options: &Options) -> Result<()> {
    let work = PathBuf::from(WORK).join(target);
    let (reached, found) = (work.join("reached"), work.join("found"));
    if !runner.dry_run {
        for folder in [&reached, &found] {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
    }
    let searched = runner.run(&Step::new(
        format!("search {target}"),
        "an input that panics, takes long or takes much memory is a mistake of ours",
        libfuzzer(program, target, options, &reached, &found),
    ));
    searched.with_context(|| {
        format!(
            "an input brings {target} down: it is in {}, and above in base64; put it into \
             {CORPUS}/{target}/ under a name that says what it is, mend the code, and `cargo test \
             --package detector-user --lib hostile` reads it from then on",
            found.display()
        )
    })
}

fn libfuzzer(
    program: &Path,
    target: &str,
    options: &Options,
    reached: &Path,
    found: &Path,
) -> Invocation {
    let until = match options.runs {
        Some(runs) => format!("-runs={runs}"),
        None => format!("-max_total_time={}", options.seconds),
    };
    let seed = options.seed.map(|seed| format!("-seed={seed}"));
    let options = [
        until,
        format!("-max_len={LONGEST}"),
        format!("-timeout={SECONDS_FOR_ONE}"),
        format!("-rss_limit_mb={MEGABYTES}"),
        format!("-artifact_prefix={}/", found.display()),
        "-print_final_stats=1".to_owned(),
        "-verbosity=0".to_owned(),
    ];
    Invocation::new(program)
        .args(options)
        .args(seed)
        .args([reached])
        .args([Path::new(CORPUS).join(target)])
        .env("DETECTOR_FUZZ_TARGET", target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    #[test]
    fn the_targets_are_the_folders_and_an_unknown_one_lists_them() {
        let all = targets(&root()).unwrap();
        assert!(all.contains(&"rtnetlink".to_owned()), "{all:?}");
        assert_eq!(chosen(all.clone(), None).unwrap(), all);
        assert_eq!(chosen(all.clone(), Some("arp")).unwrap(), ["arp"]);
        let error = chosen(all, Some("arps")).unwrap_err().to_string();
        assert!(error.contains("\"arps\"; there are arp, btf"), "{error}");
    }

    /// New inputs go into the first folder: the samples in the checkout stay as they are.
    #[test]
    fn what_is_found_goes_into_the_build_s_directory() {
        let (reached, found) = (Path::new("target/r"), Path::new("target/f"));
        let options = Options {
            target: None,
            seconds: 60,
            runs: Some(9),
            seed: Some(2),
        };
        let line = libfuzzer(Path::new("x"), "arp", &options, reached, found).display(true);
        assert!(
            line.starts_with("DETECTOR_FUZZ_TARGET=arp x -runs=9 "),
            "{line}"
        );
        assert!(line.contains(" -seed=2 "), "{line}");
        assert!(
            line.ends_with(" target/r detector-user/fuzz/corpus/arp"),
            "{line}"
        );
        assert!(line.contains("-artifact_prefix=target/f/ "), "{line}");
    }

    #[test]
    fn the_wrapper_can_be_run() {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(root().join(WRAPPER)).unwrap().permissions();
        assert_ne!(mode.mode() & 0o111, 0);
    }
}
