//! The phi-accrual failure detector (Hayashibara, Défago, Yared, Katayama: "The φ Accrual Failure
//! Detector", 2004) as Akka has it (`akka.remote.PhiAccrualFailureDetector`): the logistic
//! approximation of the normal distribution, at least 100 ms of deviation, a first estimate of
//! one interval, at most 1,000 samples, no sample from the first heartbeat after a failure.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use anyhow::Context as _;
use tokio::{
    net::UdpSocket,
    time::{MissedTickBehavior, interval},
};

use super::{Belief, Method};
use crate::clock;

const INTERVAL: Duration = Duration::from_secs(1);
const THRESHOLD: f64 = 8.0;
const MIN_DEVIATION: Duration = Duration::from_millis(100);
/// Akka's `acceptable-heartbeat-pause`.
const PAUSE: Duration = Duration::from_secs(3);
const MAX_SAMPLES: usize = 1000;
/// How often phi is computed.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Sends heartbeats, receives their echoes, and reports what two detectors conclude.
pub(super) async fn watch(peer: SocketAddr) -> anyhow::Result<()> {
    let any: SocketAddr = if peer.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0_u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(any)
        .await
        .context("cannot bind a socket for heartbeats")?;
    let mut detectors = [
        (Phi::new(PAUSE), Belief::new(Method::PhiAkka)),
        (Phi::new(Duration::ZERO), Belief::new(Method::Phi)),
    ];
    let [mut beats, mut looks] = [INTERVAL, LOOK_EVERY].map(|every| {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    });
    let mut echo = [0; 64];
    loop {
        tokio::select! {
            _ = beats.tick() => {
                // A heartbeat that cannot be sent is not answered either.
                let _unsent = socket.send_to(b"heartbeat", peer).await;
            }
            received = socket.recv_from(&mut echo) => if received.is_ok() {
                for (phi, belief) in &mut detectors {
                    phi.heartbeat(clock::now_ns());
                    belief.is(false);
                }
            },
            _ = looks.tick() => for (phi, belief) in &mut detectors {
                if phi.value(clock::now_ns()) > THRESHOLD {
                    belief.is(true);
                }
            },
        }
    }
}

/// One detector.
#[derive(Debug)]
struct Phi {
    pause: Duration,
    last_ns: Option<u64>,
    samples: VecDeque<Duration>,
}

impl Phi {
    fn new(pause: Duration) -> Self {
        // Akka guesses the first interval, with a quarter of it as the deviation.
        let spread = INTERVAL / 4;
        Self {
            pause,
            last_ns: None,
            samples: [INTERVAL - spread, INTERVAL + spread].into(),
        }
    }

    fn heartbeat(&mut self, now_ns: u64) {
        if let Some(last) = self.last_ns
            && self.value(now_ns) < THRESHOLD
        {
            if self.samples.len() == MAX_SAMPLES {
                self.samples.pop_front();
            }
            self.samples.push_back(clock::between(last, now_ns));
        }
        self.last_ns = Some(now_ns);
    }

    /// How unlikely it is that the next heartbeat is only late: 8 is one in a hundred million.
    fn value(&self, now_ns: u64) -> f64 {
        let Some(last) = self.last_ns else {
            return 0.0;
        };
        let count = self.samples.len() as f64;
        let seconds = || self.samples.iter().map(Duration::as_secs_f64);
        let mean = seconds().sum::<f64>() / count;
        let variance = seconds().map(|s| (s - mean).powi(2)).sum::<f64>() / count;
        let deviation = variance.sqrt().max(MIN_DEVIATION.as_secs_f64());
        let mean = mean + self.pause.as_secs_f64();
        let elapsed = clock::between(last, now_ns).as_secs_f64();
        let y = (elapsed - mean) / deviation;
        let e = (-y * (1.5976 + 0.070566 * y * y)).exp();
        if elapsed > mean {
            -(e / (1.0 + e)).log10()
        } else {
            -(1.0 - 1.0 / (1.0 + e)).log10()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn steady(pause: Duration) -> Phi {
        let mut phi = Phi::new(pause);
        for beat in 0..100 {
            phi.heartbeat(beat * S);
        }
        phi
    }

    /// The first second after the last heartbeat at which phi is above the threshold.
    fn dead_after_ms(phi: &Phi, last_ns: u64) -> Option<u64> {
        (0..10_000).find(|ms| phi.value(last_ns + ms * 1_000_000) > THRESHOLD)
    }

    #[test]
    fn steady_heartbeats_are_missed_within_two_seconds_and_a_pause_is_forgiven() {
        let bare = dead_after_ms(&steady(Duration::ZERO), 99 * S).unwrap();
        let akka = dead_after_ms(&steady(PAUSE), 99 * S).unwrap();
        assert!((1400..1700).contains(&bare), "{bare}");
        assert!((4400..4700).contains(&akka), "{akka}");
    }

    #[test]
    fn nothing_heard_yet_is_no_death() {
        assert_eq!(Phi::new(PAUSE).value(1000 * S), 0.0);
    }

    #[test]
    fn a_death_is_no_sample() {
        let mut phi = steady(Duration::ZERO);
        let before = phi.samples.len();
        phi.heartbeat(200 * S);
        assert_eq!(phi.samples.len(), before);
        phi.heartbeat(201 * S);
        assert_eq!(phi.samples.len(), before + 1);
    }
}
