//! The global that user space fills, and access to its fields.

use detector_ebpf::Config;

/// User space replaces it before the programs are loaded.
#[unsafe(no_mangle)]
pub static CONFIG: Config = Config::ABSENT;

/// Reads a field of [`CONFIG`] as it was loaded, and not the value that the compiler sees.
macro_rules! config {
    ($($field:ident).+) => {
        // SAFETY: the pointer is to a field of a static, aligned and initialised.
        unsafe { core::ptr::read_volatile(&raw const $crate::globals::CONFIG.$($field).+) }
    };
}

pub(crate) use config;

/// Whether a bit of `detector_ebpf::config_flag` is set.
#[inline(always)]
pub fn has(flag: u32) -> bool {
    config!(flags) & flag != 0
}
