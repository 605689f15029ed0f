//! What a node answers to the others.

use std::{io, time::Duration};

use tonic::{Request, Response, Status};

use super::{
    drive::Drive,
    locks::Claim,
    node::Node,
    proto::{
        CommitRequest, CommitResponse, DriveUse, InfoRequest, InfoResponse, LeaseRequest,
        LeaseResponse, LockRequest, LockResponse, ReadMetaRequest, ReadMetaResponse, node_server,
    },
};
use crate::clock;

#[derive(Debug)]
pub struct Control {
    node: Node,
}

impl Control {
    pub fn new(node: Node) -> Self {
        Self { node }
    }

    fn drive(&self, number: u32) -> Result<Drive, Status> {
        let drive = self.node.drive(number as usize);
        drive.ok_or_else(|| Status::not_found(format!("there is no drive {number}")))
    }
}

/// What the console shows of this node.
pub fn info(node: &Node) -> InfoResponse {
    let drives = node.drives().iter().enumerate();
    InfoResponse {
        node: node.url().to_owned(),
        uptime_ms: clock::between(node.started_ns(), clock::now_ns()).as_millis() as u64,
        drives: drives
            .map(|(number, drive)| DriveUse {
                drive: number as u32,
                objects: drive.objects().unwrap_or_default(),
            })
            .collect(),
    }
}

#[tonic::async_trait]
impl node_server::Node for Control {
    async fn info(&self, _request: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        Ok(Response::new(info(&self.node)))
    }

    async fn read_meta(
        &self,
        request: Request<ReadMetaRequest>,
    ) -> Result<Response<ReadMetaResponse>, Status> {
        let request = request.into_inner();
        let drive = self.drive(request.drive)?;
        let versions = drive.versions(&request.object).map_err(failed)?;
        Ok(Response::new(ReadMetaResponse { versions }))
    }

    async fn commit(
        &self,
        request: Request<CommitRequest>,
    ) -> Result<Response<CommitResponse>, Status> {
        let request = request.into_inner();
        let meta = request
            .meta
            .ok_or_else(|| Status::invalid_argument("a commit without its meta"))?;
        self.drive(request.drive)?.commit(&meta).map_err(failed)?;
        Ok(Response::new(CommitResponse {}))
    }

    async fn lock(&self, request: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
        let request = request.into_inner();
        let claim = Claim {
            resource: &request.resource,
            holder: &request.holder,
            node: &request.node,
            exclusive: request.exclusive,
        };
        let ttl = Duration::from_millis(request.ttl_ms.into());
        Ok(Response::new(match self.node.leases().lock(&claim, ttl) {
            Ok(()) => LockResponse {
                granted: true,
                ..LockResponse::default()
            },
            Err(held) => LockResponse {
                granted: false,
                held_by: held.by,
                ends_within_ms: held.ends_within.as_millis() as u32,
            },
        }))
    }

    async fn unlock(
        &self,
        request: Request<LeaseRequest>,
    ) -> Result<Response<LeaseResponse>, Status> {
        let lease = request.into_inner();
        let held = self.node.leases().unlock(&lease.resource, &lease.holder);
        Ok(Response::new(LeaseResponse { held }))
    }
}

/// FAILED_PRECONDITION: a drive's error is none of the network's.
fn failed(error: io::Error) -> Status {
    Status::failed_precondition(error.to_string())
}
