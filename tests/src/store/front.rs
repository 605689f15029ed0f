//! What clients ask of a node: objects, logins, the console, and locks.

use detector_api::v1::Operation;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{
    get,
    locks::Lock,
    node::Node,
    peers::Remote,
    proto::{Count, Empty, Name, Part, front_server::Front},
    put,
};

#[tonic::async_trait]
impl Front for Node {
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

    /// Nothing is cached: the user's object is read, under its lock.
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
        let asked = self
            .peers()
            .call_all(0..self.nodes(), Operation::Console, info);
        let online = asked
            .await
            .iter()
            .filter(|(_, answer)| answer.is_ok())
            .count();
        let nodes = online as u32;
        Ok(Response::new(Count { nodes }))
    }

    async fn take_lock(&self, request: Request<Name>) -> Result<Response<Empty>, Status> {
        Lock::acquire(self, &request.get_ref().name, true).await?;
        Ok(Response::new(Empty {}))
    }
}
