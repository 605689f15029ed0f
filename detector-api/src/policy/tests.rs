//! Calls by their policies: deadlines, retries, reports and fan-out.

use std::{cell::Cell, time::Duration};

use tokio::time::{Instant, timeout};
use tonic::{Code, Status};

use super::{Answer, CallError, CallFailure, CallPolicy, Caller, Deadline, Policies};
use crate::{
    PeerStates, PeerWatch, Refused, Reporter,
    testing::FakeDaemon,
    v1::{Breaker, Operation, OperationReport, Outcome, PeerState, Verdict},
};

const NODE4: &str = "http://node4:9000";
const SOON: Duration = Duration::from_secs(10);

/// With a paused clock: longer than every deadline.
const AGES: Duration = Duration::from_secs(100_000);

async fn within<T>(call: impl Future<Output = T>) -> T {
    timeout(AGES, call).await.expect("it has no end")
}

/// States that are set without a daemon and stay valid.
fn told_by_hand(state: PeerState) -> PeerStates {
    let states = PeerStates::watched_on(tokio::runtime::Handle::current(), Duration::ZERO);
    states.replace(&[state], AGES);
    states
}

fn alone() -> Caller {
    Caller::new(
        PeerStates::unwatched(),
        Reporter::disabled(),
        Policies::default(),
    )
}

async fn watched(daemon: &FakeDaemon) -> (PeerWatch, Caller) {
    let mut policies = Policies::default();
    policies.lock.retry.base_delay = Duration::from_millis(1);
    let watch = PeerWatch::start(daemon.socket());
    assert!(watch.ready(SOON).await, "{:?}", watch.status());
    let caller = Caller::new(watch.states(), watch.reporter(), policies);
    (watch, caller)
}

