//! The list of all parts of the daemon and its eBPF object (SBOM), in the form of CycloneDX 1.5.
//!
//! It is made of what cargo itself says of the crates and their licences, and of the lock file's
//! checksums. `cargo cyclonedx` would do it too: it is compiled for minutes, and knows one target,
//! while the daemon carries the programs of another.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::{dist, invocation::Invocation, workspace::Workspace};

/// What is shipped: the crate, and the target for which it is compiled. `None` is this machine's.
const SHIPPED: [(&str, Option<&str>); 2] = [
    ("detector-user", None),
    ("detector-ebpf", Some("bpfel-unknown-none")),
];

/// The parts by their place, and what each needs.
#[derive(Debug, Default)]
struct Parts {
    components: BTreeMap<String, Value>,
    needs: BTreeMap<String, BTreeSet<String>>,
}

/// The whole document, the same for the same lock file and target.
pub(super) fn of_workspace(workspace: &Workspace) -> Result<String> {
    let lock = fs::read_to_string(workspace.root.join("Cargo.lock"))?;
    let sums = checksums(&lock);
    let mut parts = Parts::default();
    for (root, target) in SHIPPED {
        let host = host()?;
        let metadata = Invocation::cargo("metadata")
            .args(["--format-version", "1"])
            .args(["--filter-platform", target.unwrap_or(&host)])
            .output()
            .context("`cargo metadata` failed")?;
        parts.add(&serde_json::from_str(&metadata)?, root, &sums)?;
    }
    Ok(serde_json::to_string_pretty(&document(parts))? + "\n")
}

/// This machine's target, as the compiler names it.
fn host() -> Result<String> {
    let version = Invocation::new("rustc").args(["-vV"]).output();
    let version = version.context("`rustc -vV` failed")?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}

fn document(parts: Parts) -> Value {
    let needs = parts.needs.into_iter();
    let dependencies: Vec<Value> = needs
        .map(|(part, needs)| json!({ "ref": part, "dependsOn": needs }))
        .collect();
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": {
            "type": "application",
            "name": "detector",
            "version": dist::VERSION,
            "licenses": [{ "expression": "Apache-2.0" }],
        }},
        "components": parts.components.into_values().collect::<Vec<_>>(),
        "dependencies": dependencies,
    })
}

impl Parts {
    /// Adds a crate and all that is compiled into it.
    fn add(&mut self, metadata: &Value, root: &str, sums: &Checksums) -> Result<()> {
        let packages = by_id(&metadata["packages"], "id");
        let nodes = by_id(&metadata["resolve"]["nodes"], "id");
        let root = packages.values().find(|package| package["name"] == root);
        let mut open = vec![text(root.context("the crate is in the workspace")?, "id")];
        let mut seen = BTreeSet::new();
        while let Some(id) = open.pop() {
            if !seen.insert(id) {
                continue;
            }
            let package = packages.get(id).context("cargo describes each crate")?;
            let needed: Vec<&str> = nodes.get(id).map_or(Vec::new(), |node| compiled_in(node));
            let place = place(package);
            let needs = needed.iter().filter_map(|id| packages.get(id));
            let places = needs.map(|package| self::place(package));
            self.needs.entry(place.clone()).or_default().extend(places);
            self.components.insert(place, component(package, sums));
            open.extend(needed);
        }
        Ok(())
    }
}

/// The crates that become part of this one: not those of its tests, nor of its build script.
fn compiled_in(node: &Value) -> Vec<&str> {
    let is_normal = |dep: &&Value| {
        let kinds = dep["dep_kinds"].as_array();
        kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()))
    };
    let deps = node["deps"].as_array().into_iter().flatten();
    deps.filter(is_normal).map(|dep| text(dep, "pkg")).collect()
}

fn component(package: &Value, sums: &Checksums) -> Value {
    let (name, version) = (text(package, "name"), text(package, "version"));
    let mut component = json!({
        "type": "library",
        "bom-ref": place(package),
        "name": name,
        "version": version,
        "purl": place(package),
    });
    if let Some(licence) = package["license"].as_str() {
        // The old way to write a choice.
        let expression = licence.replace('/', " OR ");
        component["licenses"] = json!([{ "expression": expression }]);
    }
    if let Some(sum) = sums.get(&(name.to_owned(), version.to_owned())) {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
    }
    component
}

