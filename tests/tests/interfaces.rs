//! The daemon's interfaces: gRPC, standard gRPC tools, metrics, the command line.

use std::{fs, time::Duration};

use anyhow::Context as _;
use detector_api::{
    PeerWatch, Report,
    v1::{
        AcquireTrialRequest, Breaker, FinishTrialRequest, GetPeerRequest, ListPeersRequest, Mode,
        Operation, Outcome, PeerState, Reason, TrialOutcome, Verdict, WatchPeersRequest,
        watch_peers_response::Event,
    },
};
use detector_tests::{Cut, Daemon, DaemonOptions, Process, Scene, SceneOptions, get, testbed};
use serde_json::Value;
use tonic::{Code, Status};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

const LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(15);
const SHORT: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread")]
async fn peers_are_listed_and_unknown_ones_are_not_found() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = Scene::new(SceneOptions {
            hosts: 3,
            ..SceneOptions::default()
        })
        .await?;
        let mut client = scene.daemon.client();
        let list = client.list_peers(ListPeersRequest {}).await?.into_inner();
        let names: Vec<_> = list.peers.iter().map(|p| p.peer.as_str()).collect();
        assert_eq!(names, [scene.lab.host(2).url(), scene.lab.host(3).url()]);
        assert!(!list.instance.is_empty());
        let state = scene.daemon.peer(&scene.lab.host(2).url()).await?;
        assert_eq!(state.addresses, ["10.77.0.2"]);
        assert_eq!(state.mode(), Mode::Enforce);
        let unknown = GetPeerRequest {
            peer: "http://10.77.0.9:9000".to_owned(),
        };
        let error = client.get_peer(unknown).await.expect_err("is not watched");
        assert_eq!(error.code(), Code::NotFound, "{error:?}");
        scene.daemon.stop().await
    })
    .await
}

/// A watcher that was away gets what it missed, change by change.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_resumes_from_a_revision() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = Scene::new(SceneOptions::default()).await?;
        let _traffic = scene.traffic_to(2).await?;
        let mut client = scene.daemon.client();
        let seen = client.list_peers(ListPeersRequest {}).await?.into_inner();
        let cut = scene.cut(2, Cut::PortDown)?;
        scene.open_after(cut, 2, SOON).await?;

        let mut stream = client
            .watch_peers(WatchPeersRequest {
                instance: seen.instance,
                last_revision: seen.revision,
            })
            .await?
            .into_inner();
        let mut revision = seen.revision;
        loop {
            let next = tokio::time::timeout(SOON, stream.message()).await??;
            let state = match next.and_then(|message| message.event) {
                Some(Event::Changed(state)) => state,
                // Nothing was missed so far.
                Some(Event::Current(current)) => {
                    assert_eq!(current.revision, revision);
                    continue;
                }
                other => panic!("a change was missed: {other:?}"),
            };
            assert!(state.revision > revision, "{state:?} after {revision}");
            revision = state.revision;
            if state.breaker() == Breaker::Open {
                break;
            }
        }
        drop(stream);

        // Of another daemon's revisions nothing can be known: a snapshot.
        let mut stream = client
            .watch_peers(WatchPeersRequest {
                instance: "another".to_owned(),
                last_revision: revision,
            })
            .await?
            .into_inner();
        let first = stream.message().await?.and_then(|message| message.event);
        assert!(matches!(first, Some(Event::Snapshot(_))), "{first:?}");
        drop(stream);
        scene.daemon.stop().await
    })
    .await
}

/// A peer, and the trials of its half-open breaker.
struct Trials<'a> {
    daemon: &'a Daemon,
    peer: &'a str,
}

