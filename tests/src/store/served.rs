//! A node's answers to clients and to the other nodes.

use detector_api::v1::Operation;
use tokio_stream::{Iter, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use super::{
    get,
    locks::Lock,
    node::Node,
    peers::Remote,
    proto::{Count, Empty, Found, Meta, Name, Part, ReadRequest, store_server::Store},
    put,
};

#[tonic::async_trait]
impl Store for Node {
    async fn put(&self, request: Request<Streaming<Part>>) -> Result<Response<Count>, Status> {
        let nodes = put::put(self, request.into_inner()).await?;
        Ok(Response::new(Count { nodes }))
    }

    type GetStream = ReceiverStream<Result<Part, Status>>;

    async fn get(&self, request: Request<Name>) -> Result<Response<Self::GetStream>, Status> {
        let object = request.into_inner().name;
        let parts = get::get(self, Operation::Control, object).await?;
        Ok(Response::new(ReceiverStream::new(parts)))
    }

    /// Nothing is cached: the user's object is read.
    async fn login(&self, request: Request<Name>) -> Result<Response<Empty>, Status> {
        let object = request.into_inner().name;
        let mut parts = get::get(self, Operation::IamRead, object).await?;
        while let Some(part) = parts.recv().await {
            part?;
        }
        Ok(Response::new(Empty {}))
    }

    async fn console(&self, _: Request<Empty>) -> Result<Response<Count>, Status> {
        let info = |_, mut peer: Remote| async move { peer.info(Empty {}).await };
        let all = self.peers.all();
        let answers = self.peers.call_all(all, Operation::Console, info).await;
        let nodes = answers.iter().filter(|(_, answer)| answer.is_ok()).count() as u32;
        Ok(Response::new(Count { nodes }))
    }

    async fn take_lock(&self, request: Request<Name>) -> Result<Response<Empty>, Status> {
        Lock::acquire(self, &request.get_ref().name).await?;
        Ok(Response::new(Empty {}))
    }

    /// As RustFS's `/health/ready`: it waits for every node, and asks for the locks each time,
    /// whatever it knows of the drives.
    async fn ready(&self, _: Request<Empty>) -> Result<Response<Count>, Status> {
        let (drives, locks) = tokio::join!(
            self.answering(Operation::Control),
            self.answering(Operation::Lock)
        );
        let nodes = drives?.min(locks?);
        Ok(Response::new(Count { nodes }))
    }

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

    async fn lock(&self, request: Request<Name>) -> Result<Response<Empty>, Status> {
        let name = request.into_inner().name;
        match self.kept().locks.insert(name) {
            true => Ok(Response::new(Empty {})),
            false => Err(Status::already_exists("somebody has the lock")),
        }
    }

    async fn unlock(&self, request: Request<Name>) -> Result<Response<Empty>, Status> {
        self.kept().locks.remove(&request.get_ref().name);
        Ok(Response::new(Empty {}))
    }
}

impl Node {
    /// How many nodes answer when they are asked like this; fewer than a quorum are an error.
    async fn answering(&self, operation: Operation) -> Result<u32, Status> {
        let info = |_, mut peer: Remote| async move { peer.info(Empty {}).await };
        let answers = self.peers.call_all(self.peers.all(), operation, info).await;
        let (answered, failed): (Vec<_>, Vec<_>) = answers.iter().partition(|(_, a)| a.is_ok());
        let last = failed.last().and_then(|(_, answer)| answer.as_ref().err());
        self.quorum(answered.len(), last)?;
        Ok(answered.len() as u32)
    }
}
