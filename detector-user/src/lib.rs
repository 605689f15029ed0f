//! The detector daemon and its command line.
//!
//! Data flows one way: `kernel → source → Signal → core → Effect → effect and serve`. The driver is
//! the one loop that joins them. Imports run one way too: `main → cli → { driver, hostile } → { source, effect,
//! serve, record } → { netlink, object, overrides, remembered, pending, alarm } → netns → process →
//! { cgroup, keeper, stores } → { privileges, signals, files } → config → { insight,
//! systemd, readable } → { json → text, core → model, the ABI, detector-api }`.

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
