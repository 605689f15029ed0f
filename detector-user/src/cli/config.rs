//! `detector config check|show`.

use serde_json::{Map, json};

use super::{
    args::{ConfigCommand, Global, Output, Overrides},
    exit::{Exit, Failure},
    json, print,
};
use crate::config::{
    self, ConfigError, ConfigErrors, Loaded, Origin, Place,
    keys::{KEYS, Value},
};

pub fn config(global: &Global, command: &ConfigCommand) -> Result<Exit, Failure> {
    match command {
        ConfigCommand::Check(overrides) => check(global, overrides),
        ConfigCommand::Show(overrides) => {
            let loaded = load(global, overrides).map_err(Failure::Config)?;
            match global.output {
                Output::Text => print(&toml(&loaded))?,
                Output::Json => print(&json::line(&object(&loaded)))?,
            }
            Ok(Exit::Done)
        }
    }
}

/// The configuration that results from the file and the flags.
pub fn load(global: &Global, overrides: &Overrides) -> Result<Loaded, ConfigErrors> {
    let flags = overrides.flags(global.socket.as_deref());
    config::load(global.config.as_deref(), &flags)
}

fn check(global: &Global, overrides: &Overrides) -> Result<Exit, Failure> {
    match (load(global, overrides), global.output) {
        (Ok(loaded), Output::Text) => {
            print(&format!("{}: no errors\n", subject(&loaded)))?;
            Ok(Exit::Done)
        }
        (Ok(_), Output::Json) => Ok(Exit::Done),
        (Err(errors), Output::Text) => Err(Failure::Config(errors)),
        (Err(ConfigErrors(errors)), Output::Json) => {
            print(&errors.iter().map(error_line).collect::<String>())?;
            Ok(Exit::BadUsage)
        }
    }
}

/// One error as JSON. Parts of its place that do not exist are null.
fn error_line(error: &ConfigError) -> String {
    let ConfigError {
        place,
        key,
        message,
    } = error;
    let (file, line, column, flag) = match place {
        Place::File { path, line, column } => (Some(path), Some(line), Some(column), None),
        Place::WholeFile { path } => (Some(path), None, None, None),
        Place::Flag { flag } => (None, None, None, Some(flag)),
        Place::Together => (None, None, None, None),
    };
    json::line(&json!({
        "file": file.map(|path| path.display().to_string()),
        "line": line,
        "column": column,
        "flag": flag,
        "key": key,
        "message": message,
    }))
}

fn subject(loaded: &Loaded) -> String {
    match &loaded.file {
        Some(file) => file.display().to_string(),
        None => format!("no file ({} is not there)", config::DEFAULT_FILE),
    }
}

/// The configuration as TOML; reading it gives the same configuration again.
pub fn toml(loaded: &Loaded) -> String {
    let lines: Vec<(String, String)> = KEYS
        .iter()
        .map(|key| {
            let origin = origin(&loaded.origin(key.name));
            (config::key_to_toml(key, &loaded.config), origin)
        })
        .collect();
    let width = lines
        .iter()
        .map(|(line, _)| line.chars().count())
        .max()
        .unwrap_or(0);
    let keys: String = lines
        .iter()
        .map(|(line, origin)| format!("{line:<width$}  # {origin}\n"))
        .collect();
    keys + &config::tables_to_toml(&loaded.config)
}

fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Default => "default".to_owned(),
        Origin::Set(Place::File { line, .. }) => format!("line {line} of the file"),
        Origin::Set(place) => place.to_string(),
    }
}

fn object(loaded: &Loaded) -> serde_json::Value {
    let value = |value| match value {
        Value::Text(text) => json!(text),
        Value::Integer(integer) => json!(integer),
        Value::Boolean(boolean) => json!(boolean),
        Value::List(items) => json!(items),
    };
    let config = &loaded.config;
    let mut object: Map<_, _> = KEYS
        .iter()
        .map(|key| (key.name.to_owned(), value(key.get(config))))
        .collect();
    object.insert("peer".to_owned(), json!(config.peers));
    object.insert("pool".to_owned(), json!(config.pools));
    serde_json::Value::Object(object)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::config::Flag;

    #[test]
    fn what_is_shown_gives_the_same_configuration_when_read() {
        let peer = |url: &str| Flag::Peer(url.to_owned());
        let flags = [
            peer("http://node4:9000"),
            peer("http://[fd00::5]:9000"),
            Flag::Key {
                flag: "--detection-time",
                key: "detection_time",
                value: Value::Text("50ms".to_owned()),
            },
        ];
        let loaded = config::load(Some("/dev/null".as_ref()), &flags).unwrap();
        let shown = toml(&loaded);
        assert!(shown.contains("detection_time = \"50ms\""), "{shown}");
        assert!(shown.contains("# --detection-time\n"), "{shown}");
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(shown.as_bytes()).unwrap();
        let again = config::load(Some(file.path()), &[]).unwrap();
        assert_eq!(again.config, loaded.config);
    }

    #[test]
    fn pools_are_shown_as_they_are_read() {
        let text = "node_name = \"http://node1:9000\"\n[[peer]]\nurl = \"http://node2:9000\"\n\
                    [[pool]]\nname = \"hot \\\"1\\\"\"\nnodes = [\"http://node1:9000\", \
                    \"http://node2:9000\"]\ndrives_per_node = 4\ndata = 4\nparity = 4\n";
        let read = |text: &str| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            config::load(Some(file.path()), &[]).unwrap()
        };
        let loaded = read(text);
        assert_eq!(loaded.config.pools[0].name, "hot \"1\"");
        assert_eq!(read(&toml(&loaded)).config, loaded.config);
        assert_eq!(object(&loaded)["pool"][0]["data"], 4);
    }

    #[test]
    fn errors_are_objects_of_one_shape() {
        let error = ConfigError::new(Place::Flag { flag: "--mode" }, None, "x".to_owned());
        assert_eq!(
            error_line(&error),
            "{\"column\":null,\"file\":null,\"flag\":\"--mode\",\"key\":null,\"line\":null,\"message\":\"x\"}\n"
        );
    }

    #[test]
    fn json_has_every_key_of_the_file() {
        let loaded = config::load(Some("/dev/null".as_ref()), &[]).unwrap();
        let object = object(&loaded);
        for key in KEYS {
            assert!(object.get(key.name).is_some(), "{}", key.name);
        }
        assert_eq!(object["detection_time"], "250ms");
        assert_eq!(object["ring_bytes"], 1 << 20);
        assert_eq!(object["peer"], json!([]));
    }
}
