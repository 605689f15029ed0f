//! libFuzzer's program for all targets of `detector_user::hostile`; `cargo xtask fuzz` builds and
//! runs it. The variable DETECTOR_FUZZ_TARGET says which target.

#![no_main]

use std::{env, sync::LazyLock};

use detector_user::hostile::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = env::var("DETECTOR_FUZZ_TARGET").unwrap_or_default();
    let named = TARGETS.iter().find(|target| target.name == name);
    named.unwrap_or_else(|| {
        let known = TARGETS.map(|target| target.name).join(", ");
        panic!("DETECTOR_FUZZ_TARGET is {name:?}, and the targets are {known}")
    })
});

fuzz_target!(|bytes: &[u8]| (TARGET.read)(bytes));
