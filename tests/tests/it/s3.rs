//! A table in a bucket of S3, behind moto.

use deltalakedb_tests::programs::{moto, variables_of_moto};

use crate::object_stores::check;

const BUCKET: &str = "lake";

#[test]
fn a_table_is_written_published_and_read_in_a_bucket() {
    let Some(server) = moto() else { return };
    let made = server.request("PUT", &format!("/{BUCKET}"));
    assert!(made.starts_with("HTTP/1.1 200"), "{made}");
    check(&format!("s3://{BUCKET}/shop/events"), variables_of_moto(&server));
}
