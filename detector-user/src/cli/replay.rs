//! `detector replay`: runs a recording through the core again.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Write as _},
    path::Path,
};

use anyhow::Context as _;

use super::{
    args::{At, Global, Output, ReplayArgs},
    changes::{Changes, line},
    exit::{Exit, Failure},
    print, text,
};
use crate::{
    config::{Config, ConfigError, ConfigErrors, Place, keys, parse_peer_name},
    model::{PeerName, PeerState, Settings, Time},
    record::{Entry, Header, Reader, Replay, Timeouts},
    serve::grpc,
};

type Input = Reader<Box<dyn BufRead>>;

pub fn replay(global: &Global, args: &ReplayArgs) -> Result<Exit, Failure> {
    // Errors in the arguments are found before anything is read.
    let peer = args.explain.as_deref().map(parse_peer_name).transpose()?;
    let mut input = open(&args.file)?;
    let recorded = input.header().settings.clone();
    let settings = settings(&recorded, args)?;
    let timeouts = match (input.header().excerpt, settings == recorded) {
        (true, _) => Timeouts::Punctual,
        (false, true) => Timeouts::Recorded,
        (false, false) => Timeouts::Own,
    };
    let mut replay = Replay::new(input.header(), settings.clone(), timeouts);
    match peer {
        Some(peer) => explain(global.output, args, &mut input, &mut replay, peer.name)?,
        None => changes(global.output, args, &mut input, &mut replay)?,
    }
    let summary = summary(args, &input, &replay, &settings);
    // If stderr is closed, the summary cannot be delivered.
    let _ = io::stderr().write_all(summary.as_bytes());
    Ok(Exit::Done)
}

fn open(file: &Path) -> anyhow::Result<Input> {
    let input: Box<dyn BufRead> = if file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let opened = File::open(file);
        let opened = opened.with_context(|| format!("cannot open {}", file.display()))?;
        Box::new(BufReader::with_capacity(1 << 16, opened))
    };
    Reader::new(input).with_context(|| cannot(file))
}

fn next(file: &Path, input: &mut Input) -> anyhow::Result<Option<Entry>> {
    input.read().with_context(|| cannot(file))
}

fn cannot(file: &Path) -> String {
    format!("cannot replay {}", file.display())
}

/// Prints each change, as `detector run` does.
fn changes(
    output: Output,
    args: &ReplayArgs,
    input: &mut Input,
    replay: &mut Replay,
) -> Result<(), Failure> {
    let header = input.header().clone();
    let mut changes = Changes::new(header.settings.max_peers);
    let mut out = BufWriter::new(io::stdout().lock());
    let mut written = Ok(());
    let mut publish = |now: Time, state: &PeerState| {
        if written.is_ok() && changes.is_one(state) {
            let line = line(state, now, |at| header.wall(at), output);
            written = out.write_all(text::printable(&line).as_bytes());
        }
    };
    while let Some(entry) = next(&args.file, input)? {
        replay.step(entry, &mut publish);
    }
    written?;
    out.flush()?;
    Ok(())
}

/// Prints the evidence at the requested moment.
fn explain(
    output: Output,
    args: &ReplayArgs,
    input: &mut Input,
    replay: &mut Replay,
    peer: PeerName,
) -> Result<(), Failure> {
    let header = input.header().clone();
    let until = match args.at {
        Some(At::After(after)) => Some(header.now + after),
        Some(At::Wall(at)) => Some(header.moment(at)),
        None => None,
    };
    let nobody = &mut |_: Time, _: &PeerState| {};
    while let Some(entry) = next(&args.file, input)? {
        match until.filter(|until| entry.now > *until) {
            Some(until) => {
                replay.run_until(until, nobody);
                break;
            }
            None => replay.step(entry, nobody),
        }
    }
    let now = replay.now();
    let Some(explained) = replay.explain(&peer) else {
        return Err(Failure::NotRecorded {
            peer: peer.to_string(),
            known: replay.peers().map(ToString::to_string).collect(),
        });
    };
    let wall = |at| header.wall(at).map(Into::into);
    let state = grpc::peer_state_at(&explained.state, now, wall);
    let mut explained = grpc::explanation(&explained, now);
    explained.peer = Some(state);
    print(&output.show(&explained, text::explanation))?;
    Ok(())
}

