//! Serves the metrics of the process as Prometheus text: `GET /metrics` over HTTP/1.1, and nothing else.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use deltalakedb_log::{ErrorKind, Result, TxnLogError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::recorder::MetricsText;

/// The maximum size of a request.
const MAX_REQUEST: usize = 8 << 10;
/// How long a request and its answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum number of requests at a time; others wait.
const PARALLEL: usize = 16;
/// The pause after a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);
/// How often recorded durations are added to their buckets.
const UPKEEP: Duration = Duration::from_secs(5);

/// A server of metrics, whose address is taken.
pub(crate) struct MetricsServer {
    listener: TcpListener,
    metrics: MetricsText,
    permits: Arc<Semaphore>,
}

impl MetricsServer {
    pub(crate) async fn bind(address: &str, metrics: MetricsText) -> Result<Self> {
        let listener = TcpListener::bind(address).await.map_err(|e| cannot_serve(address, e))?;
        Ok(Self { listener, metrics, permits: Arc::new(Semaphore::new(PARALLEL)) })
    }

    /// The URL of the metrics.
    pub(crate) fn url(&self) -> Result<String> {
        let address = self.listener.local_addr().map_err(|e| {
            TxnLogError::new(ErrorKind::Internal, "the address of the metrics is unknown").with_source(e)
        })?;
        Ok(format!("http://{address}/metrics"))
    }

    /// Serves metrics. Never ends.
    pub(crate) async fn run(self) -> Result<Infallible> {
        let server = Arc::new(self);
        let mut upkeep = tokio::time::interval(UPKEEP);
        loop {
            tokio::select! {
                _ = upkeep.tick() => server.metrics.run_upkeep(),
                accepted = server.accept() => match accepted {
                    Ok((stream, permit)) => {
                        tokio::spawn(serve(stream, server.clone(), permit));
                    }
                    Err(e) => {
                        tracing::debug!(error = %e, "a request for metrics was not accepted");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
            }
        }
    }

    async fn accept(&self) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
        let permit = self.permits.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (stream, _) = self.listener.accept().await?;
        Ok((stream, permit))
    }
}

fn cannot_serve(address: &str, e: io::Error) -> TxnLogError {
    let why = match e.kind() {
        io::ErrorKind::InvalidInput => "it is not an address: expected HOST:PORT, such as 127.0.0.1:9184",
        io::ErrorKind::AddrInUse => "another program uses this address: pass another one to --metrics",
        io::ErrorKind::AddrNotAvailable => "it is not an address of this machine: pass another one to --metrics",
        io::ErrorKind::PermissionDenied => "this user may not use the port: pass another one to --metrics",
        _ => {
            let message = format!("metrics cannot be served at {address}: pass another address to --metrics");
            return TxnLogError::invalid(message).with_source(e);
        }
    };
    TxnLogError::invalid(format!("metrics cannot be served at {address}: {why}"))
}

/// Answers one request and closes the connection.
async fn serve(mut stream: TcpStream, server: Arc<MetricsServer>, _permit: OwnedSemaphorePermit) {
    let answered = async {
        let head = read_head(&mut stream).await?;
        stream.write_all(answer(&head, || server.metrics.render()).as_bytes()).await?;
        stream.shutdown().await
    };
    match tokio::time::timeout(TIMEOUT, answered).await {
        Ok(Ok(())) => {}
        Ok(Err(e)) => tracing::debug!(error = %e, "a request for metrics was not answered"),
        Err(_) => tracing::debug!("a request for metrics took too long"),
    }
}

/// Reads up to the empty line after the headers, to the end of the stream, or to the maximum size.
async fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    let (mut head, mut part) = (Vec::new(), [0_u8; 1024]);
    while head.len() < MAX_REQUEST {
        let read = stream.read(&mut part).await?;
        head.extend_from_slice(part.get(..read).unwrap_or_default());
        if read == 0 || head.windows(4).any(|end| end == b"\r\n\r\n") {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// The response to a request.
fn answer(head: &str, metrics: impl FnOnce() -> String) -> String {
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let path = target.map(|target| target.split('?').next().unwrap_or_default());
    let (status, header, body) = match (method, path) {
        _ if version.is_none_or(|version| !version.starts_with("HTTP/1.")) => {
            ("400 Bad Request", "", "this is not an HTTP/1.1 request\n".to_string())
        }
        (Some("GET"), Some("/metrics")) => ("200 OK", "", metrics()),
        (_, Some("/metrics")) => ("405 Method Not Allowed", "Allow: GET\r\n", "only GET is allowed\n".to_string()),
        _ => ("404 Not Found", "", "the metrics are at /metrics\n".to_string()),
    };
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {length}\r\n\
         {header}Connection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_get_of_metrics_is_answered_with_them() {
        let check = |head: &str, status: &str, body: &str| {
            let response = answer(head, || "a 1\n".into());
            assert!(response.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{head:?}: {response}");
            assert!(response.ends_with(&format!("\r\n\r\n{body}")), "{head:?}: {response}");
            assert!(response.contains(&format!("Content-Length: {}\r\n", body.len())), "{head:?}: {response}");
        };
        check("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", "200 OK", "a 1\n");
        check("GET /metrics?a=b HTTP/1.0\r\n\r\n", "200 OK", "a 1\n");
        check("POST /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed", "only GET is allowed\n");
        check("GET / HTTP/1.1\r\n\r\n", "404 Not Found", "the metrics are at /metrics\n");
        check("GET /metrics/x HTTP/1.1\r\n\r\n", "404 Not Found", "the metrics are at /metrics\n");
        for head in ["", "GET", "GET /metrics", "\u{fffd}\u{fffd}\r\n\r\n", "GET /metrics SPDY\r\n\r\n"] {
            check(head, "400 Bad Request", "this is not an HTTP/1.1 request\n");
        }
    }
}
