//! More changes than the source can read, and as many addresses as it may have.

use std::{collections::BTreeSet, net::Ipv4Addr};

use super::*;

/// The kernel drops messages if the reader is too slow. The events that are reported afterwards are
/// correct nevertheless.
#[tokio::test(flavor = "multi_thread")]
async fn lost_changes_are_made_up_for() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(2)?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let eth0 = Eth0::of(us)?;
        let v4 = IpAddr::from(peer.v4());
        // Nothing is taken from a queue of one: the source's thread waits for us.
        let mut listener = Listener::on(us, 1, 256 * 1024)?;
        listener.watch([v4]);
        listener.hears_route(v4, eth0.on_link()).await?;
        let flaps = "link set eth0 down\nlink set eth0 up\n".repeat(4);
        ip_batch(us, &flaps)?;
        let addresses: String = (0..2000)
            .map(|n| format!("addr add 10.200.{}.{}/32 dev lo\n", n / 250, n % 250))
            .collect();
        ip_batch(us, &addresses)?;
        // This one is lost.
        ip(us, "link set eth0 down")?;

        let down_for_good = async {
            let (mut up, mut route) = (true, eth0.on_link());
            while listener.source.counters().resyncs == 0 || up || route.is_some() {
                match listener.next().await? {
                    NetworkEvent::Link { up: now, .. } => up = now,
                    NetworkEvent::Route { route: now, .. } => route = now,
                    NetworkEvent::Neighbour { .. } => {}
                }
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(SOON, down_for_good)
            .await
            .context("the lost change was never told")??;
        println!("{:?}", listener.source.counters());
        ip(us, "link set eth0 up")?;
        listener.hears(eth0.turned(true)).await?;
        listener.hears_route(v4, eth0.on_link()).await?;
        Ok(())
    })
    .await
}

/// As many peers as the daemon is sized for, each with as many addresses as it may have.
#[tokio::test(flavor = "multi_thread")]
async fn sixteen_thousand_addresses_are_no_burden() -> anyhow::Result<()> {
    const ADDRESSES: u32 = 1024 * 16;
    testbed::run(LIMIT, async {
        let lab = Lab::new(2)?;
        let (us, router) = (lab.host(1), lab.host(2));
        let eth0 = Eth0::of(us)?;
        ip(us, &format!("route add default via {}", router.v4()))?;
        let base = u32::from(Ipv4Addr::new(10, 128, 0, 0));
        let all: BTreeSet<IpAddr> = (0..ADDRESSES)
            .map(|n| Ipv4Addr::from(base + n).into())
            .collect();
        let last = *all.last().context("there are addresses")?;
        let mut listener = Listener::on(us, 4096, ROOM)?;
        let begun = clock::now_ns();
        listener.source.watch(all);
        listener.hears_route(last, eth0.by(router.v4())).await?;
        let took = clock::between(begun, clock::now_ns());
        println!("{ADDRESSES} routes told after {took:?}");

        // Everything changes all the time.
        let before = cpu_time()?;
        let begun = clock::now_ns();
        let changes = "route replace default via 10.77.0.2 metric 5\n\
                       route del default via 10.77.0.2 metric 5\n";
        while clock::between(begun, clock::now_ns()) < Duration::from_secs(3) {
            ip_batch(us, &changes.repeat(50))?;
        }
        let share = (cpu_time()? - before).as_secs_f64()
            / clock::between(begun, clock::now_ns()).as_secs_f64();
        println!(
            "{:.1} % of one CPU while every route changes",
            share * 100.0
        );
        assert!(share < 0.5, "{share}");

        // A lost carrier overtakes the routes.
        ip(us, "route add default via 10.77.0.2 metric 5")?;
        let cut = lab.cut(&[1], Cut::PortDown)?;
        listener.hears(eth0.turned(false)).await?;
        let after = clock::between(cut.at_ns, clock::now_ns());
        println!("carrier lost meanwhile: told after {after:?}");
        Ok(())
    })
    .await
}

/// What the source's threads of this process have used.
fn cpu_time() -> anyhow::Result<Duration> {
    let mut ticks = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let stat = fs::read_to_string(task?.path().join("stat")).unwrap_or_default();
        if let Some((_, rest)) = stat.split_once("(rtnetlink) ") {
            // utime and stime, fields 14 and 15; the state is the third.
            let times = rest.split(' ').skip(11).take(2);
            ticks += times.filter_map(|t| t.parse::<u64>().ok()).sum::<u64>();
        }
    }
    Ok(Duration::from_millis(ticks * 10))
}
