//! Posts alerts to the URL of `mirror.alert_webhook`.

use std::collections::VecDeque;
use std::time::Duration;

use deltalakedb_log::{ErrorKind, Result, TxnLogError};
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use tokio::task::JoinHandle;

use crate::alarm::Alert;
use crate::output::warn;

/// How long one POST may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How many alerts wait for their delivery; the oldest ones are dropped.
const MAX_PENDING: usize = 1_000;

/// Delivers alerts in their order, in a task of its own.
pub(crate) struct Webhook {
    client: Client,
    url: Url,
    /// Documents that are not delivered.
    pending: VecDeque<String>,
    running: Option<JoinHandle<Delivery>>,
    /// Whether the last delivery failed, which was reported.
    is_failing: bool,
}

/// The end of a delivery: the documents that are left, and why.
struct Delivery {
    left: VecDeque<String>,
    failure: Option<String>,
}

impl Webhook {
    pub(crate) fn new(url: Url) -> Result<Self> {
        let client = Client::builder().timeout(TIMEOUT).redirect(Policy::none()).build().map_err(|e| {
            let message = "no alerts can be posted to mirror.alert_webhook: the HTTP client cannot be started";
            TxnLogError::new(ErrorKind::Unavailable, message).with_source(e.without_url())
        })?;
        Ok(Self { client, url, pending: VecDeque::new(), running: None, is_failing: false })
    }

    /// Adds alerts, and starts a delivery of all that are pending unless one is running. Waits for no answer. What
    /// could not be delivered is pending again at the next call.
    pub(crate) async fn deliver(&mut self, alerts: &[Alert]) {
        if let Some(ended) = self.running.take_if(|running| running.is_finished()) {
            // A task that was stopped has nothing to report.
            if let Ok(delivery) = ended.await {
                self.note(delivery);
            }
        }
        self.pending.extend(alerts.iter().map(|alert| alert.json().to_string()));
        while self.pending.len() > MAX_PENDING {
            self.pending.pop_front();
        }
        if self.running.is_none() && !self.pending.is_empty() {
            let documents = std::mem::take(&mut self.pending);
            self.running = Some(tokio::spawn(post_all(self.client.clone(), self.url.clone(), documents)));
        }
    }

    fn note(&mut self, delivery: Delivery) {
        let Delivery { mut left, failure } = delivery;
        left.append(&mut self.pending);
        self.pending = left;
        if let Some(why) = failure.as_ref().filter(|_| !self.is_failing) {
            warn(&format!("warning: alerts cannot be posted to mirror.alert_webhook: {why}; they are posted again"));
        }
        self.is_failing = failure.is_some();
    }
}

/// Posts documents until one fails.
async fn post_all(client: Client, url: Url, mut documents: VecDeque<String>) -> Delivery {
    while let Some(document) = documents.front() {
        if let Err(why) = post(&client, &url, document.clone()).await {
            return Delivery { left: documents, failure: Some(why) };
        }
        documents.pop_front();
    }
    Delivery { left: documents, failure: None }
}

/// Posts a document; otherwise the reason, without the URL, which may contain a token.
async fn post(client: &Client, url: &Url, document: String) -> Result<(), String> {
    let request = client.post(url.clone()).header(CONTENT_TYPE, "application/json").body(document);
    let status = match request.send().await {
        Ok(response) => response.status(),
        Err(e) if e.is_timeout() => return Err(format!("no answer within {} s", TIMEOUT.as_secs())),
        Err(e) if e.is_connect() => return Err("no connection".into()),
        Err(e) => return Err(e.without_url().to_string()),
    };
    if status.is_success() { Ok(()) } else { Err(format!("the answer is {status}")) }
}
