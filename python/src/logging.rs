//! Events of the library, for Python's `logging` and for standard error.
//!
//! A thread that reports an event never waits for the interpreter, whose thread may be waiting for it. Events go to a
//! queue, and threads of Python take them: at the end of each call, and a thread of `deltalakedb._logging` for others.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::{Condvar, Mutex};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_log::{AsLog, LogTracer};
use tracing_subscriber::filter::{EnvFilter, Targets};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{Layer, Registry, fmt, reload};

/// The module with the Python part.
const PASSING: &str = "deltalakedb._logging";
/// The levels of `logging`, and one below.
const TRACE: i32 = 5;
const DEBUG: i32 = 10;
const INFO: i32 = 20;
const WARNING: i32 = 30;
const ERROR: i32 = 40;
/// The maximum number of waiting events.
const MAX_WAITING: usize = 10_000;
/// How long an event waits for the end of the call that it belongs to, before the thread takes it.
const SLACK: Duration = Duration::from_millis(500);

static QUEUE: Queue = Queue::new();
/// The level of the logger `deltalakedb` at the last call.
static LEVEL: AtomicI32 = AtomicI32::new(WARNING);

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    filters();
    m.add_class::<LogEvent>()?;
    m.add_function(wrap_pyfunction!(take_log_events, m)?)?;
    m.add_function(wrap_pyfunction!(wait_for_log_events, m)?)?;
    m.add_function(wrap_pyfunction!(close_log_events, m)?)
}

/// Before a call: enables the events that the logger `deltalakedb` is configured for.
pub(crate) fn before_call(py: Python<'_>) -> PyResult<()> {
    static LOGGER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    static HAS_THREAD: AtomicBool = AtomicBool::new(false);
    let logger = LOGGER
        .get_or_try_init(py, || py.import("logging")?.call_method1("getLogger", ("deltalakedb",)).map(Bound::unbind))?;
    let level: i32 = logger.bind(py).call_method0("getEffectiveLevel")?.extract()?;
    if LEVEL.swap(level, Ordering::Relaxed) != level {
        let enabled = enabled_at(level);
        // It may wait for a thread that reports an event; that one does not wait for the interpreter.
        py.detach(|| set(&filters().passed, enabled));
    }
    // Not at the import, so that a process can be forked between the import and the first call.
    if !HAS_THREAD.swap(true, Ordering::Relaxed) {
        py.import(PASSING)?.call_method0("start")?;
    }
    Ok(())
}

/// After a call: passes its events to `logging`.
pub(crate) fn after_call(py: Python<'_>) -> PyResult<()> {
    if QUEUE.is_empty() {
        return Ok(());
    }
    py.import(PASSING)?.call_method0("flush").map(drop)
}

/// Writes events, also those of other libraries, to standard error, as `RUST_LOG` says.
pub(crate) fn write_to_stderr() {
    set(&filters().written, EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")));
    // A second call has no effect.
    let _ = LogTracer::builder().with_max_level(LevelFilter::current().as_log()).init();
}

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// The filters of the subscriber of this process, which is installed by the first call.
struct Filters {
    passed: reload::Handle<Targets, Registry>,
    written: reload::Handle<EnvFilter, Registry>,
}

fn filters() -> &'static Filters {
    static FILTERS: OnceLock<Filters> = OnceLock::new();
    FILTERS.get_or_init(|| {
        let (filter, passed) = reload::Layer::<_, Registry>::new(enabled_at(WARNING));
        let to_python: BoxedLayer = ToQueue.with_filter(filter).boxed();
        let (filter, written) = reload::Layer::<_, Registry>::new(EnvFilter::new("off"));
        let to_stderr: BoxedLayer = fmt::layer().with_writer(std::io::stderr).with_filter(filter).boxed();
        let subscriber = tracing_subscriber::registry().with(vec![to_python, to_stderr]);
        // This library has a subscriber of its own, which nothing else sets.
        let _ = tracing::subscriber::set_global_default(subscriber);
        Filters { passed, written }
    })
}

fn set<F>(handle: &reload::Handle<F, Registry>, filter: F) {
    // It fails only without a subscriber, and then there are no events.
    let _ = handle.reload(filter);
}

/// Our events that a logger of this level takes.
fn enabled_at(level: i32) -> Targets {
    let levels = [
        (TRACE, LevelFilter::TRACE),
        (DEBUG, LevelFilter::DEBUG),
        (INFO, LevelFilter::INFO),
        (WARNING, LevelFilter::WARN),
        (ERROR, LevelFilter::ERROR),
    ];
    let enabled = levels.into_iter().find(|(of_events, _)| level <= *of_events);
    let enabled = enabled.map_or(LevelFilter::OFF, |(_, enabled)| enabled);
    // The targets of all crates, and of this one, begin with these names.
    Targets::new().with_targets(["deltalakedb", "_internal"].map(|target| (target, enabled)))
}

