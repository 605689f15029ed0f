//! Routes, by gateways, rules and next hops.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn routes_by_gateways_rules_and_next_hops() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(3)?;
        let (us, router, other) = (lab.host(1), lab.host(2), lab.host(3));
        let eth0 = Eth0::of(us)?;
        // It would be announced as usable later on, and have every route looked at again.
        us.exec(
            "ip",
            &["-6", "addr", "flush", "dev", "eth0", "scope", "link"],
        )?;
        let far: IpAddr = "10.99.0.1".parse()?;
        let far6: IpAddr = "fd99::1".parse()?;
        let mut listener = Listener::on(us, 64, ROOM)?;
        listener.watch([far, far6]);
        listener.hears_route(far, None).await?;
        listener.hears_route(far6, None).await?;

        ip(us, &format!("route add 10.99.0.0/24 via {}", router.v4()))?;
        listener.hears_route(far, eth0.by(router.v4())).await?;
        ip(us, &format!("-6 route add fd99::/64 via {}", router.v6()))?;
        listener.hears_route(far6, eth0.by(router.v6())).await?;
        ip(
            us,
            &format!(
                "route replace 10.99.0.0/24 via inet6 {} dev eth0",
                router.v6()
            ),
        )?;
        listener.hears_route(far, eth0.by(router.v6())).await?;

        // Rules come before tables.
        ip(us, "rule add unreachable to 10.99.0.1")?;
        listener.hears_route(far, None).await?;
        ip(us, "rule del unreachable to 10.99.0.1")?;
        listener.hears_route(far, eth0.by(router.v6())).await?;

        // An address of our own is no peer.
        ip(us, "addr add 10.99.0.1/32 dev eth0")?;
        listener.hears_route(far, None).await?;
        ip(us, "addr del 10.99.0.1/32 dev eth0")?;
        listener.hears_route(far, eth0.by(router.v6())).await?;

        // Next hop objects, without the messages that old programs get.
        ip(
            us,
            &format!("nexthop add id 10 via {} dev eth0", router.v4()),
        )?;
        ip(us, "route replace 10.99.0.0/24 nhid 10")?;
        listener.hears_route(far, eth0.by(router.v4())).await?;
        us.exec("sysctl", &["-qw", "net.ipv4.nexthop_compat_mode=0"])?;
        ip(
            us,
            &format!("nexthop replace id 10 via {} dev eth0", other.v4()),
        )?;
        listener.hears_route(far, eth0.by(other.v4())).await?;

        // A route that covers no watched address is not reported: the last one marks the end.
        listener.told.clear();
        ip(us, &format!("route add 10.98.0.0/24 via {}", router.v4()))?;
        ip(us, "route del 10.99.0.0/24")?;
        listener.hears_route(far, None).await?;
        assert_eq!(listener.told.len(), 1, "{:#?}", listener.told);
        Ok(())
    })
    .await
}
