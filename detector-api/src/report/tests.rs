//! Reports to a fake daemon: batches, drops, and the end of a watch.

use tokio::time::timeout;
use tonic::Code;

use super::*;
use crate::{PeerWatch, testing::FakeDaemon, v1::ReportRequest};

const LONG: Duration = Duration::from_secs(20);

async fn watching(daemon: &FakeDaemon) -> PeerWatch {
    let watch = PeerWatch::start(daemon.socket());
    assert!(watch.ready(LONG).await, "{}", watch.status());
    watch
}

/// A report that can be recognised by its number.
fn numbered(number: usize) -> Report<'static> {
    Report {
        retries: u32::try_from(number).unwrap(),
        ..Report::new(
            Operation::Bulk,
            Outcome::Succeeded,
            Duration::from_millis(5),
        )
    }
}

fn numbers(batches: &[ReportRequest]) -> Vec<u32> {
    let reports = batches.iter().flat_map(|batch| &batch.reports);
    reports.map(|report| report.retries).collect()
}

fn dropped(batches: &[ReportRequest]) -> u64 {
    batches.iter().map(|batch| batch.dropped).sum()
}

/// The batches, when they meet the condition.
async fn batches(
    daemon: &FakeDaemon,
    are: impl Fn(&[ReportRequest]) -> bool,
) -> Vec<ReportRequest> {
    let mut reports = daemon.reports();
    let wanted = reports.wait_for(|all| are(all));
    timeout(LONG, wanted)
        .await
        .expect("it never came")
        .unwrap()
        .clone()
}

#[tokio::test]
async fn what_is_reported_arrives_as_it_was() {
    let daemon = FakeDaemon::start().await;
    let watch = watching(&daemon).await;
    watch.reporter().report(Report {
        operation: Operation::IamRead,
        outcome: Outcome::TimedOut,
        peer: "http://NODE4:9000/data/rustfs1?disk=1",
        lock: "config/iam/format.json",
        duration: Duration::from_secs(10),
        retries: 2,
    });
    let all = batches(&daemon, |all| !all.is_empty()).await;
    let [
        ReportRequest {
            reports,
            dropped: 0,
        },
    ] = &all[..]
    else {
        panic!("{all:?}")
    };
    let [report] = &reports[..] else {
        panic!("{reports:?}")
    };
    assert_eq!(report.operation(), Operation::IamRead);
    assert_eq!(report.outcome(), Outcome::TimedOut);
    assert_eq!(report.peer, "http://node4:9000");
    assert_eq!(report.lock, "config/iam/format.json");
    assert_eq!(report.duration.unwrap().seconds, 10);
    assert_eq!(report.retries, 2);
    // It was collected for that long.
    let age = Duration::try_from(report.age.unwrap()).unwrap();
    assert!(age >= Duration::from_millis(100), "{age:?}");
}

#[tokio::test]
async fn batches_are_bounded_and_lose_nothing() {
    const COUNT: usize = 3000;
    let daemon = FakeDaemon::start().await;
    let watch = watching(&daemon).await;
    let lock = "l".repeat(400);
    for number in 0..COUNT {
        watch.reporter().report(Report {
            // Half of the reports are long, so that bytes bound some batches.
            lock: if number < COUNT / 2 { "" } else { &lock },
            ..numbered(number)
        });
    }
    let all = batches(&daemon, |all| numbers(all).len() == COUNT).await;
    assert_eq!(numbers(&all), (0..3000).collect::<Vec<_>>());
    assert_eq!(dropped(&all), 0);
    for batch in &all {
        assert!(batch.reports.len() <= queue::BATCH);
        assert!(prost::Message::encoded_len(batch) <= 64 * 1024);
    }
    let fullest = all.iter().map(|batch| batch.reports.len()).max();
    assert_eq!(fullest, Some(queue::BATCH));
}

