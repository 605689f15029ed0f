//! Networks of pods: each is a namespace behind a host of the lab, which routes for it as the nodes
//! of a Kubernetes cluster do.

use anyhow::Context as _;

use super::{Host, Lab, Namespaces, command};

/// The other end of each pod's pair, and its gateway. It is no neighbour of the other pods.
const GATEWAY: &str = "169.254.1.1";

/// The network of a pod. Dropping it kills what runs in it, and nobody has its address any more.
#[derive(Debug)]
pub struct PodNetwork {
    pod: Host,
    node: Host,
    _namespaces: Namespaces,
}

impl Lab {
    /// Makes a node of each host: it forwards, knows the way to the pods of the others, and
    /// drops what is sent to a pod that it has no more.
    pub fn route_pods(&self) -> anyhow::Result<()> {
        for node in self.hosts() {
            node.write("/proc/sys/net/ipv4/ip_forward", "1")?;
            let mut lines = String::new();
            for other in self.hosts() {
                let (block, number) = (other.pod(0).v4(), other.number());
                lines.push_str(&match number == node.number() {
                    true => format!("route add blackhole {block}/24\n"),
                    false => format!("route add {block}/24 via {}\n", other.v4()),
                });
            }
            command::ip_batch(Some(node.namespace()), &lines)
                .with_context(|| format!("cannot make a node of {}", node.name()))?;
        }
        Ok(())
    }
}

impl PodNetwork {
    /// Makes the network of a pod behind this host, by IPv4. No other pod has this number.
    pub fn new(node: &Host, number: u8) -> anyhow::Result<Self> {
        let pod = node.pod(number);
        let namespaces = Namespaces(vec![pod.namespace().to_owned()]);
        namespaces.add()?;
        let (port, address) = (pod.port(), pod.v4());
        let lines = format!(
            "link add {port} type veth peer name eth0 netns {}\n\
             addr add {GATEWAY}/32 dev {port}\n\
             link set {port} up\n\
             route add {address}/32 dev {port}\n",
            pod.namespace()
        );
        command::ip_batch(Some(node.namespace()), &lines)
            .with_context(|| format!("cannot wire {} to its node", pod.namespace()))?;
        let network = Self {
            pod,
            node: node.clone(),
            _namespaces: namespaces,
        };
        let lines = format!(
            "link set lo up\n\
             addr add {address}/32 dev eth0\n\
             link set eth0 up\n\
             route add {GATEWAY} dev eth0 scope link\n\
             route add default via {GATEWAY}\n"
        );
        command::ip_batch(Some(network.pod.namespace()), &lines)
            .with_context(|| format!("cannot configure {}", network.pod.namespace()))?;
        Ok(network)
    }

    /// The pod, as a host.
    pub fn host(&self) -> &Host {
        &self.pod
    }
}

impl Drop for PodNetwork {
    fn drop(&mut self) {
        // Somebody may hold the namespace for a while; nobody reaches it any more.
        let line = format!("link del {}\n", self.pod.port());
        if let Err(error) = command::ip_batch(Some(self.node.namespace()), &line) {
            eprintln!("lab: the network of a pod stays: {error:#}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, time::Duration};

    use super::*;
    use crate::{Cut, testbed};

    const LIMIT: Duration = Duration::from_secs(60);

    fn reaches(from: &Host, to: &Host) -> anyhow::Result<bool> {
        let address = (to.v4(), 7000);
        let receiver = to.within(|| UdpSocket::bind(address))??;
        let sender = from.within(|| UdpSocket::bind("0.0.0.0:0"))??;
        receiver.set_read_timeout(Some(Duration::from_millis(300)))?;
        // A cut may be told to the sender as an error.
        let _sent = sender.send_to(b"frame", address);
        Ok(receiver.recv(&mut [0; 16]).is_ok())
    }

    #[tokio::test]
    async fn pods_are_reached_through_their_nodes() -> anyhow::Result<()> {
        testbed::run(LIMIT, async {
            let lab = Lab::new(2)?;
            lab.route_pods()?;
            let pods = [(1, 1), (1, 2), (2, 3)]
                .map(|(node, number)| PodNetwork::new(lab.host(node), number));
            let [here, beside, there] = pods;
            let (here, beside, there) = (here?, beside?, there?);
            let ways = [(&here, &beside), (&here, &there), (&there, &here)];
            for (from, to) in ways {
                assert!(reaches(from.host(), to.host())?, "{from:?} {to:?}");
            }
            assert!(reaches(lab.host(1), here.host())?, "a node and its pod");
            lab.cut(&[2], Cut::SilentDrop)?;
            let reached = ways.map(|(from, to)| reaches(from.host(), to.host()));
            let [beside, there, back] = reached;
            assert_eq!((beside?, there?, back?), (true, false, false));
            Ok(())
        })
        .await
    }
}
