//! Queries Debian's package manager without changing anything.

use std::collections::BTreeMap;

use crate::{
    invocation::Invocation,
    pins::{BPF_LINKER_LLVM, DEBIAN_RUST},
};

/// Debian's package manager, and what it offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Apt {
    /// Whether this run has renewed the package lists. Their dates on disk come from the mirror,
    /// and do not show when they were fetched.
    pub fresh: bool,
    /// The version of each package that would be installed.
    pub offers: BTreeMap<String, String>,
}

impl Apt {
    pub fn gather(lists_renewed: bool) -> Self {
        let llvm = BPF_LINKER_LLVM.map(|major| format!("llvm-{major}-dev"));
        let policy = Invocation::new("apt-cache")
            .args(["policy"])
            .args(DEBIAN_RUST)
            .args(llvm)
            .env("LC_ALL", "C")
            .output();
        Self {
            fresh: lists_renewed,
            offers: offers(policy.as_deref().unwrap_or_default()),
        }
    }
}

/// The candidate version of each package in the output of `apt-cache policy`.
fn offers(policy: &str) -> BTreeMap<String, String> {
    let mut package = None;
    let mut offers = BTreeMap::new();
    for line in policy.lines() {
        if let Some(name) = line.strip_suffix(':').filter(|name| !name.starts_with(' ')) {
            package = Some(name);
        } else if let Some(version) = line.trim().strip_prefix("Candidate: ")
            && version != "(none)"
            && let Some(package) = package
        {
            offers.insert(package.to_owned(), version.to_owned());
        }
    }
    offers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_is_a_candidate() {
        let policy = "rustc-web:\n  Installed: (none)\n  Candidate: 1.96.0+dfsg1-1~deb12u2\n  \
                      Version table:\n     1.96.0+dfsg1-1~deb12u2 500\n\
                      llvm-21-dev:\n  Installed: (none)\n  Candidate: (none)\n";
        let offers = offers(policy);
        assert_eq!(offers["rustc-web"], "1.96.0+dfsg1-1~deb12u2");
        assert_eq!(offers.len(), 1, "{offers:?}");
    }

    #[test]
    fn an_apt_that_knows_nothing_offers_nothing() {
        assert!(offers("").is_empty());
        assert!(offers("N: Unable to locate package rustc-web").is_empty());
    }
}
