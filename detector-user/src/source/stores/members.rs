//! Asks a running program for its members, from its own network: etcd, whose command line names
//! those of its first start only.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use http_body_util::{BodyExt as _, Limited};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tracing::debug;

use super::View;
use crate::{
    netns::Namespace,
    source::network::any_is_local,
    stores::{Cluster, Question},
};

/// How long the program may take to accept, and to answer. It is asked on its own host.
const ACCEPTS_WITHIN: Duration = Duration::from_millis(200);
const ANSWERS_WITHIN: Duration = Duration::from_millis(500);

/// The longest answer that is read.
const MAX_ANSWER: usize = 1 << 20;

/// Puts in the members that the program tells. While it tells none, those that it told before
/// stay, or else what its configuration says. Blocks.
pub(super) fn ask(
    cluster: &mut Cluster,
    before: Option<&Cluster>,
    view: &View,
) -> Result<(), String> {
    let Some(members) = cluster.members.clone() else {
        return Ok(());
    };
    let mut why = String::new();
    for question in &members.questions {
        let answer = answer(*question, view).map_err(|error| error.to_string());
        let told = answer.and_then(|answer| members.read(&answer).map_err(|e| e.to_string()));
        match told {
            Ok(told) => {
                *cluster = told;
                return Ok(());
            }
            Err(error) => {
                debug!(?question, error, "it tells no members");
                why = error;
            }
        }
    }
    if let Some(before) = before.filter(|before| !before.nodes.is_empty()) {
        cluster.clone_from(before);
    }
    match cluster.nodes.is_empty() {
        true => Err(format!(
            "names no members, and tells none: {why}; name its peers (--peer)"
        )),
        false => Ok(()),
    }
}

fn answer(question: Question, view: &View) -> io::Result<Bytes> {
    let namespace = match view.namespace() {
        None => None,
        Some(Ok(Some(namespace))) => Some(namespace),
        Some(Ok(None)) => return Err(io::ErrorKind::NotFound.into()),
        Some(Err(error)) => return Err(io::Error::other(error)),
    };
    let (Question::AsPeer(at) | Question::AsClient(at)) = question;
    let stream = connect(at, namespace.as_ref())?;
    stream.set_nonblocking(true)?;
    // At the start and in `detector doctor` this thread drives another runtime.
    let exchanged = thread::scope(|scope| {
        let exchange = || exchanged(question, stream);
        scope.spawn(exchange).join()
    });
    exchanged.unwrap_or_else(|_| Err(io::Error::other("the exchange was aborted")))
}

/// The answer, if it comes in time. Blocks.
fn exchanged(question: Question, stream: TcpStream) -> io::Result<Bytes> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let asked = timeout(ANSWERS_WITHIN, exchange(question, stream));
        asked.await.map_err(|_| io::ErrorKind::TimedOut)?
    })
}

/// Only ever to the program's own host, whatever its command line says.
fn connect(at: SocketAddr, namespace: Option<&Namespace>) -> io::Result<TcpStream> {
    let is_local = || any_is_local(&[at.ip()], namespace).map_err(io::Error::other);
    if !at.ip().is_loopback() && !is_local()? {
        let message = format!("{at} is not its own address");
        return Err(io::Error::other(message));
    }
    let connect = || TcpStream::connect_timeout(&at, ACCEPTS_WITHIN);
    match namespace {
        None => connect(),
        Some(namespace) => namespace.within(connect)?,
    }
}

async fn exchange(question: Question, stream: TcpStream) -> io::Result<Bytes> {
    let stream = TokioIo::new(tokio::net::TcpStream::from_std(stream)?);
    let (mut sender, connection) = http1::handshake(stream).await.map_err(io::Error::other)?;
    let exchange = async {
        let response = sender.send_request(request(question)?).await;
        let response = response.map_err(io::Error::other)?;
        if !response.status().is_success() {
            return Err(io::Error::other(format!(
                "it answers {}",
                response.status()
            )));
        }
        let body = Limited::new(response.into_body(), MAX_ANSWER)
            .collect()
            .await;
        Ok(body.map_err(io::Error::other)?.to_bytes())
    };
    // The connection carries the exchange, and ends after it or with an error.
    let connection = async {
        match connection.await {
            Ok(()) => std::future::pending().await,
            Err(error) => io::Error::other(error),
        }
    };
    tokio::select! {
        biased;
        body = exchange => body,
        error = connection => Err(error),
    }
}