/// The reports that the daemon received, when there are at least this many.
async fn told(daemon: &FakeDaemon, count: usize) -> Vec<OperationReport> {
    let mut reports = daemon.reports();
    let all = |requests: &Vec<crate::v1::ReportRequest>| -> Vec<OperationReport> {
        requests
            .iter()
            .flat_map(|request| request.reports.clone())
            .collect()
    };
    let told = timeout(
        SOON,
        reports.wait_for(|requests| all(requests).len() >= count),
    )
    .await;
    all(&told
        .expect("nothing was told")
        .expect("the daemon is there"))
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_at_its_deadline() {
    let begun = Instant::now();
    let caller = alone();
    let call = caller.to(NODE4, Operation::DiskState);
    let result = within(call.once(std::future::pending::<Result<(), Status>>())).await;
    let limit = Duration::from_secs(3);
    assert!(matches!(result, Err(CallError::TimedOut { limit: l }) if l == limit));
    assert_eq!(begun.elapsed(), limit);
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_tried_four_times_with_growing_pauses() {
    let (attempts, begun) = (Cell::new(0), Instant::now());
    let result = alone()
        .whole(Operation::Lock)
        .repeated(|| {
            attempts.set(attempts.get() + 1);
            async { Err::<(), _>(Status::unavailable("no")) }
        })
        .await;
    assert!(matches!(result, Err(CallError::Failed(_))), "{result:?}");
    assert_eq!(attempts.get(), 4);
    let paused = begun.elapsed();
    let (least, most) = (Duration::from_millis(525), Duration::from_millis(880));
    assert!(
        (least..most).contains(&paused),
        "700 ms, a quarter more or less: {paused:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_peer_answered_is_not_asked_again() {
    let attempts = Cell::new(0);
    let result = alone()
        .to(NODE4, Operation::Lock)
        .repeated(|| {
            attempts.set(attempts.get() + 1);
            async { Err::<(), _>(Status::already_exists("held")) }
        })
        .await;
    assert!(
        matches!(result, Err(CallError::Failed(status)) if status.code() == Code::AlreadyExists)
    );
    assert_eq!(attempts.get(), 1);
}

#[derive(Debug)]
struct Of(Outcome);

impl CallFailure for Of {
    fn outcome(&self) -> Outcome {
        self.0
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_was_not_answered_is_tried_again() {
    for (outcome, expected) in [
        (Outcome::TimedOut, 4),
        (Outcome::Unreachable, 4),
        (Outcome::Refused, 1),
        (Outcome::QuorumLost, 1),
    ] {
        let attempts = Cell::new(0);
        let attempt = || {
            attempts.set(attempts.get() + 1);
            async { Err::<(), _>(Of(outcome)) }
        };
        let caller = alone();
        let result = caller.to(NODE4, Operation::Lock).repeated(attempt).await;
        assert!(matches!(result, Err(CallError::Failed(_))), "{result:?}");
        assert_eq!(attempts.get(), expected, "{outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_adaptive_deadline_is_of_what_was_told_of_the_peer() {
    let duration = |ms| Duration::from_millis(ms).try_into().ok();
    let states = told_by_hand(PeerState {
        srtt: duration(80),
        rtt_variance: duration(5),
        ..FakeDaemon::state(NODE4, Verdict::Alive, Breaker::Closed)
    });
    let mut policies = Policies::default();
    policies.control.deadline = Deadline::Adaptive {
        service: Duration::from_millis(500),
        round_trips: 2,
        at_least: Duration::from_millis(100),
        at_most: Duration::from_secs(30),
    };
    let caller = Caller::new(states, Reporter::disabled(), policies);
    let call = caller.to(NODE4, Operation::Control);
    let result = within(call.once(std::future::pending::<Result<(), Status>>())).await;
    let expected = Duration::from_millis(700);
    assert!(
        matches!(result, Err(CallError::TimedOut { limit }) if limit == expected),
        "{result:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pause_ends_when_the_peer_goes_down() {
    let states = told_by_hand(FakeDaemon::state(NODE4, Verdict::Alive, Breaker::Closed));
    let mut policies = Policies::default();
    policies.lock.retry.base_delay = Duration::from_secs(8);
    let caller = Caller::new(states.clone(), Reporter::disabled(), policies);
    let begun = Instant::now();
    let call = caller.to(NODE4, Operation::Lock);
    let call = call.repeated(|| async { Err::<(), _>(Status::unavailable("no")) });
    let death = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let open = FakeDaemon::state(NODE4, Verdict::Dead, Breaker::Open);
        states.change(&open, AGES).unwrap();
    };
    let (result, ()) = tokio::join!(call, death);
    assert!(matches!(result, Err(CallError::Down(_))), "{result:?}");
    assert_eq!(begun.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn what_succeeds_at_last_has_succeeded() {
    let attempts = Cell::new(0);
    let caller = alone();
    let call = caller.to(NODE4, Operation::Lock).repeated(|| {
        attempts.set(attempts.get() + 1);
        let attempt = attempts.get();
        async move {
            if attempt < 3 {
                std::future::pending::<()>().await;
            }
            Ok::<_, Status>(attempt)
        }
    });
    let result = within(call).await;
    assert!(matches!(result, Ok(3)), "{result:?}");
}

#[tokio::test]
async fn a_peer_that_is_down_is_not_called() {
    let daemon = FakeDaemon::start().await;
    daemon.open(NODE4);
    let (_watch, caller) = watched(&daemon).await;
    let result = caller
        .to("http://NODE4:9000/data/disk1", Operation::Control)
        .once(async { panic!("was called") as Result<(), Status> })
        .await;
    let Err(CallError::Down(down)) = result else {
        panic!("{result:?}");
    };
    assert_eq!(down.peer, NODE4);
}

#[tokio::test]
async fn a_call_in_flight_ends_when_its_peer_goes_down_and_is_not_reported() {
    let daemon = FakeDaemon::start().await;
    daemon.close(NODE4);
    let (_watch, caller) = watched(&daemon).await;
    let call = caller.to(NODE4, Operation::Bulk).once(async {
        daemon.open(NODE4);
        std::future::pending::<Result<(), Status>>().await
    });
    let result = timeout(SOON, call).await.expect("it hangs");
    assert!(matches!(result, Err(CallError::Down(_))), "{result:?}");

    let whole = caller.whole(Operation::IamRead).under("iam/users");
    let read = whole.once(async { Ok::<_, Status>(()) }).await;
    assert!(read.is_ok(), "no one peer ends an operation of several");
    let told = told(&daemon, 1).await;
    assert_eq!(
        told.len(),
        1,
        "the breaker's own doing is no news: {told:?}"
    );
    assert_eq!(
        (told[0].peer.as_str(), told[0].lock.as_str()),
        ("", "iam/users")
    );
}

#[tokio::test]
async fn what_a_connection_refused_is_not_reported() {
    let daemon = FakeDaemon::start().await;
    let (_watch, caller) = watched(&daemon).await;
    let refused = || {
        let peer = NODE4.to_owned();
        Status::from(Refused::TrialsTaken { peer })
    };
    let call = caller.to(NODE4, Operation::Control);
    let result = call.once(async { Err::<(), _>(refused()) }).await;
    assert!(matches!(result, Err(CallError::Failed(_))), "{result:?}");
    let call = caller.to(NODE4, Operation::Console);
    call.once(async { Ok::<_, Status>(()) }).await.unwrap();
    let told = told(&daemon, 1).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].operation(), Operation::Console);
}

#[tokio::test]
async fn each_attempt_is_reported() {
    let daemon = FakeDaemon::start().await;
    let (_watch, caller) = watched(&daemon).await;
    let attempts = Cell::new(0);
    let locked = caller
        .to(NODE4, Operation::Lock)
        .repeated(|| {
            attempts.set(attempts.get() + 1);
            let second = attempts.get() == 2;
            async move {
                if second {
                    Ok(())
                } else {
                    Err(Status::unavailable("no"))
                }
            }
        })
        .await;
    assert!(locked.is_ok());
    let told = told(&daemon, 2).await;
    let seen: Vec<_> = told
        .iter()
        .map(|report| (report.outcome(), report.retries))
        .collect();
    assert_eq!(seen, [(Outcome::Unreachable, 0), (Outcome::Succeeded, 1)]);
    assert!(told.iter().all(|report| report.peer == NODE4));
}

#[tokio::test(start_paused = true)]
async fn a_fan_out_takes_what_comes_in_time() {
    let policies = Policies {
        console: CallPolicy::within(Duration::from_millis(500)),
        ..Policies::default()
    };
    let caller = Caller::new(PeerStates::unwatched(), Reporter::disabled(), policies);
    let begun = Instant::now();
    let asked = caller.fan_out(
        ["http://a:1", "http://b:1", "http://c:1", "http://d:1"],
        Operation::Console,
        |peer| async move {
            match peer.as_str() {
                "http://a:1" => Ok(1),
                "http://b:1" | "http://d:1" => std::future::pending().await,
                _ => Err(Status::internal("disk")),
            }
        },
    );
    let answers: Vec<Answer<u8, Status>> = within(asked).await;
    assert_eq!(begun.elapsed(), Duration::from_millis(500));
    let peers: Vec<_> = answers.iter().map(|answer| answer.peer.as_str()).collect();
    assert_eq!(
        peers,
        ["http://a:1", "http://b:1", "http://c:1", "http://d:1"]
    );
    assert!(matches!(answers[0].result, Ok(1)));
    assert!(matches!(answers[1].result, Err(CallError::TimedOut { .. })));
    assert!(matches!(answers[2].result, Err(CallError::Failed(_))));
    assert!(matches!(answers[3].result, Err(CallError::TimedOut { .. })));
}

#[tokio::test]
async fn a_fan_out_does_not_ask_who_is_down() {
    let daemon = FakeDaemon::start().await;
    daemon.open(NODE4);
    let (_watch, caller) = watched(&daemon).await;
    let answers: Vec<Answer<(), Status>> = caller
        .fan_out(
            [NODE4, "http://node3:9000"],
            Operation::Console,
            |peer| async move {
                assert_ne!(peer, NODE4);
                Ok(())
            },
        )
        .await;
    assert!(
        answers[0].is_offline() && answers[1].result.is_ok(),
        "{answers:?}"
    );
}
