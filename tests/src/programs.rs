//! Programs that tests start: Python, and servers of object stores.
//!
//! It has no dependencies, so that it can be included in the tests of every crate.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Reports why a test cannot run here. With `CI=true` that is a failure.
pub fn skip(why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{why}, and CI must not skip it");
    leave_out(why);
}

/// Reports why a test does not run. `scripts/skipped` counts the reports.
pub fn leave_out(why: &str) {
    eprintln!("skipped: {why}");
    if let Some(list) = std::env::var_os("DELTALAKEDB_SKIPPED") {
        let test = std::thread::current().name().unwrap_or("a test").to_string();
        let mut list = std::fs::File::options().append(true).create(true).open(list).unwrap();
        // One write call, so that concurrent tests do not interleave their lines.
        list.write_all(format!("{test}: {why}\n").as_bytes()).unwrap();
    }
}

/// The Python with these modules; `None`, after a report, if there is none.
pub fn python(modules: &str) -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map_or_else(PathBuf::new, PathBuf::from);
    let python = std::env::var_os("DELTALAKEDB_PYTHON")
        .map_or_else(|| home().join(".cache/deltalakedb/venv/bin/python"), PathBuf::from);
    let look = Command::new(&python).arg("-c").arg(format!("import {modules}")).output();
    if look.is_ok_and(|look| look.status.success()) {
        return Some(python);
    }
    skip(&format!("{} has no {modules}: run `scripts/setup python`", python.display()));
    None
}

/// A server on this machine that speaks HTTP; stopped when it is dropped.
#[derive(Debug)]
pub struct HttpServer {
    process: Child,
    /// Its port at 127.0.0.1.
    pub port: u16,
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl HttpServer {
    /// Starts a program that serves HTTP at this port, and waits until it answers.
    pub fn start(mut program: Command, port: u16) -> Self {
        program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server = Self { process: program.spawn().unwrap(), port };
        let started = Instant::now();
        while !server.request("GET", "/").starts_with("HTTP/1.1") {
            let ended = server.process.try_wait().unwrap();
            assert!(ended.is_none(), "{program:?} ended: {ended:?}");
            assert!(started.elapsed() < Duration::from_secs(60), "{program:?} does not answer");
            std::thread::sleep(Duration::from_millis(100));
        }
        server
    }

    /// The answer; empty when there is none.
    pub fn request(&self, method: &str, path: &str) -> String {
        self.request_with(method, path, "")
    }

    /// The same with more headers, each with its end of line.
    pub fn request_with(&self, method: &str, path: &str, headers: &str) -> String {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(60)))?;
            let host = format!("127.0.0.1:{}", self.port);
            write!(
                stream,
                "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n"
            )?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().unwrap_or_default()
    }
}

/// A port that no server uses.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server for S3; `None`, after a report, if it is not installed.
pub fn moto() -> Option<HttpServer> {
    let mut moto = Command::new(python("moto.server")?);
    let port = free_port();
    moto.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]);
    Some(HttpServer::start(moto, port))
}

/// The variables by which programs use that server.
pub fn variables_of_moto(server: &HttpServer) -> [(&'static str, String); 6] {
    let endpoint = format!("http://127.0.0.1:{}", server.port);
    [
        ("AWS_ENDPOINT_URL", endpoint.clone()),
        ("AWS_ENDPOINT", endpoint),
        ("AWS_ALLOW_HTTP", "true".to_string()),
        ("AWS_ACCESS_KEY_ID", "test".to_string()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_string()),
        ("AWS_REGION", "us-east-1".to_string()),
    ]
}
