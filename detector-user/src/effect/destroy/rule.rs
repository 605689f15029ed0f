//! Decides what may be destroyed. Pure, so that it can be tested by itself.

use std::time::Duration;

use crate::model::{FlowId, HEARD_RESOLUTION, Time};

/// `INET_DIAG_NOCOOKIE` in both words: the kernel would accept any socket with these addresses.
const NO_COOKIE: u64 = u64::MAX;

/// Why a socket cannot be destroyed from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// Without its cookie, the socket cannot be distinguished from a newer one with the same ports.
    NoCookie,
    /// The kernel only destroys sockets in the namespace of the request's own netlink socket.
    ForeignNamespace,
}

impl Unfit {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::NoCookie => "no_cookie",
            Self::ForeignNamespace => "foreign_namespace",
        }
    }
}

/// Checks whether the socket can be named exactly, and is in a namespace that `reaches` accepts.
pub(super) fn check(
    flow: &FlowId,
    cookie: u64,
    reaches: impl Fn(u32) -> bool,
) -> Result<(), Unfit> {
    if cookie == 0 || cookie == NO_COOKIE {
        return Err(Unfit::NoCookie);
    }
    // 0 means that the source does not know the namespace. Then the cookie decides: it is unique
    // across all namespaces (from 5.4 on, `sock_gen_cookie` in net/core/sock_diag.c).
    if flow.netns != 0 && !reaches(flow.netns) {
        return Err(Unfit::ForeignNamespace);
    }
    Ok(())
}

/// The latest time after `silent_since` at which a socket of the peer heard something; `None` if
/// all of them have been silent since then. `resolution` is the largest error of these times.
pub(super) fn heard_since(
    last_heard: impl IntoIterator<Item = Option<Time>>,
    silent_since: Time,
    resolution: Duration,
) -> Option<Time> {
    // `silent_since` itself has the core's resolution.
    let slack = HEARD_RESOLUTION.max(resolution);
    let latest = last_heard.into_iter().flatten().max()?;
    (latest > silent_since + slack).then_some(latest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENT_SINCE: Time = Time::from_nanos(5_000_000_000);
    const JIFFIES: Duration = Duration::from_millis(9);

    fn after(ms: u64) -> Option<Time> {
        Some(SILENT_SINCE + Duration::from_millis(ms))
    }

    fn flow(netns: u32) -> FlowId {
        FlowId {
            netns,
            local: "10.0.0.1:40000".parse().unwrap(),
            remote: "10.0.0.2:9000".parse().unwrap(),
        }
    }

    #[test]
    fn one_socket_that_heard_is_enough_and_the_latest_is_told() {
        let heard = [after(0), None, after(40), after(20)];
        assert_eq!(heard_since(heard, SILENT_SINCE, JIFFIES), after(40));
    }

    #[test]
    fn what_was_heard_before_or_never_is_silence() {
        let before = Some(SILENT_SINCE - Duration::from_secs(3));
        for heard in [vec![], vec![None], vec![before, None], vec![after(0)]] {
            assert_eq!(heard_since(heard, SILENT_SINCE, JIFFIES), None);
        }
    }

    #[test]
    fn the_resolution_of_the_clocks_is_allowed_for() {
        let slack = HEARD_RESOLUTION;
        let heard = |at: Time, resolution| heard_since([Some(at)], SILENT_SINCE, resolution);
        let edge = SILENT_SINCE + slack;
        let beyond = edge + Duration::from_nanos(1);
        assert_eq!(heard(edge, JIFFIES), None);
        assert_eq!(heard(beyond, JIFFIES), Some(beyond));
        // At HZ 100 two jiffies are longer than the resolution that the core assumes.
        let coarse = Duration::from_millis(21);
        assert_eq!(heard(beyond, coarse), None);
        assert_eq!(heard_since([after(22)], SILENT_SINCE, coarse), after(22));
    }

    #[test]
    fn only_an_exact_cookie_in_a_watched_namespace_will_do() {
        let check = |flow: &FlowId, cookie, netns| check(flow, cookie, |reached| reached == netns);
        assert_eq!(check(&flow(7), 1, 7), Ok(()));
        assert_eq!(check(&flow(0), 1, 7), Ok(()));
        assert_eq!(check(&flow(8), 1, 7), Err(Unfit::ForeignNamespace));
        assert_eq!(check(&flow(7), 0, 7), Err(Unfit::NoCookie));
        assert_eq!(check(&flow(7), u64::MAX, 7), Err(Unfit::NoCookie));
    }
}
