//! A table in a bucket of S3, behind moto.

use std::process::Command;

use deltalakedb_tests::python;

use crate::object_stores::{Server, check, free_port};

const BUCKET: &str = "lake";

/// `None`, after a report, if it is not installed.
fn moto() -> Option<Server> {
    let mut moto = Command::new(python("moto.server")?);
    let port = free_port();
    moto.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]);
    Some(Server::start(moto, port))
}

#[test]
fn a_table_is_written_published_and_read_in_a_bucket() {
    let Some(server) = moto() else { return };
    let made = server.request("PUT", &format!("/{BUCKET}"));
    assert!(made.starts_with("HTTP/1.1 200"), "{made}");
    let endpoint = format!("http://127.0.0.1:{}", server.port);
    let variables = [
        ("AWS_ENDPOINT_URL", endpoint.clone()),
        ("AWS_ENDPOINT", endpoint),
        ("AWS_ALLOW_HTTP", "true".to_string()),
        ("AWS_ACCESS_KEY_ID", "test".to_string()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_string()),
        ("AWS_REGION", "us-east-1".to_string()),
    ];
    check(&format!("s3://{BUCKET}/shop/events"), variables);
}
