//! What is mutated, and which tests have to see it.

/// A part of the daemon that is mutated in a package of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope {
    pub(super) name: &'static str,
    /// In words.
    pub(super) what: &'static str,
    pub(super) modules: Modules,
    /// The files whose mutants are made.
    pub(super) files: &'static [&'static str],
    /// The modules whose tests run; all if there are none.
    pub(super) tests: &'static [&'static str],
    /// Modules of tests that take seconds each.
    pub(super) slow: &'static [&'static str],
}

/// The modules of `detector-user/src/lib.rs` that the package has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Modules {
    Only(&'static [&'static str]),
    /// All below these, which are the highest floors: what is below imports nothing of them.
    Without(&'static [&'static str]),
}

impl Modules {
    pub(super) fn have(self, module: &str) -> bool {
        match self {
            Self::Only(names) => names.contains(&module),
            Self::Without(names) => !names.contains(&module),
        }
    }
}

pub(super) const SCOPES: [Scope; 2] = [CORE, KERNEL];

const CORE: Scope = Scope {
    name: "core",
    what: "the rule, the session, and what is destroyed",
    modules: Modules::Only(&["core"]),
    files: &[
        "src/core/rule/**",
        "src/core/session/**",
        "src/core/path/freeing.rs",
        "src/core/path/freeing/**",
        "src/core/teardown.rs",
    ],
    tests: &[],
    slow: &[
        "core::tests::always",
        "core::tests::idle",
        "core::tests::isolation",
        "core::tests::switches",
    ],
};

const KERNEL: Scope = Scope {
    name: "kernel",
    what: "what is read from the kernel and from the network, and the hand that destroys",
    modules: Modules::Without(&[
        "alarm",
        "cli",
        "driver",
        "hostile",
        "json",
        "overrides",
        "record",
        "remembered",
        "serve",
    ]),
    files: &[
        "src/effect/destroy/**",
        "src/netlink/**",
        "src/source/ebpf/btf.rs",
        "src/source/ebpf/btf/**",
        "src/source/ebpf/decode.rs",
        "src/source/network/decode.rs",
        "src/source/network/neighbour.rs",
        "src/source/network/request.rs",
        "src/source/probe/keepalive/segment.rs",
        "src/source/probe/neighbour/arp.rs",
        "src/source/probe/neighbour/ndp.rs",
    ],
    tests: &[
        "effect::destroy",
        "netlink::",
        "source::ebpf",
        "source::network",
        "source::probe",
        "source::sock_diag",
    ],
    slow: &[],
};

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    fn sources() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../detector-user")
    }

    #[test]
    fn what_is_named_is_there() {
        let library = fs::read_to_string(sources().join("src/lib.rs")).unwrap();
        for scope in SCOPES {
            let (Modules::Only(modules) | Modules::Without(modules)) = scope.modules;
            for module in modules {
                assert!(library.contains(&format!("mod {module};\n")), "{module}");
            }
            for file in scope.files {
                let path = sources().join(file.trim_end_matches("/**"));
                assert!(path.exists(), "{file}");
            }
            for test in scope.tests.iter().chain(scope.slow) {
                let path = test.trim_end_matches("::").replace("::", "/");
                let path = sources().join("src").join(path);
                assert!(
                    path.exists() || path.with_extension("rs").exists(),
                    "{test}"
                );
            }
        }
    }
}