impl Trials<'_> {
    async fn acquire(&self) -> Result<u64, Status> {
        let peer = self.peer.to_owned();
        let request = AcquireTrialRequest { peer };
        let trial = self.daemon.client().acquire_trial(request).await?;
        Ok(trial.into_inner().trial)
    }

    async fn finish(&self, trial: u64, outcome: TrialOutcome) -> Result<(), Status> {
        let request = FinishTrialRequest {
            peer: self.peer.to_owned(),
            trial,
            outcome: outcome.into(),
        };
        let finished = self.daemon.client().finish_trial(request).await;
        finished.map(|_| ())
    }

    /// Waits until the breaker, since then, is in this state for this reason; returns when.
    async fn breaker(
        &self,
        since_ns: u64,
        breaker: Breaker,
        reason: Reason,
    ) -> anyhow::Result<u64> {
        let is = |state: &PeerState| (state.breaker(), state.breaker_reason()) == (breaker, reason);
        let seen = self.daemon.await_since(since_ns, self.peer, SOON, is).await;
        Ok(seen?.at_ns)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_admits_a_bounded_number_of_trials() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        // No such host, so that nothing answers; but another one does: this one is not cut off.
        let url = "http://10.77.0.99:9000";
        let scene = Scene::new(SceneOptions {
            hosts: 2,
            daemon: DaemonOptions::default()
                .peer("http://10.77.0.2:9000")
                .peer(url)
                .config("recovery_timeout = \"2s\"\nhalf_open_trials = 2\n"),
        })
        .await?;
        let _traffic = scene.traffic_to(2).await?;
        let trials = Trials {
            daemon: &scene.daemon,
            peer: url,
        };
        let early = trials.acquire().await.expect_err("is Closed");
        assert_eq!(early.code(), Code::FailedPrecondition, "{early:?}");

        let watch = PeerWatch::start(scene.daemon.socket());
        anyhow::ensure!(watch.ready(SOON).await, "{}", watch.status());
        for _ in 0..3 {
            watch.reporter().report(Report {
                peer: url,
                ..Report::new(Operation::DiskState, Outcome::TimedOut, SHORT)
            });
        }
        let opened = trials.breaker(0, Breaker::Open, Reason::FailuresReported);
        let opened = opened.await?;
        let half = trials.breaker(opened, Breaker::HalfOpen, Reason::RecoveryTimeout);
        let half = half.await?;

        let trial = trials.acquire().await?;
        trials.acquire().await?;
        let third = trials.acquire().await.expect_err("two are leased");
        assert_eq!(third.code(), Code::ResourceExhausted, "{third:?}");

        trials.finish(trial, TrialOutcome::Failed).await?;
        let reopened = trials.breaker(half, Breaker::Open, Reason::TrialFailed);
        let reopened = reopened.await?;
        let again = trials.finish(trial, TrialOutcome::Failed).await;
        let again = again.expect_err("it is finished");
        assert_eq!(again.code(), Code::NotFound, "{again:?}");

        let half = trials.breaker(reopened, Breaker::HalfOpen, Reason::RecoveryTimeout);
        let half = half.await?;
        let trial = trials.acquire().await?;
        trials.finish(trial, TrialOutcome::Succeeded).await?;
        let closed = trials.breaker(half, Breaker::Closed, Reason::TrialSucceeded);
        closed.await?;
        scene.daemon.stop().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_no_peers_named_they_are_discovered_and_only_observed() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = detector_tests::Lab::new(2)?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let _server = detector_tests::Traffic::grpc_server(peer).await?;
        let kind = detector_tests::peer::Kind::Put;
        let _traffic = detector_tests::Traffic::grpc_client(us, &peer.url(), kind, 4, 100).await?;
        let daemon = detector_tests::Daemon::start(us, &DaemonOptions::default()).await?;
        let alive = |state: &PeerState| state.verdict() == Verdict::Alive;
        let found = daemon.await_state(&peer.url(), SOON, alive).await?;
        assert_eq!(found.state.mode(), Mode::Observe);
        let cut = lab.cut(&[2], Cut::SilentDrop)?;
        let would_open = |state: &PeerState| state.would_be_breaker() == Breaker::Open;
        let seen = daemon
            .await_since(cut.at_ns, &peer.url(), SOON, would_open)
            .await?;
        assert_eq!(seen.state.breaker(), Breaker::Closed);
        daemon.stop().await
    })
    .await
}

