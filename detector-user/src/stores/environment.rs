//! The environment of a program: of one that runs, from `/proc/PID/environ`, or of one that a unit
//! starts, from a file such as `/etc/default/rustfs` (systemd.exec(5), EnvironmentFile=).

use std::collections::BTreeMap;

/// Variables by name. Text that is no UTF-8 is kept as bytes, so that only a variable that is needed
/// can be wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    variables: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Environment {
    /// Reads the content of `/proc/PID/environ`. As for the program itself (getenv(3)), the first
    /// of several variables with the same name counts.
    pub fn of_process(environ: &[u8]) -> Self {
        let mut variables = BTreeMap::new();
        for variable in environ.split(|byte| *byte == 0) {
            if let Some(equals) = variable.iter().position(|byte| *byte == b'=') {
                let (name, value) = (&variable[..equals], &variable[equals + 1..]);
                variables.entry(name.to_vec()).or_insert(value.to_vec());
            }
        }
        Self { variables }
    }

    /// Reads an environment file. The last of several lines with the same name counts.
    pub fn of_file(text: &str) -> Self {
        let lines = text.replace("\\\n", "");
        let mut variables = BTreeMap::new();
        for line in lines.lines().map(str::trim) {
            let line = line.strip_prefix("export ").unwrap_or(line);
            if line.starts_with(['#', ';']) {
                continue;
            }
            if let Some((name, value)) = line.split_once('=') {
                let value = unquoted(value.trim()).into_bytes();
                variables.insert(name.trim().as_bytes().to_vec(), value);
            }
        }
        Self { variables }
    }

    /// The variable's value without surrounding blanks; `None` if it is not set, or empty.
    pub fn get(&self, name: &str) -> Result<Option<&str>, String> {
        let Some(value) = self.variables.get(name.as_bytes()) else {
            return Ok(None);
        };
        let value = std::str::from_utf8(value).map_err(|_| format!("{name} is no UTF-8 text"))?;
        Ok(Some(value.trim()).filter(|value| !value.is_empty()))
    }
}

/// Joins the quoted and the bare parts of a value.
fn unquoted(value: &str) -> String {
    let mut out = String::new();
    let mut quote = None;
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\\', None | Some('"')) => out.extend(characters.next()),
            ('"' | '\'', None) => quote = Some(character),
            (character, Some(open)) if character == open => quote = None,
            (character, _) => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_variable_of_a_process_counts_and_other_bytes_are_left_alone() {
        let environ = b"A=1\0BAD=\xff\xfe\0A=2\0=x\0NONE\0EMPTY= \0V= a b \0";
        let environment = Environment::of_process(environ);
        assert_eq!(environment.get("A"), Ok(Some("1")));
        assert_eq!(environment.get("V"), Ok(Some("a b")));
        assert_eq!(environment.get("EMPTY"), Ok(None));
        assert_eq!(environment.get("NONE"), Ok(None));
        assert_eq!(
            environment.get("BAD"),
            Err("BAD is no UTF-8 text".to_owned())
        );
    }

    #[test]
    fn a_file_is_read_as_systemd_reads_it() {
        let text = "# RUSTFS_VOLUMES=/no\n;X=1\nexport A=\"http://n{1...4}:9000/d\"\n\
                    B='two  words' \nC=one\\\n two\nA2 = x\\\"y\nA=\"last\"\nnonsense\n";
        let environment = Environment::of_file(text);
        let get = |name| environment.get(name).unwrap().unwrap_or_default();
        assert_eq!(get("A"), "last");
        assert_eq!(get("B"), "two  words");
        assert_eq!(get("C"), "one two");
        assert_eq!(get("A2"), "x\"y");
        assert_eq!(get("RUSTFS_VOLUMES"), "");
        assert_eq!(get("X"), "");
    }
}
