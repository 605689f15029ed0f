//! Threads that end, fail, or do not stop.

use std::{convert::Infallible, sync::mpsc};

use super::*;
use crate::signals;

const LONG: Duration = Duration::from_secs(60);

#[test]
fn what_is_put_in_wakes_the_thread_and_is_taken_before_the_end() {
    let (taken, told) = mpsc::channel();
    let body = move |inbox: &Inbox<Vec<u32>>| {
        while let Some(number) = inbox.wait(Vec::pop) {
            taken.send(number).unwrap();
        }
        Ok::<_, Infallible>(())
    };
    let worker = Worker::optional("test", Inbox::new(Vec::new()), body).unwrap();
    worker.inbox().put(|queue| queue.push(1));
    assert_eq!(told.recv(), Ok(1));
    worker.inbox().put(|queue| queue.extend([3, 2]));
    assert!(worker.finish(LONG));
    assert_eq!(told.iter().collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn dropping_it_stops_it_and_waits_for_its_end() {
    let (ended, told) = mpsc::channel();
    let body = move |inbox: &Inbox<()>| {
        while inbox.sleep(LONG) {}
        ended.send(()).unwrap();
        Ok::<_, Infallible>(())
    };
    drop(Worker::optional("test", Inbox::new(()), body).unwrap());
    assert_eq!(told.try_recv(), Ok(()), "it is over");
}

#[test]
fn one_that_does_not_stop_is_left_to_itself() {
    let (release, stuck) = mpsc::channel::<()>();
    let body = move |_: &Inbox<()>| {
        let _released = stuck.recv();
        Ok::<_, Infallible>(())
    };
    let worker = Worker::optional("test", Inbox::new(()), body).unwrap();
    assert!(!worker.finish(Duration::ZERO));
    drop(release);
}

#[tokio::test]
async fn the_failure_of_an_essential_one_is_reported() {
    let (sender, _signals) = signals::channel(1);
    let body = |_: &Inbox<()>| Err(io::Error::other("out of order"));
    let worker = Worker::essential("test", &sender, Inbox::new(()), body).unwrap();
    let failure = sender.failed().await.to_string();
    assert!(failure.contains("out of order"), "{failure}");
    assert!(worker.inbox().ends_within(LONG));
}

#[test]
fn an_optional_one_is_started_again() {
    let (begun, told) = mpsc::channel();
    let body = move |inbox: &Inbox<()>| {
        begun.send(()).unwrap();
        match inbox.is_stopped() {
            true => Ok(()),
            false => Err("not yet"),
        }
    };
    let worker = Worker::optional("test", Inbox::new(()), body).unwrap();
    for _ in 0..2 {
        assert_eq!(told.recv_timeout(LONG), Ok(()));
    }
    drop(worker);
}

#[test]
fn its_descriptor_is_written_once_until_it_is_looked_at() {
    let inbox = Inbox::polled(0).unwrap();
    let written = || inbox.wake.as_ref().unwrap().read().ok();
    for _ in 0..3 {
        inbox.put(|content| *content += 1);
    }
    assert_eq!(written(), Some(1));
    assert_eq!(inbox.take(|content| *content), 3);
    inbox.put(|_| ());
    inbox.take(|_| ());
    assert_eq!(written(), None, "it was looked at");
    inbox.stop();
    assert_eq!(written(), Some(1));
}
