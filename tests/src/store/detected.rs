//! The same with `detector-api`.

use std::{future::Future, sync::Arc};

use tonic::{Response, Status};

use super::{
    today::Today,
    wires::{Class, Control, Failure, Incoming, Outgoing, Shown},
};

#[derive(Debug)]
pub struct Detected {
    today: Arc<Today>,
}

impl Detected {
    pub fn new(_socket: &str, today: Today, _peers: &[String]) -> anyhow::Result<Self> {
        Ok(Self {
            today: Arc::new(today),
        })
    }

    pub fn today(&self) -> &Arc<Today> {
        &self.today
    }

    pub async fn call<T, F>(
        &self,
        class: Class,
        key: &str,
        call: impl Fn(Control) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.today.call(class, key, call).await
    }

    pub async fn transfer(
        &self,
        peer: &str,
        request: http::Request<Outgoing>,
    ) -> Result<http::Response<Incoming>, Failure> {
        self.today.transfer(peer, request).await
    }

    pub async fn ask_all<T, F>(
        &self,
        peers: &[String],
        call: impl Fn(Control) -> F,
    ) -> Vec<(String, Shown<T>)>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.today.ask_all(peers, call).await
    }

    pub fn drives_are_off(&self, peer: &str) -> Option<Failure> {
        self.today.drives_are_off(peer)
    }

    pub fn is_down(&self, _peer: &str) -> bool {
        false
    }
}
