//! What is mutated, and which tests have to see it.

/// A part of the daemon that is mutated in a package of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope {
    pub(super) name: &'static str,
    /// In words.
    pub(super) what: &'static str,
    /// The modules that the package has, each with all that is in it; paths in `detector-user/src`. Of
    /// the modules above them it has nothing.
    pub(super) modules: &'static [&'static str],
    /// The files whose mutants are made.
    pub(super) files: &'static [&'static str],
    /// The modules whose tests run; all if there are none.
    pub(super) tests: &'static [&'static str],
    /// Modules of tests that take seconds each.
    pub(super) slow: &'static [&'static str],
}

pub(super) const SCOPES: [Scope; 3] = [CORE, DECODERS, DESTROY];

const CORE: Scope = Scope {
    name: "core",
    what: "the rule, the session, and what is destroyed when",
    modules: &["core", "model"],
    files: &[
        "src/core/rule/**",
        "src/core/session/**",
        "src/core/path/freeing.rs",
        "src/core/path/freeing/**",
    ],
    tests: &[],
    slow: &[
        "core::tests::always",
        "core::tests::idle",
        "core::tests::isolation",
        "core::tests::switches",
    ],
};

const DECODERS: Scope = Scope {
    name: "decoders",
    what: "what is read from the kernel and from the network, and what is asked of them",
    modules: &[
        "model",
        "netlink/socket",
        "netlink/sock_diag/decode",
        "netlink/sock_diag/error",
        "netlink/sock_diag/key",
        "netlink/sock_diag/prefixes",
        "netlink/sock_diag/request",
        "source/ebpf/btf",
        "source/ebpf/decode",
        "source/ebpf/tracepoints",
        "source/network/decode",
        "source/network/neighbour",
        "source/network/request",
        "source/probe/keepalive/segment",
        "source/probe/neighbour/arp",
        "source/probe/neighbour/malformed",
        "source/probe/neighbour/ndp",
    ],
    files: &["src/netlink/sock_diag/**", "src/source/**"],
    tests: &["netlink::", "source::"],
    slow: &[],
};

const DESTROY: Scope = Scope {
    name: "destroy",
    what: "the hand that destroys sockets, and the socket table as it reads it",
    modules: &[
        "cgroup",
        "check",
        "clock",
        "config",
        "core/testing",
        "effect/destroy",
        "insight",
        "keeper",
        "model",
        "netlink",
        "netns",
        "pending",
        "privileges",
        "process",
        "signals",
        "stores",
        "systemd",
        "text",
        "worker",
    ],
    files: &[
        "src/effect/destroy/**",
        "src/model/teardown.rs",
        "src/netlink/sock_diag/destroy.rs",
        "src/netlink/sock_diag/everywhere.rs",
        "src/netlink/sock_diag/key.rs",
        "src/netlink/sock_diag/link.rs",
        "src/netlink/sock_diag/mod.rs",
        "src/netlink/socket.rs",
    ],
    tests: &["effect::destroy", "netlink::"],
    slow: &[],
};

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_is_named_is_there() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../detector-user/src");
        let is_module = |path: &str| {
            let path = sources.join(path);
            path.is_dir() || path.with_extension("rs").is_file()
        };
        for scope in SCOPES {
            for module in scope.modules {
                assert!(is_module(module), "{module}");
            }
            for file in scope.files {
                let path = file.trim_start_matches("src/").trim_end_matches("/**");
                assert!(is_module(path.trim_end_matches(".rs")), "{file}");
            }
            for test in scope.tests.iter().chain(scope.slow) {
                let path = test.trim_end_matches("::").replace("::", "/");
                assert!(is_module(&path), "{test}");
            }
        }
    }
}
