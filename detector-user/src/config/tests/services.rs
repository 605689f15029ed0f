//! What is said of services: which are protected, tuned, or name their peers.

use std::path::Path;

use super::{file, with_flags};
use crate::config::{Flag, Origin, PROTECT_FLAG, Place, Profile, Target, load::join};

#[test]
fn targets_are_lists_of_strings() {
    let config = file(r#"refuse_connects = ["a.service", "/x/y", "a.service"]"#).unwrap();
    let target = |text| Target::parse(text).unwrap();
    assert_eq!(
        config.refuse_connects,
        [target("a.service"), target("/x/y")]
    );
    assert_eq!(
        file("refuse_connects = \"a.service\"\ntune_sockets = [7]\n").unwrap_err(),
        [
            r#"d.toml:1:19: refuse_connects: expected a list, as in ["rustfs.service"], found a string"#,
            "d.toml:2:16: tune_sockets: expected a list of strings, found an integer",
        ]
    );
    let many: Vec<_> = (0..65).map(|i| format!("\"{i}.service\"")).collect();
    let errors = file(&format!("tune_sockets = [{}]\n", many.join(","))).unwrap_err();
    assert_eq!(
        errors,
        ["d.toml:1:16: tune_sockets: 65 are named, and 64 is the most"]
    );
}

#[test]
fn what_is_tuned_can_be_left_off() {
    let config = file("tune_rto_min = \"off\"\ntune_keepalive_idle = 0\n").unwrap();
    assert_eq!(config.tune.rto_min, None);
    assert_eq!(config.tune.keepalive_idle, None);
    let errors =
        file("tune_rto_min = \"1ms\"\ntune_keepalive_interval = \"1500ms\"\n").unwrap_err();
    assert_eq!(
        errors,
        [
            "d.toml:1:16: tune_rto_min: 1ms is out of bounds; the least is 2ms, the most 200ms; or write \"off\"",
            "d.toml:2:27: tune_keepalive_interval: 1s 500ms is no whole number of seconds, and TCP \
             takes no other",
        ]
    );
}

#[test]
fn protect_refuses_tunes_and_destroys() {
    let text = "refuse_connects = [\"a.service\"]\ndestroy_sockets = \"off\"\n";
    let protect = |target: &str| Flag::Protect(target.to_owned());
    let flags = [protect("b.service"), protect("c/d")];
    let loaded = join(Some((Path::new("d.toml"), text)), &flags).unwrap();
    let shown = |targets: &[Target]| targets.iter().map(Target::to_string).collect::<Vec<_>>();
    let config = &loaded.config;
    assert_eq!(
        shown(&config.refuse_connects),
        ["a.service", "b.service", "c/d"]
    );
    assert_eq!(shown(&config.tune_sockets), ["b.service", "c/d"]);
    assert!(config.core.destroy_sockets);
    let flag = PROTECT_FLAG;
    for key in ["refuse_connects", "tune_sockets", "destroy_sockets"] {
        assert_eq!(
            loaded.origin(key),
            Origin::Set(Place::Flag { flag }),
            "{key}"
        );
    }
    assert_eq!(
        with_flags(text, &[protect("a/../b")]).unwrap_err(),
        ["--protect: \"a/../b\": write the cgroup's path without \"..\""]
    );
}

#[test]
fn programs_are_looked_for_by_their_executable_or_by_selectors() {
    let exe = |name: &str| Target::Exe(name.to_owned());
    let config =
        file("rustfs = true\nminio = [\"unit:minio\", \"pod:m-*\"]\netcd = false\n").unwrap();
    assert_eq!(config.stores.rustfs, [exe("rustfs")]);
    assert_eq!(config.stores.minio.len(), 2);
    assert!(config.stores.etcd.is_empty());
    // They are protected and watched, beside what is named by hand.
    for targets in [config.refused(), config.tuned(), config.namespaces()] {
        assert_eq!(targets.len(), 3, "{targets:?}");
    }
    assert!(config.refuse_connects.is_empty());
    let errors = file("rustfs = \"rustfs\"\nminio = [\"exe:\"]\n").unwrap_err();
    assert!(
        errors[0].starts_with("d.toml:1:10: rustfs: expected true, false or a list"),
        "{errors:?}"
    );
    assert!(errors[1].starts_with("d.toml:2:9: minio: "), "{errors:?}");

    let store = |flag, profile, target: &str| Flag::Store {
        flag,
        profile,
        target: target.to_owned(),
    };
    let flags = [
        store("--rustfs", Profile::RustFs, "pod:rustfs-0"),
        store("--profile", Profile::Etcd, "exe:etcd"),
    ];
    let text = "rustfs = true\n";
    let config = join(Some((Path::new("d.toml"), text)), &flags)
        .unwrap()
        .config;
    assert_eq!(
        config.stores.rustfs,
        [exe("rustfs"), Target::Pod("rustfs-0".to_owned())]
    );
    assert_eq!(config.stores.etcd, [exe("etcd")]);
    let wrong = [store("--rustfs", Profile::RustFs, "pod:A/B")];
    let errors = join(None, &wrong).unwrap_err().to_string();
    assert!(errors.starts_with("--rustfs: "), "{errors}");
}
