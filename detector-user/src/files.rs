//! How many files each part of the daemon may have open. The shares of all parts together are less
//! than the process's limit, so that clients take no file that a probe needs.

use nix::sys::resource::{Resource, getrlimit};

/// What the daemon has open for itself: programs, maps, netlink, timers.
pub const OURS: u64 = 96;

/// The limit if the kernel does not tell it.
const USUAL: u64 = 1024;

/// The most files of each part. What they leave is for snapshots, lookups and the like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Probes by connect: one each.
    pub connects: usize,
    /// Probes by keepalive with a socket of their own.
    pub keepalives: usize,
    /// Clients of the API.
    pub clients: usize,
    /// Readers of metrics and the status page.
    pub readers: usize,
}

impl Shares {
    /// By the limit as it is now.
    pub fn now() -> Self {
        Self::of(getrlimit(Resource::RLIMIT_NOFILE).map_or(USUAL, |(soft, _)| soft))
    }

    pub fn of(limit: u64) -> Self {
        let spare = usize::try_from(limit.saturating_sub(OURS)).unwrap_or(usize::MAX);
        let one_in = |parts: usize| (spare / parts).max(1);
        Self {
            connects: one_in(2),
            keepalives: one_in(8),
            clients: one_in(8),
            readers: one_in(8),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_all_that_probes_and_the_daemon_itself_need() {
        for limit in [128, 256, 1024, 1 << 20] {
            let Shares {
                connects,
                keepalives,
                clients,
                readers,
            } = Shares::of(limit);
            let all = connects + keepalives + clients + readers;
            assert!(all as u64 + OURS < limit, "{limit}: {all}");
            assert!(clients + readers < connects, "{limit}");
        }
    }

    #[test]
    fn each_has_some_whatever_the_limit_is() {
        assert_eq!(Shares::of(0).connects, 1);
        assert_eq!(Shares::of(OURS).clients, 1);
        assert!(Shares::of(u64::MAX).readers > 1 << 20);
    }
}
