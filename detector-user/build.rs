//! Embeds the eBPF object where `cargo xtask build-ebpf` has made one; the daemon builds,
//! and says so when it runs, without.

use std::{env, error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let manifest = env::var("CARGO_MANIFEST_DIR")?;
    let out = env::var("OUT_DIR")?;
    let directory = Path::new(&manifest).join("../target/ebpf");
    let object = directory.join("detector.o");

    // Cargo reruns a script on every build when a path it watches is missing, so the
    // directory is made and watched instead of the file. A read-only checkout has neither.
    if fs::create_dir_all(&directory).is_ok() {
        println!("cargo::rerun-if-changed={}", directory.display());
    } else {
        println!("cargo::rerun-if-changed=build.rs");
    }

    let code = if object.is_file() {
        fs::copy(&object, Path::new(&out).join("detector.o"))?;
        r#"Some(aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/detector.o")))"#
    } else {
        "None"
    };
    fs::write(Path::new(&out).join("object.rs"), code)?;
    Ok(())
}
