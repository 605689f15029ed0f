//! What a node answers to the others.

use tokio_stream::Iter;
use tonic::{Request, Response, Status, Streaming};

use super::{
    node::Node,
    proto::{Empty, Found, Lease, Meta, Name, Part, ReadRequest, peer_server::Peer},
};

#[tonic::async_trait]
impl Peer for Node {
    async fn info(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        Ok(Response::new(Empty {}))
    }

    async fn read_meta(&self, request: Request<Name>) -> Result<Response<Found>, Status> {
        let meta = self.kept().metas.get(&request.get_ref().name).cloned();
        Ok(Response::new(Found { meta }))
    }

    async fn commit(&self, request: Request<Meta>) -> Result<Response<Empty>, Status> {
        let meta = request.into_inner();
        self.kept().metas.insert(meta.object.clone(), meta);
        Ok(Response::new(Empty {}))
    }

    /// An upload that breaks off leaves nothing.
    async fn write(&self, request: Request<Streaming<Part>>) -> Result<Response<Empty>, Status> {
        let (mut parts, mut object, mut rows) = (request.into_inner(), String::new(), Vec::new());
        while let Some(part) = parts.message().await? {
            object = part.object;
            rows.push(part.data);
        }
        self.kept().shards.insert(object, rows);
        Ok(Response::new(Empty {}))
    }

    type ReadStream = Iter<std::vec::IntoIter<Result<Part, Status>>>;

    async fn read(
        &self,
        request: Request<ReadRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        let ReadRequest { object, row } = request.into_inner();
        let rows = self.kept().shards.get(&object).cloned();
        let rows = rows.ok_or_else(|| Status::not_found(object))?;
        let parts = rows.into_iter().skip(row as usize).map(|data| {
            let object = String::new();
            Ok(Part { object, data })
        });
        let parts: Vec<_> = parts.collect();
        Ok(Response::new(tokio_stream::iter(parts)))
    }

    async fn lock(&self, request: Request<Lease>) -> Result<Response<Empty>, Status> {
        self.leases().lock(request.into_inner()).await;
        Ok(Response::new(Empty {}))
    }

    async fn unlock(&self, request: Request<Lease>) -> Result<Response<Empty>, Status> {
        self.leases().unlock(request.get_ref());
        Ok(Response::new(Empty {}))
    }
}
