//! Settings from the environment, and their effect on a real socket.

use super::*;
use crate::VariableError;

fn settings(profile: Profile, name: &str, value: &str) -> Result<Settings, VariableError> {
    profile.settings_from(|asked| (asked == name).then(|| value.to_owned()))
}

#[test]
fn the_environment_overrides_the_defaults() {
    let of = |name, value| settings(Profile::Control, name, value).unwrap();
    let secs = Duration::from_secs;
    assert_eq!(of("RUSTFS_TCP_KEEPALIVE_SECS", "7").keepalive_idle, secs(7));
    let ping = of("RUSTFS_HTTP2_KEEPALIVE_INTERVAL_SECS", "3").ping;
    assert_eq!(ping.unwrap().interval, secs(3));
    let ping = of("RUSTFS_HTTP2_KEEPALIVE_TIMEOUT_SECS", " 2 ").ping;
    assert_eq!(ping.unwrap().timeout, secs(2));
    assert_eq!(of("RUSTFS_HTTP2_KEEPALIVE_INTERVAL_SECS", "0").ping, None);
}

#[test]
fn no_variable_gives_bulk_connections_a_ping() {
    for name in [
        "RUSTFS_HTTP2_KEEPALIVE_INTERVAL_SECS",
        "RUSTFS_HTTP2_KEEPALIVE_TIMEOUT_SECS",
    ] {
        assert_eq!(settings(Profile::Bulk, name, "3").unwrap().ping, None);
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for value in ["", "0", "-1", "10s", "1.5", "3601", "99999999999999999999"] {
        let error = settings(Profile::Bulk, "RUSTFS_TCP_KEEPALIVE_SECS", value).unwrap_err();
        assert_eq!(error.name, "RUSTFS_TCP_KEEPALIVE_SECS");
        assert_eq!(error.value, value);
    }
    let zero = settings(Profile::Control, "RUSTFS_HTTP2_KEEPALIVE_TIMEOUT_SECS", "0");
    assert!(zero.is_err(), "no answer is that fast");
}

/// Checks the options of a real socket.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_connector_sets_what_it_says() {
    use std::os::fd::AsFd;
    use tower::ServiceExt;

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    let connector = Profile::Bulk.settings().connector();
    let connection = connector.oneshot(uri.parse().unwrap()).await.unwrap();
    let socket = connection.inner().as_fd();
    let socket = socket2::SockRef::from(&socket);
    assert_eq!(
        socket.tcp_user_timeout().unwrap(),
        Some(Duration::from_secs(30))
    );
    assert_eq!(
        socket.tcp_keepalive_time().unwrap(),
        Duration::from_secs(10)
    );
    assert_eq!(
        socket.tcp_keepalive_interval().unwrap(),
        Duration::from_secs(15)
    );
    assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
    assert!(socket.tcp_nodelay().unwrap());
}
