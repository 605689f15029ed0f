//! `detector report PEER`: everything about a peer that a ticket needs, in one file.
//!
//! ```text
//! daemon     what the daemon says: the evidence, the recordings, its configuration
//! machine    what this machine says: the journal, the versions
//! secrets    what is taken out of both
//! bundle     the file
//! ```
//!
//! What cannot be had is no error: the file says what is missing, and why.

mod bundle;
mod daemon;
mod machine;
mod secrets;

use std::path::{Path, PathBuf};

use serde_json::json;

use self::bundle::Part;
use super::{
    args::{Global, Output, ReportArgs},
    block_on, doctor,
    exit::{Exit, Failure},
    json, print,
};
use crate::{
    clock,
    config::{self, Loaded, parse_peer_name},
    process::Finder,
};

pub fn report(global: &Global, args: &ReportArgs) -> Result<Exit, Failure> {
    let peer = parse_peer_name(&args.peer)?.name.to_string();
    let name = name_of(&peer);
    let path = match &args.to {
        Some(path) => path.clone(),
        None => PathBuf::from(format!("{name}.tar.gz")),
    };
    // This takes seconds, so it is known before whether it is for nothing.
    bundle::is_free(&path, args.force)?;
    let file = config::load(global.config.as_deref(), &[]);
    let found = block_on(daemon::ask(global, &peer))?;
    let mut parts = found.parts;
    if found.daemon.is_none() {
        parts.push(daemon::configuration_file(&file));
    }
    parts.push(machine::journal("journalctl", found.daemon.as_ref()));
    parts.push(examined(file.ok()));
    parts.push(machine::versions(found.daemon.as_ref()));
    parts.insert(0, contents(&name, &peer, &parts));
    bundle::write(&path, &name, &parts, args.force)?;
    tell(global, &path, &name, &parts)?;
    found.failure.map_or(Ok(Exit::Done), Err)
}

/// The name of the bundle, and of the directory in it.
fn name_of(peer: &str) -> String {
    let host = peer.split("://").last().unwrap_or(peer);
    let plain: String = host
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '-'
            }
        })
        .collect();
    let at = clock::present().strftime("%Y%m%dT%H%M%SZ");
    format!("detector-report-{}-{at}", plain.trim_matches('-'))
}

fn examined(loaded: Option<Loaded>) -> Part {
    let about = "what this kernel and these privileges allow (detector doctor)";
    let (config, file) = loaded
        .map(|loaded| (loaded.config, loaded.file))
        .unwrap_or_default();
    let told = Finder::new()
        .map_err(Failure::from)
        .and_then(|finder| doctor::told(config, file.as_deref(), &finder));
    Part::new(
        "doctor.txt",
        about,
        told.map_err(|failure| failure.message()),
    )
}

/// The first file: what the others are.
fn contents(name: &str, peer: &str, parts: &[Part]) -> Part {
    let mut text = format!(
        "A report about {peer}, made by `detector report` at {:.3}.\n\n{}\n\
         Addresses and names are in it, and passwords are not. To see the verdicts again:\n\n    \
         detector replay {name}/recording.rec\n    \
         detector replay {name}/recording.rec --explain {peer}\n",
        clock::present(),
        listed(parts),
    );
    if parts.iter().any(|part| part.name == daemon::DEATH) {
        text += &format!("    detector replay {name}/{}\n", daemon::DEATH);
    }
    Part::new("README.txt", "what the other files are", Ok(text))
}

/// The parts, one a line.
fn listed(parts: &[Part]) -> String {
    let line = |part: &Part| match &part.missing {
        None => format!("  {:<18}{}\n", part.name, part.about),
        Some(why) => format!("  {:<18}{}; MISSING: {why}\n", part.name, part.about),
    };
    parts.iter().map(line).collect()
}

fn tell(global: &Global, path: &Path, name: &str, parts: &[Part]) -> Result<(), Failure> {
    let shown = path.display();
    let size = std::fs::metadata(path).map_or(0, |file| file.len());
    let told = match global.output {
        Output::Text => format!(
            "{shown}: {} KiB, only for you to read\n{}\
             To see the verdicts again: tar -xzf {shown} && detector replay {name}/recording.rec\n",
            size.div_ceil(1024),
            listed(parts)
        ),
        Output::Json => {
            let part = |part: &Part| json!({"name": part.name, "about": part.about, "missing": part.missing});
            let parts: Vec<_> = parts.iter().map(part).collect();
            json::line(&json!({"file": path, "directory": name, "parts": parts}))
        }
    };
    Ok(print(&told)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_named_after_its_peer_and_safe_in_a_shell() {
        for (peer, expected) in [
            ("http://node4:9000", "detector-report-node4-9000-2"),
            ("http://[fd00::5]:9000", "detector-report-fd00--5--9000-2"),
        ] {
            assert!(name_of(peer).starts_with(expected), "{}", name_of(peer));
        }
    }

    #[test]
    fn what_is_missing_is_said_first() {
        let parts = [
            Part::new("a.txt", "one", Ok("x".into())),
            Part::new("b.txt", "other", Err("error: nobody\nknows\n".into())),
        ];
        let text = String::from_utf8(contents("n", "http://a:1", &parts).bytes).unwrap();
        assert!(text.contains("  a.txt             one\n"), "{text}");
        assert!(text.contains("other; MISSING: nobody knows\n"), "{text}");
        assert!(!text.contains("death.rec"), "{text}");
    }
}
