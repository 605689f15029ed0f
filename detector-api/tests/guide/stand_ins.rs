//! What the guide's blocks call in RustFS, with the same signatures. They record what is asked of
//! them.

pub(crate) mod rustfs_config {
    /// The Unix socket of the dead-peer detector's daemon. Empty or unset: there is none.
    pub const ENV_DETECTOR_SOCKET: &str = "RUSTFS_DETECTOR_SOCKET";
}

pub(crate) mod rustfs_utils {
    use std::sync::Mutex;

    static VALUE: Mutex<Option<String>> = Mutex::new(None);

    pub(crate) fn set_env(value: &str) {
        *VALUE.lock().expect("no panic") = Some(value.to_owned());
    }

    pub(crate) fn get_env_opt_str(key: &str) -> Option<String> {
        assert_eq!(key, "RUSTFS_DETECTOR_SOCKET");
        VALUE.lock().expect("no panic").clone()
    }
}

/// The reports, in order, for those who wait for them.
struct Log<T>(std::sync::LazyLock<tokio::sync::watch::Sender<Vec<T>>>);

impl<T: Clone> Log<T> {
    const fn new() -> Self {
        Self(std::sync::LazyLock::new(|| {
            tokio::sync::watch::Sender::new(Vec::new())
        }))
    }

    fn push(&self, entry: T) {
        self.0.send_modify(|all| all.push(entry));
    }

    async fn at_least(&self, count: usize) -> Vec<T> {
        let mut all = self.0.subscribe();
        let all = all.wait_for(|all| all.len() >= count).await;
        all.expect("the log lives").clone()
    }
}

pub(crate) mod rustfs_io_metrics {
    pub(crate) mod internode_metrics {
        use super::super::Log;

        static UNREACHABLE: Log<(String, u32)> = Log::new();

        pub(crate) fn record_peer_unreachable(addr: &str, failure_threshold: u32) {
            UNREACHABLE.push((addr.to_owned(), failure_threshold));
        }

        pub(crate) async fn unreachable(at_least: usize) -> Vec<(String, u32)> {
            UNREACHABLE.at_least(at_least).await
        }
    }
}

pub(crate) mod storage_api {
    pub(crate) mod startup {
        pub(crate) mod notification {
            use std::sync::Arc;

            use super::super::super::Log;

            static RETRIES: Log<String> = Log::new();

            #[derive(Clone)]
            pub(crate) struct Node {
                pub(crate) grid_host: String,
                pub(crate) is_local: bool,
            }

            pub(crate) struct EndpointServerPools(pub(crate) Vec<Node>);

            impl EndpointServerPools {
                pub(crate) fn get_nodes(&self) -> Vec<Node> {
                    self.0.clone()
                }
            }

            pub(crate) struct NotificationSys;

            pub(crate) struct PeerRestClient(String);

            pub(crate) fn get_global_notification_sys() -> Option<Arc<NotificationSys>> {
                Some(Arc::new(NotificationSys))
            }

            impl NotificationSys {
                pub(crate) fn peer_client_for_grid_host(
                    &self,
                    grid_host: &str,
                ) -> Option<PeerRestClient> {
                    Some(PeerRestClient(grid_host.to_owned()))
                }
            }

            impl PeerRestClient {
                pub(crate) async fn prepare_retry(&self) {
                    RETRIES.push(self.0.clone());
                }
            }

            pub(crate) async fn retries(at_least: usize) -> Vec<String> {
                RETRIES.at_least(at_least).await
            }
        }
    }
}
