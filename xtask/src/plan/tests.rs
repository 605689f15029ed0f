//! Fake machines, and the plans for them.

use super::*;
use crate::{
    facts::{Apt, Origin},
    pins::{DEBIAN_LLVM, DEBIAN_RUST, MSRV},
};

/// A fresh Debian 12 with renewed lists, as root.
fn debian() -> Facts {
    let mut offers: BTreeMap<String, String> = DEBIAN_RUST
        .map(|package| (package.to_owned(), "1.96.0+dfsg1-1~deb12u2".to_owned()))
        .into();
    offers.insert("llvm-22-dev".to_owned(), "1:22.1.8-1~deb12u1".to_owned());
    Facts {
        is_root: true,
        apt: Some(Apt {
            fresh: true,
            offers,
        }),
        commands: ["apt-get", "c++"].map(str::to_owned).into(),
        cache: "/home/me/.cache/detector".into(),
        ..Facts::default()
    }
}

/// Another distribution, with rustup and the tools that fetch a release.
fn with_rustup() -> Facts {
    Facts {
        commands: ["rustup", "curl", "tar", "zstd"].map(str::to_owned).into(),
        cache: "/home/me/.cache/detector".into(),
        ..Facts::default()
    }
}

fn toolchain(origin: Origin) -> Toolchain {
    Toolchain {
        name: "some Rust".to_owned(),
        origin,
        rustc: "/somewhere/bin/rustc".into(),
        cargo: "/somewhere/bin/cargo".into(),
        sysroot: "/somewhere".into(),
        release: MSRV,
        llvm: DEBIAN_LLVM,
        has_source: true,
        linker: Some("/somewhere/bin/bpf-linker".into()),
    }
}

fn build(facts: &Facts) -> Plan {
    plan(facts, Needs::BUILD, &Closed::new())
}

fn lines(plan: &Plan) -> Vec<String> {
    plan.steps
        .iter()
        .map(|step| step.invocation.display(true))
        .collect()
}

/// Asserts that each step's command contains its word, and that there are no other steps.
fn assert_steps(plan: &Plan, words: &[&str]) {
    let lines = lines(plan);
    let all = lines
        .iter()
        .zip(words)
        .all(|(line, word)| line.contains(word));
    assert!(
        lines.len() == words.len() && all,
        "wanted {words:?}, planned {lines:#?}"
    );
}

#[test]
fn a_proven_toolchain_needs_nothing() {
    let facts = Facts {
        toolchains: vec![toolchain(Origin::Rustup)],
        ..debian()
    };
    let plan = build(&facts);
    assert_steps(&plan, &[]);
    assert_eq!(plan.ebpf, Ebpf::Ready(toolchain(Origin::Rustup)));
}

#[test]
fn a_toolchain_without_sources_or_too_old_is_never_chosen() {
    let no_source = Toolchain {
        has_source: false,
        ..toolchain(Origin::Rustup)
    };
    let mut too_old = toolchain(Origin::System);
    too_old.release.minor -= 1;
    let facts = Facts {
        toolchains: vec![no_source, too_old],
        ..debian()
    };
    assert_steps(&build(&facts), &["rustc-web", "llvm-22-dev", "cargo"]);
}

#[test]
fn a_bare_debian_gets_debians_packages_and_a_linker_for_their_llvm() {
    let plan = build(&debian());
    assert_steps(
        &plan,
        &[
            "apt-get install",
            "apt-get install",
            "install --locked bpf-linker",
        ],
    );
    assert!(
        lines(&plan)[2].starts_with("LLVM_PREFIX=/usr/lib/llvm-22 "),
        "{plan:#?}"
    );
    let Ebpf::Expected(expected) = plan.ebpf else {
        panic!("{plan:#?}")
    };
    assert_eq!(expected.rustc.to_str(), Some("/usr/bin/rustc"));
    assert!(
        expected
            .linker
            .is_some_and(|linker| linker.starts_with("/home/me/.cache/detector"))
    );
}

#[test]
fn gcc_alone_does_not_link_to_llvm() {
    let mut facts = debian();
    facts.commands.remove("c++");
    assert!(lines(&build(&facts))[1].ends_with("llvm-22-dev g++"));
}

#[test]
fn only_a_missing_linker_is_added_to_a_toolchain_that_is_there() {
    let lacking = |origin| Toolchain {
        linker: None,
        ..toolchain(origin)
    };
    let mut facts = Facts {
        toolchains: vec![lacking(Origin::System)],
        ..debian()
    };
    facts.llvm.insert(22, "/opt/llvm".into());
    let plan = build(&facts);
    assert_steps(&plan, &["install --locked bpf-linker"]);
    assert!(
        lines(&plan)[0].starts_with("LLVM_PREFIX=/opt/llvm "),
        "{plan:#?}"
    );

    let facts = Facts {
        toolchains: vec![lacking(Origin::Rustup)],
        ..with_rustup()
    };
    assert_steps(&build(&facts), &["releases/download"]);
}

