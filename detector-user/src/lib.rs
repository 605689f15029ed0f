//! The detector daemon and its command line.
//!
//! Data flows one way: `kernel → source → Signal → core → Effect → effect and serve`. The driver is
//! the one loop that joins them.
//!
//! Imports run one way, too. Each line imports only from those below it (`tests/floors.rs`):
//!
//! ```text
//! main
//! cli
//! driver, hostile
//! serve
//! source, effect, record
//! netlink, object, overrides, remembered, pending, alarm
//! netns
//! process
//! cgroup, keeper, stores
//! worker
//! privileges, signals, files
//! config
//! json
//! clock, insight, readable, systemd, text
//! core
//! model, check; the ABI of the eBPF programs, and detector-api
//! ```

#![forbid(unsafe_code)]

mod alarm;
pub mod cgroup;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod core;
pub mod driver;
pub mod effect;
mod files;
pub mod hostile;
pub mod insight;
pub mod json;
pub mod keeper;
pub mod model;
pub mod netlink;
pub mod netns;
pub mod object;
pub mod overrides;
pub mod pending;
pub mod privileges;
pub mod process;
mod readable;
pub mod record;
pub mod remembered;
pub mod serve;
pub mod signals;
pub mod source;
pub mod stores;
pub mod systemd;
pub mod text;
pub mod worker;