/// A dead peer's flows are there to be explained, for as long as it takes.
async fn keeping_sockets() -> anyhow::Result<Scene> {
    Scene::new(SceneOptions {
        daemon: DaemonOptions::default().args(["--destroy-sockets", "off"]),
        ..SceneOptions::default()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_explanation_has_the_evidence_as_data() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = keeping_sockets().await?;
        let _traffic = scene.traffic_to(2).await?;
        let cut = scene.cut(2, Cut::PortDown)?;
        scene.open_after(cut, 2, SOON).await?;
        let explained = scene.daemon.explain(&scene.lab.host(2).url()).await?;
        let silence = explained.silence.as_ref().context("no silence")?;
        assert!(silence.unanswered_transmissions >= silence.required_transmissions);
        assert!(
            explained
                .flows
                .iter()
                .any(|f| f.demand && f.unacked_bytes > 0),
            "{explained:#?}"
        );
        assert!(
            explained
                .flows
                .iter()
                .all(|f| f.remote.starts_with("10.77.0.2:9000"))
        );
        assert!(!explained.summary.is_empty());
        scene.daemon.stop().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn health_follows_the_breaker() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = Scene::new(SceneOptions::default()).await?;
        let _traffic = scene.traffic_to(2).await?;
        let mut client = HealthClient::new(scene.daemon.channel());
        let request = |service: &str| HealthCheckRequest {
            service: service.to_owned(),
        };
        let own = client.check(request("")).await?.into_inner();
        assert_eq!(own.status(), ServingStatus::Serving);
        let url = scene.lab.host(2).url();
        let mut watch = client.watch(request(&url)).await?.into_inner();
        for (step, wanted) in [
            ServingStatus::Serving,
            ServingStatus::NotServing,
            ServingStatus::Serving,
        ]
        .into_iter()
        .enumerate()
        {
            match step {
                1 => drop(scene.cut(2, Cut::PortDown)?),
                2 => drop(scene.heal(2)?),
                _ => {}
            }
            let reached = async {
                while let Some(health) = watch.message().await? {
                    if health.status() == wanted {
                        return Ok(());
                    }
                }
                anyhow::bail!("the health watch ended")
            };
            tokio::time::timeout(SOON, reached)
                .await
                .with_context(|| format!("step {step}: not {wanted:?} within {SOON:?}"))??;
        }
        let unknown = client.check(request("http://10.77.0.9:9000")).await;
        assert_eq!(unknown.expect_err("is not watched").code(), Code::NotFound);
        scene.daemon.stop().await
    })
    .await
}

