//! Reads a program's command line without knowing all of its options.

/// The options and the other arguments of a command line.
#[derive(Debug, Default)]
pub struct Arguments<'a> {
    options: Vec<(&'a str, &'a str)>,
    pub positional: Vec<&'a str>,
}

impl<'a> Arguments<'a> {
    /// An option takes the next argument as its value unless it has one after `=`, or is one of
    /// `flags`, which take none.
    pub fn parse(arguments: &'a [String], flags: &[&str]) -> Self {
        let mut parsed = Self::default();
        let mut rest = arguments.iter().map(String::as_str);
        while let Some(argument) = rest.next() {
            let Some(option) = argument.strip_prefix('-').filter(|name| !name.is_empty()) else {
                parsed.positional.push(argument);
                continue;
            };
            let name = option.strip_prefix('-').unwrap_or(option);
            if name.is_empty() {
                parsed.positional.extend(rest);
                break;
            }
            match name.split_once('=') {
                Some(given) => parsed.options.push(given),
                None if flags.contains(&name) => parsed.options.push((name, "")),
                None => parsed.options.push((name, rest.next().unwrap_or_default())),
            }
        }
        parsed
    }

    /// The value of the option; of several the last counts.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        let mut found = self.options.iter().rev();
        let (_, value) = found.find(|(option, _)| *option == name)?;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_told_from_what_follows_them() {
        let line =
            "server --address :9001 --console-enable http://n1/d -x=1 --region eu /d2 -- --odd";
        let line: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let arguments = Arguments::parse(&line, &["console-enable"]);
        assert_eq!(
            arguments.positional,
            ["server", "http://n1/d", "/d2", "--odd"]
        );
        assert_eq!(arguments.get("address"), Some(":9001"));
        assert_eq!(arguments.get("x"), Some("1"));
        assert_eq!(arguments.get("region"), Some("eu"));
        assert_eq!(arguments.get("console-enable"), Some(""));
        assert_eq!(arguments.get("none"), None);
    }

    #[test]
    fn of_several_the_last_counts_and_a_value_may_be_missing() {
        let line = ["--a", "1", "--a=2", "-", "--b"].map(str::to_owned);
        let arguments = Arguments::parse(&line, &[]);
        assert_eq!(arguments.get("a"), Some("2"));
        assert_eq!(arguments.get("b"), Some(""));
        assert_eq!(arguments.positional, ["-"]);
    }
}
