//! Pools are read, and their errors have the right places.

use std::path::Path;

use super::*;
use crate::config::{ConfigErrors, load::join};

const NODES: &str = r#"
node_name = "http://node1:9000"
[[peer]]
url = "http://node2:9000"
[[peer]]
url = "http://node3:9000"
[[peer]]
url = "http://node4:9000"
"#;

fn read(pools: &str) -> Result<Vec<Pool>, Vec<String>> {
    let text = format!("{NODES}{pools}");
    join(Some((Path::new("d.toml"), &text)), &[])
        .map(|loaded| loaded.config.pools)
        .map_err(|ConfigErrors(errors)| errors.iter().map(ToString::to_string).collect())
}

/// A pool of nodes 1 to 4 with these values for drives, data and parity.
fn pool(drives: &str, data: &str, parity: &str) -> String {
    let nodes: Vec<_> = (1..=4)
        .map(|n| format!("\"http://node{n}:9000/data/rustfs{n}\""))
        .collect();
    format!(
        "[[pool]]\nnodes = [{}]\ndrives_per_node = {drives}\ndata = {data}\nparity = {parity}\n",
        nodes.join(", ")
    )
}

#[test]
fn pools_are_read_and_named() {
    let pools =
        read(&(pool("4", "12", "4") + "[[pool]]\nname = \"cold\"" + &pool("2", "2", "2")[8..]))
            .unwrap();
    assert_eq!(pools.len(), 2);
    assert_eq!(
        (pools[0].name.as_str(), pools[1].name.as_str()),
        ("pool1", "cold")
    );
    assert_eq!(pools[0].nodes[3].as_str(), "http://node4:9000");
    let Pool {
        drives_per_node,
        data,
        parity,
        ..
    } = pools[0];
    assert_eq!((drives_per_node, data, parity), (4, 12, 4));
    assert_eq!(read(""), Ok(Vec::new()));
}

#[test]
fn what_is_wrong_with_a_pool_is_said_with_its_place() {
    for (text, error) in [
        (
            pool("4", "10", "4"),
            "d.toml:9:1: pool: 4 nodes of 4 drives are 16 drives, which do not make sets of 14 \
             (data 10 + parity 4): 2 are left over",
        ),
        (
            pool("4", "3", "5"),
            "d.toml:9:1: pool: parity is 5 and data 3: parity is no more than data",
        ),
        (
            pool("0", "12", "4"),
            "d.toml:11:19: pool.drives_per_node: 0 is out of bounds; the least is 1, the most 1024",
        ),
        (
            pool("4", "\"12\"", "4"),
            "d.toml:12:8: pool.data: expected an integer, found a string",
        ),
        (
            pool("4", "12", "4").replace("node4", "node5"),
            "d.toml:10:112: pool.nodes: http://node5:9000 is neither a peer nor this node: name it \
             in a [[peer]], or write node_name = \"http://node5:9000\" if it is this node",
        ),
        (
            pool("4", "12", "4").replace("node4", "node3"),
            "d.toml:10:112: pool.nodes: http://node3:9000 is named twice",
        ),
        (
            pool("4", "12", "4").replace("parity", "parities"),
            "d.toml:9:1: pool: has no parity; write parity = 4",
        ),
        (
            "[[pool]]\ndrives_per_node = 4\ndata = 12\nparity = 4\n".to_owned(),
            "d.toml:9:1: pool: has no nodes; write nodes = [\"http://node1:9000\"]",
        ),
        ("pool = 3\n".to_owned(), "unknown key"),
    ] {
        let errors = read(&text).unwrap_err();
        assert!(
            errors.iter().any(|e| e.contains(error)),
            "{text}: {errors:?}"
        );
    }
}

#[test]
fn pools_in_single_brackets_or_in_the_plural_are_explained() {
    for text in ["[pool]\ndata = 4\n", "[[pools]]\ndata = 4\n"] {
        let errors = read(text).unwrap_err();
        assert!(errors[0].contains("[[pool]]"), "{errors:?}");
    }
}
