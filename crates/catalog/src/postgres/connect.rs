//! Connections to the server, and probes of its availability.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use deltalakedb_log::{ErrorKind, Result, TxnLogError, metric};
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgPool, PgSslMode};

use super::errors::failed;
use crate::uri::PostgresBackend;

/// How long a call waits for an unavailable server before it fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// How long the result of one probe of the server is used for all calls.
const PROBE_SERVES: Duration = Duration::from_secs(1);

/// The connections for one kind of work.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    pub(super) pool: PgPool,
    /// The setting for their maximum number.
    pub(super) setting: &'static str,
}

impl Connections {
    /// Records how many there are.
    pub(super) fn record_size(&self) {
        metric::CATALOG_CONNECTIONS.set_for(&self.setting, f64::from(self.pool.size()));
    }

    /// The error of a call on one of these connections.
    pub(super) fn failed(&self, uri: &str, e: sqlx::Error) -> TxnLogError {
        let sqlx::Error::PoolTimedOut = e else { return failed(uri, e) };
        let (most, setting) = (self.pool.options().get_max_connections(), self.setting);
        let message = format!(
            "this process may have {most} connections to {uri} at once for this ({setting}), and none of them became \
             free in time: try again, or raise {setting}"
        );
        TxnLogError::new(ErrorKind::Unavailable, message).with_source(e)
    }
}

/// A query that many callers make at once: one caller runs it for all.
#[derive(Debug, Default)]
pub(super) struct Probe(tokio::sync::Mutex<Option<(Instant, Answer)>>);

/// The result. An error cannot be cloned, so its kind and its message are kept.
type Answer = Result<(), (ErrorKind, String)>;

impl Probe {
    pub(super) async fn ask(&self, find_out: impl Future<Output = Result<()>>) -> Result<()> {
        let mut last = self.0.lock().await;
        let recent = last.as_ref().filter(|(at, _)| at.elapsed() < PROBE_SERVES);
        if let Some((_, answer)) = recent {
            return answer.clone().map_err(|(kind, message)| TxnLogError::new(kind, message));
        }
        let answer = find_out.await;
        let shared = answer.as_ref().copied().map_err(|e| (e.kind(), e.to_string()));
        *last = Some((Instant::now(), shared));
        answer
    }
}

pub(super) fn options(backend: &PostgresBackend) -> sqlx::Result<PgConnectOptions> {
    // Through a URL, so that missing parts are taken from where libpq takes them.
    let mut url = url::Url::parse("postgres://").map_err(sqlx::Error::config)?;
    let port = backend.port.map(|port| port.to_string());
    // The client cannot try without TLS first, so it tries with TLS.
    let prefer = String::from("prefer");
    let sslmode = backend.sslmode.as_ref().map(|mode| if mode == "allow" { &prefer } else { mode });
    let pairs = [
        ("dbname", Some(&backend.database)),
        ("host", backend.host.as_ref()),
        ("port", port.as_ref()),
        ("user", backend.user.as_ref()),
        ("sslmode", sslmode),
    ];
    for (key, value) in pairs {
        if let Some(value) = value {
            url.query_pairs_mut().append_pair(key, value);
        }
    }
    let mut options = PgConnectOptions::from_url(&url)?;
    let is_set = backend.sslmode.is_some() || std::env::var_os("PGSSLMODE").is_some_and(|mode| !mode.is_empty());
    if !is_set && !is_local(&options) {
        // Traffic that leaves this machine is encrypted or not sent.
        options = options.ssl_mode(PgSslMode::Require);
    }
    Ok(options.application_name("deltalakedb").statement_cache_capacity(0).disable_statement_logging())
}

/// Whether the connection uses no network: a socket, or an address of this machine.
fn is_local(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    options.get_socket().is_some()
        || host.starts_with('/')
        || host.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use sqlx::postgres::PgPoolOptions;

    use super::*;

    #[tokio::test]
    async fn concurrent_callers_share_one_probe() {
        let (probe, asked) = (Probe::default(), std::sync::atomic::AtomicU32::new(0));
        let ask = || {
            probe.ask(async {
                asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                tokio::task::yield_now().await;
                Err(TxnLogError::new(ErrorKind::Unavailable, "it is away"))
            })
        };
        for answer in futures::future::join_all((0..1000).map(|_| ask())).await {
            assert_eq!(answer.unwrap_err().to_string(), "it is away");
        }
        assert_eq!(asked.into_inner(), 1);
    }

    #[test]
    fn remote_servers_require_tls_by_default() {
        let check = |host: &str, option: Option<&str>, expected: PgSslMode| {
            let sslmode = option.map(String::from);
            let backend = PostgresBackend { host: Some(host.into()), sslmode, ..PostgresBackend::default() };
            let mode = options(&backend).unwrap().get_ssl_mode();
            assert_eq!(format!("{mode:?}"), format!("{expected:?}"), "{host} {option:?}");
        };
        for local in ["localhost", "127.0.0.1", "127.1.2.3", "::1", "/run/postgresql"] {
            check(local, None, PgSslMode::Prefer);
            check(local, Some("require"), PgSslMode::Require);
        }
        for remote in ["db.example.com", "10.0.0.5", "localhost.example.com", "2001:db8::1"] {
            check(remote, None, PgSslMode::Require);
            check(remote, Some("prefer"), PgSslMode::Prefer);
            check(remote, Some("disable"), PgSslMode::Disable);
            check(remote, Some("verify-full"), PgSslMode::VerifyFull);
        }
    }

    #[tokio::test]
    async fn an_exhausted_pool_names_its_setting() {
        let pool = PgPoolOptions::new().max_connections(3).connect_lazy_with(PgConnectOptions::new_without_pgpass());
        let writers = Connections { pool, setting: "postgres.writers" };
        let error = writers.failed("the catalog", sqlx::Error::PoolTimedOut);
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let text = error.to_string();
        assert!(text.contains("may have 3 connections") && text.contains("raise postgres.writers"), "{text}");
    }
}
