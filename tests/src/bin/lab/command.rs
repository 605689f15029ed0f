//! The commands that a person can type.

use std::time::Duration;

use detector_tests::Cut;
use thiserror::Error;

pub const HELP: &str = "\
cut HOST [port|drop]   cut a host off: its switch port goes down, or drops all in silence
heal HOST              bring it back
loss HOST PERCENT      lose this share of its frames, both ways; 0 ends it
peers                  what the detector believes now
watch                  print changes as they come, or no longer; on at the start
explain HOST           the evidence behind a verdict
wait SECONDS           pause, for commands from a file
start                  a new lab
help                   this
quit                   leave, and remove the lab
Hosts are h2 and h3; h1 runs the detector and calls them.";

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    Start,
    Cut(usize, Cut),
    Heal(usize),
    Loss(usize, u8),
    Watch,
    Peers,
    Explain(usize),
    Wait(Duration),
    Help,
    Quit,
    /// An empty line.
    Nothing,
}

/// Why a line is no command.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CommandError {
    #[error("no command {0:?}; help lists them")]
    Unknown(String),
    #[error("{command} takes {takes}")]
    Arguments {
        command: &'static str,
        takes: &'static str,
    },
    #[error("no peer {0:?}: h2 or h3")]
    Host(String),
}

impl Command {
    pub fn parse(line: &str) -> Result<Self, CommandError> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let bad = |command, takes| Err(CommandError::Arguments { command, takes });
        match words[..] {
            [] => Ok(Self::Nothing),
            ["start"] => Ok(Self::Start),
            ["watch"] => Ok(Self::Watch),
            ["peers"] => Ok(Self::Peers),
            ["help"] => Ok(Self::Help),
            ["quit" | "exit"] => Ok(Self::Quit),
            ["cut", name] | ["cut", name, "port"] => Ok(Self::Cut(host(name)?, Cut::PortDown)),
            ["cut", name, "drop"] => Ok(Self::Cut(host(name)?, Cut::SilentDrop)),
            ["heal", name] => Ok(Self::Heal(host(name)?)),
            ["explain", name] => Ok(Self::Explain(host(name)?)),
            ["loss", name, percent] => match percent.trim_end_matches('%').parse() {
                Ok(percent @ 0..=100) => Ok(Self::Loss(host(name)?, percent)),
                _ => bad("loss", "a host and a percentage, as in: loss h2 30"),
            },
            ["wait", seconds] => match seconds.parse().map(Duration::try_from_secs_f64) {
                Ok(Ok(time)) => Ok(Self::Wait(time)),
                _ => bad("wait", "seconds, as in: wait 2.5"),
            },
            ["cut", ..] => bad("cut", "a host and port or drop, as in: cut h2 drop"),
            ["heal", ..] => bad("heal", "a host, as in: heal h2"),
            ["explain", ..] => bad("explain", "a host, as in: explain h2"),
            ["loss", ..] => bad("loss", "a host and a percentage, as in: loss h2 30"),
            ["wait", ..] => bad("wait", "seconds, as in: wait 2.5"),
            [unknown, ..] => Err(CommandError::Unknown(unknown.to_owned())),
        }
    }
}

/// h1 is where the detector runs: it is no peer of itself.
fn host(name: &str) -> Result<usize, CommandError> {
    match name {
        "h2" => Ok(2),
        "h3" => Ok(3),
        _ => Err(CommandError::Host(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_parses() {
        for (line, command) in [
            ("", Command::Nothing),
            ("start", Command::Start),
            ("cut h2", Command::Cut(2, Cut::PortDown)),
            ("  cut  h3  drop ", Command::Cut(3, Cut::SilentDrop)),
            ("heal h2", Command::Heal(2)),
            ("loss h2 30", Command::Loss(2, 30)),
            ("loss h2 30%", Command::Loss(2, 30)),
            ("wait 0.5", Command::Wait(Duration::from_millis(500))),
            ("quit", Command::Quit),
        ] {
            assert_eq!(Command::parse(line), Ok(command), "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, error) in [
            ("jump", "no command \"jump\""),
            ("cut", "cut takes a host"),
            ("cut h2 twice", "cut takes a host"),
            ("cut h1", "no peer \"h1\""),
            ("loss h2 101", "loss takes"),
            ("loss h2 many", "loss takes"),
            ("wait -1", "wait takes"),
            ("wait NaN", "wait takes"),
        ] {
            let said = Command::parse(line).unwrap_err().to_string();
            assert!(said.starts_with(error), "{line}: {said}");
        }
    }
}