#[tokio::test]
async fn while_the_daemon_is_away_the_newest_are_kept_and_the_rest_counted() {
    const COUNT: usize = 3 * QUEUE;
    let daemon = FakeDaemon::start().await;
    let socket = daemon.socket().to_owned();
    let stopped = daemon.kill().await;
    let watch = PeerWatch::start(&socket);
    let reporter = watch.reporter();
    for number in 0..COUNT {
        reporter.report(numbered(number));
        // The queue gets a turn to take the reports in.
        tokio::task::yield_now().await;
    }
    let daemon = stopped.restart().await;
    let newest = u32::try_from(COUNT - 1).unwrap();
    let all = batches(&daemon, |all| numbers(all).last() == Some(&newest)).await;
    let kept = numbers(&all);
    assert_eq!(kept.len(), QUEUE);
    assert_eq!(dropped(&all), (COUNT - QUEUE) as u64);
    let fullest = all.iter().map(|batch| batch.reports.len()).max();
    assert_eq!(fullest, Some(queue::BATCH));
}

#[tokio::test]
async fn a_report_that_finds_no_room_is_counted_and_its_caller_goes_on() {
    let daemon = FakeDaemon::start().await;
    let watch = watching(&daemon).await;
    let reporter = watch.reporter();
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for number in 0..QUEUE + 10 {
            reporter.report(numbered(number));
        }
        done.send(())
    });
    // This occupies the runtime's only thread, so the queue takes nothing in.
    ended
        .recv_timeout(LONG)
        .expect("a report made its caller wait");
    let all = batches(&daemon, |all| numbers(all).len() == QUEUE).await;
    assert_eq!(numbers(&all), (0..QUEUE as u32).collect::<Vec<_>>());
    assert_eq!(dropped(&all), 10);
}

#[tokio::test]
async fn what_was_refused_is_not_repeated_but_counted() {
    let daemon = FakeDaemon::start().await;
    let watch = watching(&daemon).await;
    daemon.answer_reports_with(Code::InvalidArgument);
    watch.reporter().report(numbered(1));
    batches(&daemon, |all| all.len() == 1).await;
    daemon.answer_reports_with(Code::Ok);
    watch.reporter().report(numbered(2));
    let all = batches(&daemon, |all| all.len() == 2).await;
    assert_eq!((numbers(&all), dropped(&all)), (vec![1, 2], 1));
}

#[tokio::test]
async fn a_daemon_that_knows_no_reports_is_left_alone() {
    let daemon = FakeDaemon::start().await;
    let watch = watching(&daemon).await;
    daemon.answer_reports_with(Code::Unimplemented);
    watch.reporter().report(numbered(1));
    batches(&daemon, |all| all.len() == 1).await;
    daemon.answer_reports_with(Code::Ok);
    watch.reporter().report(numbered(2));
    let mut reports = daemon.reports();
    let second = reports.wait_for(|all| all.len() > 1);
    let second = timeout(Duration::from_millis(500), second).await;
    assert!(second.is_err(), "asked again too soon");
}

#[tokio::test]
async fn a_shutdown_sends_what_lies_ready() {
    let daemon = FakeDaemon::start().await;
    let watch = watching(&daemon).await;
    for number in 0..2000 {
        watch.reporter().report(numbered(number));
    }
    watch.shutdown().await;
    let all = daemon.reports().borrow().clone();
    assert_eq!(numbers(&all).len(), 2000);
}

#[tokio::test]
async fn a_shutdown_waits_two_seconds_at_most_for_a_daemon_that_does_not_answer() {
    let daemon = FakeDaemon::start().await;
    daemon.set_ttl(Some(LONG));
    let watch = watching(&daemon).await;
    daemon.pause();
    // The clock only advances while all tasks wait.
    tokio::time::pause();
    watch.reporter().report(numbered(0));
    tokio::time::sleep(Duration::from_millis(200)).await;
    // One batch is being sent, and more are queued.
    for number in 1..3 * queue::BATCH {
        watch.reporter().report(numbered(number));
    }
    let begun = Instant::now();
    watch.shutdown().await;
    let waited = begun.elapsed();
    assert!(waited <= Duration::from_secs(2), "{waited:?}");
}

#[test]
fn long_texts_are_cut_between_characters() {
    let long = "ü".repeat(600);
    let message = Report {
        peer: &long,
        lock: &long,
        ..numbered(0)
    }
    .to_message();
    assert_eq!(message.peer, "ü".repeat(MAX_PEER / 2));
    assert_eq!(message.lock, "ü".repeat(MAX_LOCK / 2));
    assert_eq!(cut("aü", 2), "a");
}

#[test]
fn a_disabled_reporter_does_nothing() {
    Reporter::disabled().report(numbered(1));
}
