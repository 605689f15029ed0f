//! Links that lose their carrier, and that the operator sets down.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn own_link_down_and_up() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(2)?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let eth0 = Eth0::of(us)?;
        let (v4, v6) = (IpAddr::from(peer.v4()), IpAddr::from(peer.v6()));
        let mut listener = Listener::on(us, 64, ROOM)?;
        listener.watch([v4, v6]);
        listener.hears_route(v6, eth0.on_link()).await?;
        let expected = [
            eth0.turned(true),
            NetworkEvent::Route {
                addr: v4,
                route: eth0.on_link(),
            },
        ];
        assert_eq!(listener.told[..2], expected);

        // The carrier: nothing but the link changes.
        for _ in 0..5 {
            let cut = lab.cut(&[1], Cut::PortDown)?;
            listener.hears(eth0.turned(false)).await?;
            let after = clock::between(cut.at_ns, clock::now_ns());
            println!(
                "carrier lost: told {after:?} after it was ordered ({:?})",
                cut.took
            );
            lab.heal(&[1])?;
            listener.hears(eth0.turned(true)).await?;
        }

        // The operator: its routes go as well.
        let begun = clock::now_ns();
        ip(us, "link set eth0 down")?;
        listener.hears(eth0.turned(false)).await?;
        let after = clock::between(begun, clock::now_ns());
        println!("set down: told {after:?} after `ip` was started");
        listener.hears_route(v4, None).await?;
        listener.hears_route(v6, None).await?;
        ip(us, "link set eth0 up")?;
        listener.hears(eth0.turned(true)).await?;
        listener.hears_route(v4, eth0.on_link()).await?;
        listener.hears_route(v6, eth0.on_link()).await?;

        // The address: what was on the link is not any more.
        ip(us, &format!("addr del {}/24 dev eth0", us.v4()))?;
        listener.hears_route(v4, None).await?;

        ip(us, "link del eth0")?;
        listener.hears(eth0.turned(false)).await?;
        listener.hears_route(v6, None).await?;
        assert_eq!(listener.source.counters(), Default::default());
        Ok(())
    })
    .await
}

/// Of a plain link, such as a bridge or a network card, the kernel tells a change up to a
/// second late when another went just before (net/core/link_watch.c). Who asks is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_of_the_links_does_not_wait_for_the_kernel() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(1)?;
        let us = lab.host(1);
        let lines = "link add br9 type bridge stp_state 0 forward_delay 0\n\
                     link add va type veth peer name vb\n\
                     link set va master br9 up\nlink set vb up\nlink set br9 up\n\
                     addr add 10.88.0.1/24 dev br9\n";
        ip_batch(us, lines)?;
        let peer: IpAddr = "10.88.0.2".parse()?;
        let mut listener = Listener::on(us, 64, ROOM)?;
        listener.watch([peer]);
        let turned = |up| {
            move |event: &NetworkEvent| {
                matches!(event, NetworkEvent::Link { name, up: now, .. } if name == "br9" && *now == up)
            }
        };
        listener.hears_one(turned(true)).await?;
        let (mut late, mut prompt) = (Duration::ZERO, Duration::MAX);
        for round in 0..8 {
            let ask = round % 2 == 1;
            ip(us, "link set vb down")?;
            let begun = clock::now_ns();
            if ask {
                listener.source.check_links();
            }
            listener.hears_one(turned(false)).await?;
            let after = clock::between(begun, clock::now_ns());
            println!("carrier lost, asked: {ask}: told after {after:?}");
            match ask {
                true => prompt = prompt.min(after),
                false => late = late.max(after),
            }
            ip(us, "link set vb up")?;
            listener.source.check_links();
            listener.hears_one(turned(true)).await?;
        }
        println!("without asking it took up to {late:?}");
        // The kernel tells by itself within a second; a round may lack CPU for as long.
        assert!(prompt < Duration::from_millis(300), "{prompt:?}");
        Ok(())
    })
    .await
}
