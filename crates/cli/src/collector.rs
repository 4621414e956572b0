//! Sends requests of OTLP to a collector. Nothing waits for it, and the first failure is a warning.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use reqwest::Client;
use reqwest::redirect::Policy;
use tokio::runtime::Handle;

use crate::output::warn;

/// How long a request may take, unless `OTEL_EXPORTER_OTLP_TIMEOUT` has other milliseconds.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How much of an answer is read.
const MAX_ANSWER: usize = 64 << 10;

/// The HTTP client of the exporters, whose threads are not those of the runtime.
#[derive(Debug)]
pub(crate) struct Collector {
    client: Client,
    runtime: Handle,
    timeout: Duration,
    has_warned: AtomicBool,
}

impl Collector {
    pub(crate) fn new(runtime: Handle) -> Result<Self, String> {
        let milliseconds = std::env::var("OTEL_EXPORTER_OTLP_TIMEOUT").ok();
        let milliseconds = milliseconds.and_then(|text| text.trim().parse::<u64>().ok()).filter(|ms| *ms > 0);
        let timeout = milliseconds.map_or(TIMEOUT, Duration::from_millis);
        let client = {
            let _context = runtime.enter();
            Client::builder().timeout(timeout).redirect(Policy::none()).build()
        };
        let client = client.map_err(|e| format!("the HTTP client cannot be started: {}", e.without_url()))?;
        Ok(Self { client, runtime, timeout, has_warned: AtomicBool::new(false) })
    }

    /// Reports the first failure. Later ones most likely have the same cause.
    pub(crate) fn warn_once(&self, why: &str) {
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            warn_of_loss(why);
        }
    }

    /// Why a request failed.
    fn why(&self, e: &reqwest::Error, place: &str) -> String {
        if e.is_timeout() {
            format!("{place} does not answer within {:?}", self.timeout)
        } else if e.is_connect() {
            format!("there is no connection to {place}")
        } else if e.is_builder() {
            "the endpoint is not a URL: expected http://HOST:PORT".into()
        } else {
            format!("{place} does not answer as an HTTP server")
        }
    }
}

/// Reports that not everything is exported.
pub(crate) fn warn_of_loss(why: &str) {
    warn(&format!("warning: the OpenTelemetry collector does not get all traces and metrics: {why}"));
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let place = place_of(&request);
        match self.runtime.spawn(send(self.client.clone(), request)).await {
            Ok(Ok(answer)) => {
                if !answer.status().is_success() {
                    self.warn_once(&format!("the answer of {place} is {}", answer.status()));
                }
                Ok(answer)
            }
            Ok(Err(e)) => {
                self.warn_once(&self.why(&e, &place));
                Err(e.without_url().into())
            }
            // The runtime has ended.
            Err(e) => Err(e.into()),
        }
    }
}

/// The host and the port, without the rest of the URL, which may contain a token.
fn place_of(request: &Request<Bytes>) -> String {
    let uri = request.uri();
    let host = uri.host().unwrap_or_default();
    uri.port_u16().map_or_else(|| host.to_string(), |port| format!("{host}:{port}"))
}

async fn send(client: Client, request: Request<Bytes>) -> reqwest::Result<Response<Bytes>> {
    let mut answer = client.execute(request.try_into()?).await?;
    let mut body: Vec<u8> = Vec::new();
    while body.len() < MAX_ANSWER
        && let Some(part) = answer.chunk().await?
    {
        body.extend_from_slice(&part);
    }
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = answer.status();
    *response.headers_mut() = std::mem::take(answer.headers_mut());
    Ok(response)
}
