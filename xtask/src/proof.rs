//! Tests whether a bpf-linker can read a compiler's bitcode.
//!
//! Version numbers do not show this: a linker does not print with which LLVM it was built, and LLVM
//! only reads the bitcode of its own and earlier major versions. So a function is compiled and
//! linked. Both take a fifth of a second, so no result needs to be stored between runs.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
};

use crate::{facts::Toolchain, invocation::Invocation};

/// The host's `core` is good enough here: only the bitcode's version matters.
const FUNCTION: &str = "#![no_std]
#[unsafe(no_mangle)]
pub extern \"C\" fn proof(x: u64) -> u64 {
    x.wrapping_mul(3)
}
";

/// Whether `linker` makes a BPF object from the output of `toolchain`.
pub fn linker_reads(toolchain: &Toolchain, linker: &Path) -> bool {
    let Some(scratch) = Scratch::new() else {
        return false;
    };
    let file = |name: &str| scratch.0.join(name);
    if fs::write(file("proof.rs"), FUNCTION).is_err() {
        return false;
    }
    let compile = Invocation::new(&toolchain.rustc)
        .args(["--edition=2024", "--crate-type=lib", "--emit=llvm-bc", "-o"])
        .args([file("proof.bc"), file("proof.rs")])
        .scrubbed();
    let link = Invocation::new(linker)
        .args(["--target=bpfel-unknown-none", "--export=proof", "-o"])
        .args([file("proof.o"), file("proof.bc")]);
    compile.quiet() && link.quiet() && file("proof.o").is_file()
}

/// A temporary directory that is removed on drop.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Option<Self> {
        let name = |attempt| format!("detector-xtask-{}-{attempt}", process::id());
        // Creation fails if the directory exists, so no other program's directory is used.
        (0..100)
            .map(|attempt| std::env::temp_dir().join(name(attempt)))
            .find(|path| fs::create_dir(path).is_ok())
            .map(Self)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A leftover in the temporary directory is no reason to fail.
        let _ = fs::remove_dir_all(&self.0);
    }
}