/// An event, as `logging` needs it.
#[pyclass(frozen, get_all, module = "deltalakedb._internal")]
pub(crate) struct LogEvent {
    /// The name of the logger.
    logger: String,
    level: i32,
    message: String,
    fields: Vec<(String, String)>,
    file: String,
    line: u32,
    /// Seconds since 1970.
    time: f64,
}

impl LogEvent {
    fn of(event: &Event<'_>) -> Self {
        let metadata = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        Self {
            logger: logger_of(metadata.target()),
            level: match *metadata.level() {
                Level::ERROR => ERROR,
                Level::WARN => WARNING,
                Level::INFO => INFO,
                Level::DEBUG => DEBUG,
                Level::TRACE => TRACE,
            },
            message: fields.message,
            fields: fields.others,
            file: metadata.file().unwrap_or_default().into(),
            line: metadata.line().unwrap_or_default(),
            time: now(),
        }
    }

    fn lost(count: u64) -> Self {
        Self {
            logger: "deltalakedb".into(),
            level: WARNING,
            message: format!("{count} events were not logged, because more than {MAX_WAITING} were waiting"),
            fields: Vec::new(),
            file: String::new(),
            line: 0,
            time: now(),
        }
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// The name of the logger of a target: `deltalakedb.mirror.publish` for `deltalakedb_mirror::publish`.
fn logger_of(target: &str) -> String {
    let below = target.strip_prefix("_internal").or_else(|| target.strip_prefix("deltalakedb")).unwrap_or(target);
    let below = below.trim_start_matches(['_', ':']);
    if below.is_empty() { "deltalakedb".into() } else { format!("deltalakedb.{}", below.replace("::", ".")) }
}

/// The message and the other fields of an event.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(String, String)>,
}

impl Fields {
    fn take(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.message = value;
        } else {
            self.others.push((field.name().to_string(), value));
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.take(field, format!("{value:?}"));
    }
}

/// Puts events into the queue.
struct ToQueue;

impl<S: Subscriber> Layer<S> for ToQueue {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        QUEUE.push(LogEvent::of(event));
    }
}

/// The events that are not passed to `logging` yet.
struct Queue {
    waiting: Mutex<Waiting>,
    /// There is an event, or the queue is closed.
    news: Condvar,
}

struct Waiting {
    events: VecDeque<LogEvent>,
    /// How many events found no place.
    lost: u64,
    is_closed: bool,
}

impl Queue {
    const fn new() -> Self {
        let waiting = Waiting { events: VecDeque::new(), lost: 0, is_closed: false };
        Self { waiting: Mutex::new(waiting), news: Condvar::new() }
    }

    fn is_empty(&self) -> bool {
        self.waiting.lock().events.is_empty()
    }

    fn push(&self, event: LogEvent) {
        let mut waiting = self.waiting.lock();
        if waiting.events.len() >= MAX_WAITING {
            waiting.lost += 1;
            return;
        }
        waiting.events.push_back(event);
        if waiting.events.len() == 1 {
            self.news.notify_all();
        }
    }

    fn take(&self) -> Vec<LogEvent> {
        self.waiting.lock().take()
    }

    /// Waits for events that no call takes; `None` if the queue is closed and empty.
    fn wait(&self) -> Option<Vec<LogEvent>> {
        let mut waiting = self.waiting.lock();
        while waiting.events.is_empty() && !waiting.is_closed {
            self.news.wait(&mut waiting);
        }
        let until = Instant::now() + SLACK;
        while !waiting.is_closed && !self.news.wait_until(&mut waiting, until).timed_out() {}
        let events = waiting.take();
        if waiting.is_closed && events.is_empty() { None } else { Some(events) }
    }

    fn close(&self) {
        self.waiting.lock().is_closed = true;
        self.news.notify_all();
    }
}

impl Waiting {
    fn take(&mut self) -> Vec<LogEvent> {
        let lost = std::mem::take(&mut self.lost);
        let lost = (lost > 0).then(|| LogEvent::lost(lost));
        self.events.drain(..).chain(lost).collect()
    }
}

/// The waiting events.
#[pyfunction]
fn take_log_events() -> Vec<LogEvent> {
    QUEUE.take()
}

/// The events that no call has taken for a while; waits for one, without the interpreter. `None` at the end.
#[pyfunction]
fn wait_for_log_events(py: Python<'_>) -> Option<Vec<LogEvent>> {
    py.detach(|| QUEUE.wait())
}

/// Ends the wait for events.
#[pyfunction]
fn close_log_events() {
    QUEUE.close();
}
