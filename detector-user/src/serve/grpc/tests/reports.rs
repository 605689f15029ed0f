//! Reports are sent, and their consequences are read back; real correlations are behind the server.

use super::*;
use crate::{
    insight::{Correlations, Pool, outlook},
    serve::Locks,
};

/// A fake driver that watches one peer, with a pool of two nodes, one of which is the peer.
async fn drive(mut driver: mpsc::Receiver<Request>, has_pool: bool) {
    let mut correlations = Correlations::default();
    let now = clock::now;
    while let Some(request) = driver.recv().await {
        match request {
            Request::Report { reports, reply, .. } => {
                let named = reports.iter().filter_map(|report| report.peer.as_ref());
                let unknown = named.filter(|name| name.as_str() != PEER).count();
                correlations.reported(now(), &reports);
                reply.send(unknown as u32).unwrap();
            }
            Request::ListLocks { reply } => {
                let lines = correlations.locks(now());
                let beyond_bound = 3;
                let locks = Locks {
                    lines,
                    beyond_bound,
                };
                reply.send(locks).unwrap();
            }
            Request::ListCascades { reply } => {
                reply.send(correlations.cascades(now())).unwrap();
            }
            Request::QuorumOutlook { reply } => {
                let pool = Pool {
                    name: "pool1".to_owned(),
                    nodes: vec![peer("http://node1:9000"), peer(PEER)],
                    drives_per_node: 4,
                    data: 4,
                    parity: 4,
                };
                let pools = outlook(&[pool], |node| *node != peer(PEER));
                reply.send(has_pool.then_some(pools)).unwrap();
            }
            _ => panic!("not asked here"),
        }
    }
}

async fn rig(has_pool: bool) -> Rig {
    let (requests, driver) = mpsc::channel(4);
    tokio::spawn(drive(driver, has_pool));
    Rig::start_with(requests).await
}

fn entry(operation: v1::Operation, outcome: v1::Outcome) -> v1::OperationReport {
    v1::OperationReport {
        operation: operation.into(),
        outcome: outcome.into(),
        ..Default::default()
    }
}

fn lock(name: &str) -> v1::OperationReport {
    v1::OperationReport {
        lock: name.to_owned(),
        ..entry(v1::Operation::Lock, v1::Outcome::TimedOut)
    }
}

async fn report(rig: &Rig, reports: Vec<v1::OperationReport>) -> Result<u32, tonic::Status> {
    let request = v1::ReportRequest {
        reports,
        dropped: 0,
    };
    let answer = rig.client().report(request).await?;
    Ok(answer.into_inner().unknown_peers)
}

#[tokio::test]
async fn reports_are_taken_in_and_unknown_peers_counted() {
    let rig = rig(false).await;
    let about = |peer: &str| v1::OperationReport {
        peer: peer.to_owned(),
        ..entry(v1::Operation::Control, v1::Outcome::Unreachable)
    };
    let reports = vec![
        about("HTTP://node4:9000/data/rustfs1"),
        about("http://node9:9000"),
        about(""),
        lock("iam/users"),
        lock("iam/users"),
    ];
    assert_eq!(report(&rig, reports).await.unwrap(), 1);

    let locks = rig.client().list_locks(v1::ListLocksRequest {}).await;
    let locks = locks.unwrap().into_inner();
    assert_eq!(locks.beyond_bound, 3);
    assert_eq!(locks.locks.len(), 1);
    let known = &locks.locks[0];
    assert_eq!((known.lock.as_str(), known.timeouts), ("iam/users", 2));
    assert_eq!(known.health(), v1::LockHealth::Degraded);
    assert!(known.last_timeout_age.is_some() && known.last_success_age.is_none());

    let cascades = rig.client().list_cascades(v1::ListCascadesRequest {}).await;
    let cascades = cascades.unwrap().into_inner().cascades;
    let found: Vec<_> = cascades
        .iter()
        .map(|c| (c.pattern.as_str(), c.component.as_str(), c.initial()))
        .collect();
    let unreachable = v1::FailureKind::PeerUnreachable;
    let pattern = "peer_unreachable_locks_iam";
    // Both of them are initial failures; the newest comes first.
    let expected = [
        (pattern, "http://node9:9000", unreachable),
        (pattern, PEER, unreachable),
    ];
    assert_eq!(found, expected);
    assert!(cascades[0].detected_at.is_some() && !cascades[0].summary.is_empty());
}

#[tokio::test]
async fn one_bad_entry_and_nothing_is_taken_in() {
    let rig = rig(false).await;
    let reports = vec![lock("iam/users"), lock("a\tb")];
    let refused = report(&rig, reports).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(
        refused.message().starts_with("reports[1].lock: "),
        "{refused}"
    );
    let locks = rig.client().list_locks(v1::ListLocksRequest {}).await;
    assert_eq!(locks.unwrap().into_inner().locks, []);
}

#[tokio::test]
async fn as_many_as_the_protocol_says_fit_into_a_request() {
    let rig = rig(false).await;
    let longest = v1::OperationReport {
        peer: format!("http://{}:9000/data/rustfs1", "a".repeat(60)),
        ..lock(&"l".repeat(512))
    };
    assert_eq!(report(&rig, vec![longest; 1024]).await.unwrap(), 1024);
}

#[tokio::test]
async fn the_outlook_is_told_where_there_is_a_layout() {
    let ask = async |rig: &Rig| {
        let request = v1::GetQuorumOutlookRequest {};
        rig.client().get_quorum_outlook(request).await
    };
    let refused = ask(&rig(false).await).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("[[pool]]"), "{refused}");

    let outlook = ask(&rig(true).await).await.unwrap().into_inner();
    assert!(outlook.as_of.is_some());
    let expected = v1::PoolOutlook {
        pool: "pool1".to_owned(),
        nodes: 2,
        nodes_available: 1,
        disks: 8,
        disks_available: 4,
        sets: vec![v1::SetOutlook {
            set: 0,
            disks: 8,
            disks_available: 4,
            read_quorum: 4,
            write_quorum: 5,
            readable: true,
            writable: false,
            more_losses_until_unreadable: 0,
            more_losses_until_unwritable: 0,
        }],
    };
    assert_eq!(outlook.pools, [expected]);
}

#[tokio::test]
async fn vitals_are_told() {
    let rig = rig(false).await;
    rig.board.publish(PeerState {
        srtt: Some(3 * MS),
        rtt_variance: Some(MS),
        health: Some(crate::model::Health {
            score: 82,
            trend: crate::model::Trend::Worsening,
            loss_penalty: 3,
            rtt_penalty: 4,
            stall_penalty: 5,
            timeout_penalty: 6,
        }),
        reason: Reason::SlownessReported,
        ..alive(1)
    });
    let request = v1::GetPeerRequest { peer: PEER.into() };
    let told = rig.client().get_peer(request).await.unwrap().into_inner();
    let told = told.peer.unwrap();
    assert_eq!(told.reason(), v1::Reason::SlownessReported);
    assert_eq!(told.srtt.unwrap().nanos, 3_000_000);
    assert_eq!(told.rtt_variance.unwrap().nanos, 1_000_000);
    let expected = v1::Health {
        score: 82,
        trend: v1::Trend::Worsening.into(),
        loss_penalty: 3,
        rtt_penalty: 4,
        stall_penalty: 5,
        timeout_penalty: 6,
    };
    assert_eq!(told.health, Some(expected));
}
