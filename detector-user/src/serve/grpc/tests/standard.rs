//! The standard services: health checks and reflection.

use tokio_stream::StreamExt as _;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use super::*;

/// The answer to one question by reflection.
async fn reflected(rig: &Rig, message_request: MessageRequest) -> MessageResponse {
    let mut reflection = ServerReflectionClient::new(rig.channel.clone());
    let request = tokio_stream::iter([ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message_request),
    }]);
    let answers = reflection.server_reflection_info(request).await.unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap();
    answer.message_response.unwrap()
}

#[tokio::test]
async fn health_has_a_service_for_each_peer() {
    let rig = Rig::start().await;
    rig.board.publish(alive(1));
    let mut health = HealthClient::new(rig.channel.clone());
    let service = |name: &str| HealthCheckRequest {
        service: name.into(),
    };
    for name in ["", "detector.v1.Detector", PEER] {
        let answer = health.check(service(name)).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{name}");
    }
    assert_eq!(code(health.check(service("x")).await), Code::NotFound);

    let mut watch = health.watch(service(PEER)).await.unwrap().into_inner();
    let mut next = async || watch.next().await.unwrap().unwrap().status();
    assert_eq!(next().await, ServingStatus::Serving);
    rig.board.publish(dead(2));
    assert_eq!(next().await, ServingStatus::NotServing);
    rig.board
        .publish(state(PEER, Verdict::Unknown, Breaker::HalfOpen, 3));
    rig.board.publish(alive(4));
    // The step through half_open may or may not be seen; the health status does not change with it.
    assert_eq!(next().await, ServingStatus::Serving);
    rig.board.retract(peer(PEER), 5);
    assert_eq!(next().await, ServingStatus::ServiceUnknown);
}

#[tokio::test]
async fn reflection_lists_the_services_and_their_messages() {
    let rig = Rig::start().await;
    let answer = reflected(&rig, MessageRequest::ListServices(String::new())).await;
    let MessageResponse::ListServicesResponse(list) = answer else {
        panic!("{answer:?}")
    };
    let names: Vec<&str> = list.service.iter().map(|s| s.name.as_str()).collect();
    for name in ["detector.v1.Detector", "grpc.health.v1.Health"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let symbol = MessageRequest::FileContainingSymbol("detector.v1.PeerState".into());
    let answer = reflected(&rig, symbol).await;
    assert!(matches!(answer, MessageResponse::FileDescriptorResponse(_)));
}
