//! Takes out what nobody else should read: the daemon knows no passwords, but its peers' names and
//! what programs of the host say may have some.

/// What stands in the place of a secret.
const HIDDEN: &str = "***";

/// Words in a name whose value is a secret.
const SECRET: [&str; 5] = ["secret", "password", "passwd", "token", "credential"];

/// The text without passwords in URLs, and without the values of variables and keys that are
/// secrets by their name.
pub(super) fn without(text: &str) -> String {
    text.split_inclusive('\n')
        .map(|line| values(&urls(line)))
        .collect()
}

/// `http://user:password@host` becomes `http://***@host`.
fn urls(line: &str) -> String {
    let mut parts = line.split("://");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let ends = |c: char| c.is_whitespace() || "/?#\"'<>,".contains(c);
        let authority = part.find(ends).unwrap_or(part.len());
        out += "://";
        match part[..authority].rfind('@') {
            Some(at) => out += &format!("{HIDDEN}{}", &part[at..]),
            None => out += part,
        }
    }
    out
}

/// `NAME=value` and `name = value` become `NAME=***`, to the end of the word or the quotes.
fn values(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find('=') {
        let (name, value) = rest.split_at(at + 1);
        out += name;
        rest = value;
        if is_secret(name.trim_end_matches('=')) {
            let start = value.len() - value.trim_start_matches(' ').len();
            let length = length(&value[start..]);
            out += &format!("{}{HIDDEN}", &value[..start]);
            rest = &value[start + length..];
        }
    }
    out + rest
}

/// Whether the last word before `=` names a secret.
fn is_secret(before: &str) -> bool {
    let word = before.trim_end().rsplit([' ', '"', '{', ',']).next();
    let word = word.unwrap_or_default().to_ascii_lowercase();
    SECRET.iter().any(|secret| word.contains(secret))
}

fn length(value: &str) -> usize {
    let quote = value.chars().next().filter(|c| ['"', '\''].contains(c));
    let end = match quote {
        Some(quote) => value[1..].find(quote).map(|at| at + 2),
        None => value.find(char::is_whitespace),
    };
    end.unwrap_or_else(|| value.trim_end_matches('\n').len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_taken_out_and_nothing_else_is() {
        for (text, expected) in [
            (
                "url = \"http://bob:pw@n4:9000/x@y\"\n",
                "url = \"http://***@n4:9000/x@y\"\n",
            ),
            (
                "a http://n1:1 b http://u:p@n2:2\n",
                "a http://n1:1 b http://***@n2:2\n",
            ),
            (
                "RUSTFS_SECRET_KEY=abc next=1\n",
                "RUSTFS_SECRET_KEY=*** next=1\n",
            ),
            ("api_token = \"a b\" # why\nx", "api_token = *** # why\nx"),
            ("password = 'open\nnext = 1\n", "password = ***\nnext = 1\n"),
            ("token=ä", "token=***"),
            (
                "refuse_connects = [\"a.service\"]\n",
                "refuse_connects = [\"a.service\"]\n",
            ),
            ("", ""),
        ] {
            assert_eq!(without(text), expected);
        }
    }
}
