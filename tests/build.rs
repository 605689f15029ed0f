//! Generates the protocols of the lab's peers and of the small store, without protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(["lab/v1/store.proto", "small/v1/node.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .bytes(".small.v1")
        .compile_fds(descriptors)?;
    Ok(())
}