#[test]
fn old_lists_are_renewed_before_anything_is_taken_from_them() {
    let mut facts = debian();
    let apt = facts.apt.as_mut().unwrap();
    apt.fresh = false;
    assert_steps(
        &build(&facts),
        &["update", "rustc-web", "llvm-22-dev", "bpf-linker"],
    );
}

#[test]
fn an_old_offer_is_looked_at_again_with_new_lists() {
    let mut facts = debian();
    let apt = facts.apt.as_mut().unwrap();
    apt.fresh = false;
    apt.offers
        .insert("rustc-web".to_owned(), "1.85.0+dfsg3-1~deb12u3".to_owned());
    let plan = build(&facts);
    assert_steps(&plan, &["apt-get update"]);
    assert_eq!(plan.ebpf, Ebpf::AfterRenewal);

    // If the offers are still old, Debian cannot help; and there is no rustup.
    facts.apt.as_mut().unwrap().fresh = true;
    let plan = build(&facts);
    assert_steps(&plan, &[]);
    assert!(matches!(plan.ebpf, Ebpf::Impossible(_)), "{plan:#?}");
}

#[test]
fn without_apt_a_nightly_and_the_release_of_the_linker() {
    let plan = build(&with_rustup());
    assert_steps(
        &plan,
        &[
            "rustup toolchain install nightly-",
            "releases/download/v0.13.0",
        ],
    );
    assert!(plan.steps.iter().all(|step| !step.invocation.root));
}

#[test]
fn a_closed_route_leads_to_the_next_one() {
    let mut facts = debian();
    facts.commands.extend(with_rustup().commands);
    let closed = Closed::from([(Route::DebianPackages, "no network".to_owned())]);
    let plan = plan(&facts, Needs::BUILD, &closed);
    assert_steps(&plan, &["rustup toolchain install", "releases/download"]);
}

#[test]
fn a_user_without_sudo_is_not_promised_apt() {
    let facts = Facts {
        is_root: false,
        ..debian()
    };
    let Ebpf::Impossible(why) = build(&facts).ebpf else {
        panic!()
    };
    assert!(
        why.contains("apt needs root, and there is no sudo"),
        "{why}"
    );
    for name in ["Debian", "Ubuntu", "Fedora", "Arch", "openSUSE", "Alpine"] {
        assert!(
            why.contains(&format!("\n  {name}")),
            "{name} is missing:\n{why}"
        );
    }
}

#[test]
fn what_needs_root_goes_through_sudo() {
    let mut facts = Facts {
        is_root: false,
        ..debian()
    };
    facts.commands.insert("sudo".to_owned());
    let plan = plan(&facts, Needs::ALL, &Closed::new());
    for step in &plan.steps {
        let line = step.invocation.display(false);
        let by_apt = line.contains("apt-get install");
        assert_eq!(by_apt, line.starts_with("sudo "), "{line}");
    }
}

#[test]
fn only_missing_tools_are_installed_and_servers_never_are() {
    let mut facts = Facts {
        toolchains: vec![toolchain(Origin::System)],
        ..debian()
    };
    facts.commands.insert("ip".to_owned());
    let plan = plan(&facts, Needs::ALL, &Closed::new());
    let missing = "nftables util-linux bpftool dbus-daemon chromium tmux dpkg dpkg-dev mmdebstrap";
    let unpacked = "apt-get download";
    assert_steps(&plan, &[missing, unpacked, unpacked, unpacked]);
    assert!(!lines(&plan)[0].contains("iproute2"), "{plan:#?}");
    for (server, step) in [
        ("prometheus", 1),
        ("prometheus-alertmanager", 2),
        ("etcd-server", 3),
    ] {
        assert!(!lines(&plan)[0].contains(server), "{plan:#?}");
        assert!(lines(&plan)[step].contains(server), "{plan:#?}");
    }
}

#[test]
fn missing_tools_without_apt_are_named_for_a_person_to_install() {
    let facts = Facts {
        toolchains: vec![toolchain(Origin::System)],
        ..with_rustup()
    };
    let plan = plan(&facts, Needs::ALL, &Closed::new());
    assert!(
        plan.blocked
            .iter()
            .any(|text| text.starts_with("`nft` is missing")),
        "{plan:#?}"
    );
    assert!(
        plan.blocked
            .iter()
            .any(|text| text.starts_with("`promtool` is missing"))
    );
}

#[test]
fn unit_tests_need_nothing_at_all() {
    let plan = plan(&with_rustup(), Needs::UNIT, &Closed::new());
    assert_eq!(plan, Plan::default());
}
