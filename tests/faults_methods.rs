//! What the daemon does not have is Unimplemented, which containerd takes for "try something else".

mod common;

use common::daemon::Site;
use common::is_root;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request};

#[test]
fn privileged_unknown_methods_and_services_are_unimplemented() {
    if !is_root("unknown_methods_and_services_are_unimplemented") {
        return;
    }
    let site = Site::new();
    let daemon = site.start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for method in [
            "/containerd.services.snapshots.v1.Snapshots/Nothing",
            "/containerd.services.snapshots.v2.Snapshots/Prepare",
            "/containerd.services.images.v1.Images/Get",
            "/x/y",
        ] {
            let mut client = Grpc::new(leasehold::grpc::client(daemon.plugin_socket()).await.unwrap());
            client.ready().await.unwrap();
            let codec = tonic_prost::ProstCodec::<(), ()>::default();
            let answer = client.unary(Request::new(()), PathAndQuery::from_static(method), codec).await;
            assert_eq!(answer.unwrap_err().code(), Code::Unimplemented, "{method}");
        }
    });
}