/// The package URL (<https://github.com/package-url/purl-spec>).
fn place(package: &Value) -> String {
    let version = text(package, "version").replace('+', "%2B");
    format!("pkg:cargo/{}@{version}", text(package, "name"))
}

fn by_id<'a>(list: &'a Value, key: &str) -> BTreeMap<&'a str, &'a Value> {
    let items = list.as_array().into_iter().flatten();
    items.map(|item| (text(item, key), item)).collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// The checksum of each crate, by name and version.
type Checksums = BTreeMap<(String, String), String>;

fn checksums(lock: &str) -> Checksums {
    let of = |package: &str, key: &str| {
        let line = package
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{key} = ")));
        line.map(|value| value.trim_matches('"').to_owned())
    };
    let packages = lock.split("[[package]]").skip(1);
    let sums = packages.filter_map(|package| {
        let named = (of(package, "name")?, of(package, "version")?);
        Some((named, of(package, "checksum")?))
    });
    sums.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_compiled_in_is_listed_and_nothing_else() {
        let node = |id: &str, deps: Value| json!({ "id": id, "deps": deps });
        let dep = |id: &str, kind: Value| json!({ "pkg": id, "dep_kinds": [{ "kind": kind }] });
        let package =
            |id: &str| json!({ "id": id, "name": id, "version": "1.0.0+x", "license": "MIT/ISC" });
        let metadata = json!({
            "packages": [package("ours"), package("used"), package("deep"), package("tests"), package("build")],
            "resolve": { "nodes": [
                node("ours", json!([dep("used", Value::Null), dep("tests", json!("dev")), dep("build", json!("build"))])),
                node("used", json!([dep("deep", Value::Null)])),
                node("deep", json!([dep("used", Value::Null)])),
            ]},
        });
        let lock = "[[package]]\nname = \"deep\"\nversion = \"1.0.0+x\"\nchecksum = \"abc\"\n";
        let mut parts = Parts::default();
        parts.add(&metadata, "ours", &checksums(lock)).unwrap();
        let document = document(parts);
        let components = document["components"].as_array().unwrap();
        let names: Vec<_> = components.iter().map(|part| text(part, "name")).collect();
        assert_eq!(names, ["deep", "ours", "used"]);
        assert_eq!(components[0]["hashes"][0]["content"], "abc");
        assert_eq!(components[0]["licenses"][0]["expression"], "MIT OR ISC");
        assert_eq!(components[0]["purl"], "pkg:cargo/deep@1.0.0%2Bx");
        assert_eq!(
            document["dependencies"][1],
            json!({ "ref": "pkg:cargo/ours@1.0.0%2Bx", "dependsOn": ["pkg:cargo/used@1.0.0%2Bx"] })
        );
    }

    /// As cargo tells it of this workspace.
    #[test]
    fn the_daemon_and_its_object_are_listed_without_what_only_tests_need() {
        let text = of_workspace(&Workspace::find().unwrap()).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        let components = by_id(&document["components"], "name");
        for name in ["detector-user", "detector-api", "tokio", "aya", "aya-ebpf"] {
            assert!(components.contains_key(name), "{name}");
        }
        for name in [
            "proptest",
            "libfuzzer-sys",
            "plotters",
            "xtask",
            "detector-tests",
        ] {
            assert!(!components.contains_key(name), "{name}");
        }
        for (name, component) in &components {
            let is_ours = name.starts_with("detector-");
            assert!(is_ours || component["hashes"].is_array(), "{name}");
            assert!(component["licenses"].is_array(), "{name}");
        }
        let needs = document["dependencies"].as_array().unwrap().len();
        assert_eq!(needs, document["components"].as_array().unwrap().len());
    }

    #[test]
    fn the_lock_file_has_the_checksum_of_each_crate_from_the_registry() {
        let lock = include_str!("../../../Cargo.lock");
        let from_registry = lock.matches("source = \"registry+").count();
        assert_eq!(checksums(lock).len(), from_registry);
    }
}
