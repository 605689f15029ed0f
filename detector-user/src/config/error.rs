//! Errors of a configuration. All of them are reported together, each with its place.

use std::{fmt, path::PathBuf};

use thiserror::Error;

use crate::text::{one_line, printable};

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file; line and column are counted from 1.
    File {
        path: PathBuf,
        line: usize,
        column: usize,
    },
    /// The file as a whole.
    WholeFile { path: PathBuf },
    /// On the command line.
    Flag { flag: &'static str },
    /// At no single place: the combination of settings is wrong.
    Together,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::WholeFile { path } => write!(f, "{}", path.display()),
            Self::Flag { flag } => f.write_str(flag),
            Self::Together => f.write_str("settings"),
        }
    }
}

/// One error.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct ConfigError {
    pub place: Place,
    /// The key that is wrong, if there is one.
    pub key: Option<String>,
    pub message: String,
}

impl ConfigError {
    /// Keys and values are quoted from the file, and shown as a terminal may get them.
    pub fn new(place: Place, key: Option<&str>, message: String) -> Self {
        Self {
            place,
            key: key.map(one_line),
            message: printable(&message).into_owned(),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// All errors of a configuration, in the order of their places; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(errors) = self;
        for (i, error) in errors.iter().enumerate() {
            let end = if i + 1 == errors.len() { "" } else { "\n" };
            write!(f, "{error}{end}")?;
        }
        Ok(())
    }
}
