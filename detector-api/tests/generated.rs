//! The protocol's code is committed, so that a program that links this crate compiles no generator.
//! This test makes it anew from the proto file and compares the two.
//!
//! After a change of the proto file, write it with
//! `DETECTOR_WRITE_GENERATED=1 cargo test -p detector-api --test generated`.

use std::{env, fs, path::Path};

use prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

const PROTO: &str = "detector/v1/detector.proto";
const WRITE: &str = "DETECTOR_WRITE_GENERATED";

#[test]
fn the_committed_code_is_what_the_proto_file_says() {
    let scratch = tempfile::tempdir().expect("a directory");
    generate(scratch.path());
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/generated");
    for name in ["detector.v1.rs", "detector.v1.bin"] {
        let fresh = fs::read(scratch.path().join(name)).expect("it was generated");
        let path = committed.join(name);
        if env::var_os(WRITE).is_some() {
            fs::write(&path, &fresh).expect("the file can be written");
        }
        assert!(
            fs::read(&path).is_ok_and(|committed| committed == fresh),
            "{} is not what {PROTO} says: run {WRITE}=1 cargo test -p detector-api --test \
             generated, and commit what it writes",
            path.display()
        );
    }
}

fn generate(out: &Path) {
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let descriptors = protox::compile([PROTO], [include]).expect("the proto file compiles");
    let encoded = descriptors.encode_to_vec();
    fs::write(out.join("detector.v1.bin"), encoded).expect("the directory can be written");
    let mut config = tonic_prost_build::Config::new();
    // Each message knows its name in the descriptors.
    config.enable_type_names();
    // A later version of the protocol may have more values.
    for name in enums(&descriptors) {
        config.enum_attribute(name, "#[non_exhaustive]");
    }
    tonic_prost_build::configure()
        .out_dir(out)
        .server_mod_attribute(".", "#[cfg(feature = \"server\")]")
        .compile_fds_with_config(descriptors, config)
        .expect("the code can be generated");
}

/// The paths of all enums and oneofs.
fn enums(descriptors: &FileDescriptorSet) -> Vec<String> {
    let in_file = |file: &FileDescriptorProto| {
        let package = file.package();
        let enums = file
            .enum_type
            .iter()
            .map(|one| format!(".{package}.{}", one.name()));
        let oneofs = file.message_type.iter().flat_map(|message| {
            let path = format!(".{package}.{}", message.name());
            let oneofs = message.oneof_decl.iter();
            oneofs.map(move |one| format!("{path}.{}", one.name()))
        });
        enums.chain(oneofs).collect::<Vec<_>>()
    };
    descriptors.file.iter().flat_map(in_file).collect()
}