fn request(question: Question) -> io::Result<Request<String>> {
    let (method, path, at, body) = match question {
        Question::AsPeer(at) => ("GET", "/members", at, ""),
        Question::AsClient(at) => ("POST", "/v3/cluster/member/list", at, "{}"),
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", at.to_string())
        .header("connection", "close")
        .body(body.to_owned());
    request.map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
    };

    use super::*;
    use crate::{
        config::Profile,
        stores::{self, Environment, Started},
    };

    const MEMBERS: &str =
        r#"[{"name":"a","peerURLs":["http://127.0.0.1:1"]},{"peerURLs":["http://b:1"]}]"#;

    /// Answers one request like this, and gives the request.
    fn server(status: &str, body: &str) -> (SocketAddr, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
        let serving = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        (address, serving)
    }

    /// The cluster of an etcd that listens for peers here, and for clients there.
    fn configured(peers: &str, clients: &str, initial: &str) -> Cluster {
        let line =
            format!("--name a --listen-peer-urls {peers} --listen-client-urls {clients} {initial}");
        let started = Started {
            arguments: line.split_whitespace().map(str::to_owned).collect(),
            environment: Environment::default(),
        };
        let none = |_: &std::path::Path| Err(io::ErrorKind::NotFound.into());
        stores::cluster(Profile::Etcd, &started, &none).unwrap()
    }

    fn names(cluster: &Cluster) -> Vec<&str> {
        cluster
            .nodes
            .iter()
            .map(|node| node.name.as_str())
            .collect()
    }

    const TOLD: [&str; 2] = ["http://127.0.0.1:1", "http://b:1"];
    const BY_TLS: &str = "https://127.0.0.1:1";
    const INITIAL: &str = "--initial-cluster a=http://a:1";

    #[test]
    fn what_it_tells_counts_and_stays_while_it_tells_nothing() {
        let (at, serving) = server("200 OK", MEMBERS);
        let peers = format!("http://{at}");
        let mut cluster = configured(&peers, BY_TLS, INITIAL);
        ask(&mut cluster, None, &View::default()).unwrap();
        assert_eq!(names(&cluster), TOLD);
        assert!(
            serving
                .join()
                .unwrap()
                .starts_with("GET /members HTTP/1.1\r\n")
        );

        // Nobody listens there any more.
        let mut later = configured(&peers, BY_TLS, INITIAL);
        ask(&mut later, Some(&cluster), &View::default()).unwrap();
        assert_eq!(names(&later), TOLD);
        let mut first = configured(&peers, BY_TLS, INITIAL);
        ask(&mut first, None, &View::default()).unwrap();
        assert_eq!(names(&first), ["http://a:1"]);
        let error = ask(&mut configured(&peers, BY_TLS, ""), None, &View::default());
        assert!(error.unwrap_err().contains("tells none: "));
    }

    /// A program that runs before the daemon is asked while the daemon starts.
    #[tokio::test]
    async fn it_is_asked_from_within_a_runtime_too() {
        let (at, _serving) = server("200 OK", MEMBERS);
        let mut cluster = configured(&format!("http://{at}"), BY_TLS, INITIAL);
        ask(&mut cluster, None, &View::default()).unwrap();
        assert_eq!(names(&cluster), TOLD);
    }

    #[test]
    fn clients_are_answered_where_peers_are_not() {
        let (peers, refusing) = server("404 Not Found", "");
        let (clients, serving) = server("200 OK", &format!("{{\"members\":{MEMBERS}}}"));
        let (at, then) = (format!("http://{peers}"), format!("http://{clients}"));
        let mut cluster = configured(&at, &then, "");
        ask(&mut cluster, None, &View::default()).unwrap();
        assert_eq!(names(&cluster), TOLD);
        refusing.join().unwrap();
        let request = serving.join().unwrap();
        assert!(
            request.starts_with("POST /v3/cluster/member/list HTTP/1.1\r\n"),
            "{request}"
        );
    }

    #[test]
    fn only_its_own_host_is_asked() {
        let mut cluster = configured("http://192.0.2.77:1", BY_TLS, "");
        let error = ask(&mut cluster, None, &View::default()).unwrap_err();
        assert!(
            error.contains("192.0.2.77:1 is not its own address"),
            "{error}"
        );
    }
}