/// The recorded settings with the changes of the flags.
fn settings(recorded: &Settings, args: &ReplayArgs) -> Result<Settings, Failure> {
    let mut config = of(recorded);
    let mut errors = Vec::new();
    for (flag, key, text) in given(args) {
        let mut changed = config.clone();
        let set = match keys::find(key) {
            Some(key) => key.set(&mut changed, &value(text)),
            None => Err(unknown(key)),
        };
        // Only the core's settings make a difference to a recording.
        let outside = Config {
            core: config.core.clone(),
            ..changed.clone()
        } != config;
        match set {
            Ok(()) if outside => errors.push(error(flag, key, unknown(key))),
            Ok(()) => config = changed,
            Err(message) => errors.push(error(flag, key, message)),
        }
    }
    match errors.is_empty() {
        true => Ok(config.core),
        false => Err(Failure::Config(ConfigErrors(errors))),
    }
}

fn of(settings: &Settings) -> Config {
    Config {
        core: settings.clone(),
        ..Config::default()
    }
}

/// Each flag that is set, with its key and value.
fn given(args: &ReplayArgs) -> Vec<(&'static str, &str, &str)> {
    let named = [
        ("--mode", "mode", &args.mode),
        ("--detection-time", "detection_time", &args.detection_time),
        ("--destroy-delay", "destroy_delay", &args.destroy_delay),
    ];
    let named = named
        .into_iter()
        .filter_map(|(flag, key, text)| Some((flag, key, text.as_deref()?)));
    let set = args.settings.iter().map(|setting| {
        let (key, text) = setting.split_once('=').unwrap_or((setting, ""));
        ("--set", key.trim(), text.trim())
    });
    named.chain(set).collect()
}

fn value(text: &str) -> keys::Value {
    match (text.parse(), text.parse()) {
        (Ok(integer), _) => keys::Value::Integer(integer),
        (_, Ok(boolean)) => keys::Value::Boolean(boolean),
        _ => keys::Value::Text(text.to_owned()),
    }
}

fn unknown(key: &str) -> String {
    format!("{key:?} is no setting of the verdict; `detector config show` has them all")
}

fn error(flag: &'static str, key: &str, message: String) -> ConfigError {
    ConfigError::new(Place::Flag { flag }, Some(key), message)
}

/// A summary of the replay for the user.
fn summary(args: &ReplayArgs, input: &Input, replay: &Replay, settings: &Settings) -> String {
    let Header {
        detector,
        kernel,
        started_at,
        settings: recorded,
        excerpt,
        ..
    } = input.header();
    let done = replay.summary();
    let mut text = format!(
        "{}: recorded by detector {detector} on Linux {kernel}, from {started_at:.3}\n\
         {}, {} signals, {} time-outs, {} trials; {} changes of verdict\n",
        args.file.display(),
        text::duration(done.duration),
        done.signals,
        done.timeouts,
        done.trials,
        done.verdicts,
    );
    if *excerpt {
        text += "it begins in the middle of a run: what was known by then is in it, and the verdicts are found anew\n";
    }
    if let Some(at) = done.first_to_destroy {
        text += &format!(
            "{} sockets of dead peers to be destroyed, the first at {}\n",
            done.to_destroy,
            text::optional(input.header().wall(at), text::time),
        );
    }
    match differences(recorded, settings) {
        differences if differences.is_empty() => text += "settings: as recorded\n",
        differences => {
            text += &format!("settings: {}\n", differences.join(", "));
            text += "what other socket snapshots and probes would have shown is not known\n";
        }
    }
    text + &ending(args, input)
}

/// The settings that differ from the recorded ones.
fn differences(recorded: &Settings, settings: &Settings) -> Vec<String> {
    let (recorded, settings) = (of(recorded), of(settings));
    let pairs = keys::KEYS.iter().map(|key| {
        let (was, is) = (key.get(&recorded).to_plain(), key.get(&settings).to_plain());
        (key.name, was, is)
    });
    pairs
        .filter(|(_, was, is)| was != is)
        .map(|(name, was, is)| format!("{name} {is} (recorded: {was})"))
        .collect()
}

fn ending(args: &ReplayArgs, input: &Input) -> String {
    match (input.ending(), input.torn_line()) {
        (Some(ending), _) => format!("the recording ends: {ending}\n"),
        (None, Some(line)) => format!(
            "warning: line {line} is cut off, as when the daemon or its machine is killed: what came after is not known\n"
        ),
        // The recording was not read to its end.
        (None, None) if args.at.is_some() => String::new(),
        (None, None) => "warning: the recording breaks off without an end, as when the daemon or its machine is killed\n".to_owned(),
    }
}
