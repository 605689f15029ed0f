//! How a running etcd is asked for its members. By TLS it is not: that takes its certificates.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::Deserialize;

use super::super::{Cluster, StoreError};
use crate::config::parse_peer_name;

/// The most places that are asked.
const MAX_QUESTIONS: usize = 4;

/// A request for the members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// `GET /members`, where its peers connect.
    AsPeer(SocketAddr),
    /// `POST /v3/cluster/member/list`, where clients connect.
    AsClient(SocketAddr),
}

/// Who can be asked, and how the answer is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    pub questions: Vec<Question>,
    /// What the program calls itself.
    name: String,
}

/// Both answers; the client's is in an object.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    AsPeer(Vec<Member>),
    AsClient { members: Vec<Member> },
}

/// One that has not started yet has no name.
#[derive(Deserialize)]
struct Member {
    #[serde(default)]
    name: String,
    #[serde(default, rename = "peerURLs")]
    peer_urls: Vec<String>,
}

impl Members {
    /// The places among these where the program of this name listens without TLS.
    pub(super) fn at(peers: &str, clients: &str, name: &str) -> Option<Self> {
        let peers = peers.split(',').filter_map(address).map(Question::AsPeer);
        let clients = clients.split(',').filter_map(address);
        let all = peers.chain(clients.map(Question::AsClient));
        let questions: Vec<Question> = all.take(MAX_QUESTIONS).collect();
        let name = name.to_owned();
        (!questions.is_empty()).then_some(Self { questions, name })
    }

    /// The cluster of an answer.
    pub fn read(&self, answer: &[u8]) -> Result<Cluster, StoreError> {
        let read: Answer = serde_json::from_slice(answer)
            .map_err(|_| StoreError::wrong("the answer is no list of members"))?;
        let (Answer::AsPeer(members) | Answer::AsClient { members }) = read;
        let mut cluster = Cluster {
            named_in: "the members",
            may_change: true,
            members: Some(self.clone()),
            ..Cluster::default()
        };
        for member in members {
            for url in &member.peer_urls {
                let spec = parse_peer_name(url).map_err(|error| {
                    StoreError::wrong(format!("member {:?}: {error}", member.name))
                })?;
                if member.name == self.name {
                    cluster.own.push(spec.name.clone());
                }
                cluster.add(spec)?;
            }
        }
        match cluster.nodes.is_empty() {
            true => Err(StoreError::wrong("it has no members yet")),
            false => Ok(cluster.of_one_pool()),
        }
    }
}

/// Where a program that listens at this URL is reached on its host.
fn address(url: &str) -> Option<SocketAddr> {
    let url = url.trim();
    let spec = parse_peer_name(url).ok()?;
    let host = match spec.host.as_str() {
        "localhost" => Ipv4Addr::LOCALHOST.into(),
        host => host.parse().ok()?,
    };
    let host = match host {
        IpAddr::V4(any) if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(any) if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        host => host,
    };
    url.starts_with("http://")
        .then_some(SocketAddr::new(host, spec.port))
}