/// What `grpcurl list` and `grpcurl describe` ask.
#[tokio::test(flavor = "multi_thread")]
async fn reflection_describes_the_services() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = Scene::new(SceneOptions::default()).await?;
        let ask = async |message: MessageRequest| -> anyhow::Result<MessageResponse> {
            let request = ServerReflectionRequest {
                host: String::new(),
                message_request: Some(message),
            };
            let mut client = ServerReflectionClient::new(scene.daemon.channel());
            let stream = client
                .server_reflection_info(tokio_stream::once(request))
                .await?;
            let answer = stream.into_inner().message().await?.context("no answer")?;
            answer.message_response.context("an empty answer")
        };
        let listed = ask(MessageRequest::ListServices(String::new())).await?;
        let MessageResponse::ListServicesResponse(listed) = listed else {
            panic!("{listed:?}");
        };
        let names: Vec<_> = listed.service.iter().map(|s| s.name.as_str()).collect();
        for service in ["detector.v1.Detector", "grpc.health.v1.Health"] {
            assert!(names.contains(&service), "{names:?}");
            let symbol = MessageRequest::FileContainingSymbol(service.to_owned());
            let described = ask(symbol).await?;
            let MessageResponse::FileDescriptorResponse(files) = described else {
                panic!("{service}: {described:?}");
            };
            assert!(!files.file_descriptor_proto.is_empty());
        }
        scene.daemon.stop().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_reads_the_metrics() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = Scene::new(SceneOptions::default()).await?;
        let _traffic = scene.traffic_to(2).await?;
        let us = scene.lab.host(1);
        let directory = tempfile::tempdir()?;
        let config = directory.path().join("prometheus.yml");
        fs::write(
            &config,
            "global: {scrape_interval: 500ms, scrape_timeout: 400ms}\n\
             scrape_configs:\n\
             - job_name: detector\n  \
               static_configs: [{targets: ['127.0.0.1:9464']}]\n",
        )?;
        let mut command = us.command("prometheus");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!(
            "--storage.tsdb.path={}",
            directory.path().display()
        ));
        command.arg("--web.listen-address=127.0.0.1:9090");
        let prometheus = Process::start("prometheus (apt-get install prometheus)", command)?;

        let query = |expression: &str| -> anyhow::Result<Vec<Value>> {
            let expression: String = expression.bytes().map(|b| format!("%{b:02x}")).collect();
            let path = format!("/api/v1/query?query={expression}");
            let answer = get(us, "127.0.0.1:9090".parse()?, &path)?;
            let mut answer: Value = serde_json::from_str(&answer)?;
            match answer["data"]["result"].take() {
                Value::Array(series) => Ok(series),
                other => anyhow::bail!("not a result: {other}"),
            }
        };
        let asked = async |expression: &str| {
            testbed::until(expression, Duration::from_secs(20), async || {
                let series = query(expression)?;
                Ok((!series.is_empty()).then_some(series))
            })
            .await
            .with_context(|| prometheus.stderr_tail(10))
        };
        asked("up{job=\"detector\"} == 1").await?;
        asked("detector_build_info == 1").await?;
        let url = scene.lab.host(2).url();
        let of_peer = format!("{{__name__=~\"detector_.+\", peer=\"{url}\"}}");
        let before = asked(&of_peer).await?;

        let cut = scene.cut(2, Cut::PortDown)?;
        scene.open_after(cut, 2, SOON).await?;
        // The state is in the series by its word, whichever label holds it.
        testbed::until("a series tells of the open breaker", SOON, async || {
            let now = query(&of_peer)?;
            let open = now.iter().any(|series| {
                let labels = series["metric"].as_object();
                labels.is_some_and(|labels| labels.values().any(|label| label == "open"))
                    && series["value"][1] == "1"
            });
            Ok(open.then_some(()))
        })
        .await
        .with_context(|| format!("before the cut: {before:#?}"))?;
        scene.daemon.stop().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_prints_the_same_as_json() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = keeping_sockets().await?;
        let _traffic = scene.traffic_to(2).await?;
        let cut = scene.cut(2, Cut::PortDown)?;
        scene.open_after(cut, 2, SOON).await?;
        let (us, url) = (scene.lab.host(1), scene.lab.host(2).url());
        let printed = scene.daemon.cli(us, &["peers", "--output", "json"])?;
        let state: Value = serde_json::from_str(printed.trim())?;
        assert_eq!(state["peer"], url.as_str());
        assert_eq!(state["verdict"], "dead");
        assert_eq!(state["breaker"], "open");
        let printed = scene
            .daemon
            .cli(us, &["explain", &url, "--output", "json"])?;
        let explained: Value = serde_json::from_str(printed.trim())?;
        assert!(
            explained["flows"]
                .as_array()
                .is_some_and(|flows| !flows.is_empty())
        );

        // What `run` itself printed, as the states changed.
        let run = scene.daemon.process().stdout().find(SOON, |line| {
            let state: Value = serde_json::from_str(line).ok()?;
            (state["peer"] == url.as_str() && state["breaker"] == "open").then_some(())
        });
        assert!(
            run.await.is_some(),
            "{:?}",
            scene.daemon.process().stdout().all()
        );
        scene.daemon.stop().await
    })
    .await
}
