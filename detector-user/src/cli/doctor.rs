//! `detector doctor`: what this kernel and these privileges allow.

use serde::Serialize;

use super::{
    args::Output,
    exit::{Exit, Failure},
    json, print,
};
use crate::{
    check::{Check, Status},
    effect::protect,
    source::support,
};

#[derive(Serialize)]
struct CheckLine<'a> {
    name: &'a str,
    status: &'a str,
    found: &'a str,
    meaning: &'a str,
}

impl<'a> From<&'a Check> for CheckLine<'a> {
    fn from(check: &'a Check) -> Self {
        Self {
            name: &check.name,
            status: check.status.as_str(),
            found: &check.found,
            meaning: &check.meaning,
        }
    }
}

pub fn doctor(output: Output) -> Result<Exit, Failure> {
    let mut checks = support::checks();
    checks.extend(protect::support::checks());
    match output {
        Output::Text => print(&text(&checks))?,
        Output::Json => {
            let lines = checks
                .iter()
                .map(|check| json::line(&CheckLine::from(check)));
            print(&lines.collect::<String>())?;
        }
    }
    Ok(verdict(&checks))
}

fn verdict(checks: &[Check]) -> Exit {
    match checks.iter().any(|check| check.status == Status::Missing) {
        true => Exit::Missing,
        false => Exit::Done,
    }
}

fn text(checks: &[Check]) -> String {
    let mut out = String::new();
    for check in checks {
        let CheckLine {
            name,
            status,
            found,
            meaning,
        } = CheckLine::from(check);
        out += &format!("{status:<10}{name}: {found}\n");
        for line in meaning.lines() {
            out += &format!("{:10}{line}\n", "");
        }
    }
    let count = |status| checks.iter().filter(|check| check.status == status).count();
    out + &format!(
        "\n{} ok, {} degraded, {} missing\n",
        count(Status::Ok),
        count(Status::Degraded),
        count(Status::Missing)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: Status) -> Check {
        Check {
            name: "tracepoint tcp:x".to_owned(),
            status,
            found: "not there".to_owned(),
            meaning: "Less evidence.\nUse a newer kernel.".to_owned(),
        }
    }

    #[test]
    fn only_something_missing_fails() {
        let checks = [check(Status::Ok), check(Status::Degraded)];
        assert_eq!(verdict(&checks), Exit::Done);
        assert_eq!(
            verdict(&[check(Status::Ok), check(Status::Missing)]),
            Exit::Missing
        );
    }

    #[test]
    fn each_check_is_told_with_its_meaning() {
        assert_eq!(
            text(&[check(Status::Degraded)]),
            "degraded  tracepoint tcp:x: not there\n          Less evidence.\n          \
             Use a newer kernel.\n\n0 ok, 1 degraded, 0 missing\n"
        );
    }
}
