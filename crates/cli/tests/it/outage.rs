//! A server with the catalog that does not answer for a while.
#![cfg(unix)]

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::databases::databases;
use crate::metrics::Watch;
use crate::test_folder::TestFolder;

/// A proxy for a server, which can be closed.
struct Proxy {
    port: u16,
    connections: Arc<Mutex<Connections>>,
}

#[derive(Default)]
struct Connections {
    is_closed: bool,
    open: Vec<TcpStream>,
}

impl Proxy {
    fn before(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::<Mutex<Connections>>::default();
        let accepted = connections.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, mut connections) = (client.unwrap(), accepted.lock());
                if connections.is_closed {
                    continue;
                }
                let server = TcpStream::connect(&server).unwrap();
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    std::thread::spawn(move || {
                        // An error is the end of the connection, too.
                        let _ = io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
                connections.open.extend([client, server]);
            }
        });
        Self { port, connections }
    }

    /// Ends all connections, and ends new ones at once.
    fn close(&self) {
        let mut connections = self.connections.lock();
        connections.is_closed = true;
        for stream in connections.open.drain(..) {
            // It may have ended already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn open(&self) {
        self.connections.lock().is_closed = false;
    }
}

#[test]
fn a_catalog_that_does_not_answer_is_an_alert_until_it_does() {
    for database in databases("server") {
        let place = TestFolder::on(*database);
        let part = |name: &str| place.catalog().split(['?', '&']).find_map(|part| part.strip_prefix(name)).unwrap();
        let (host, port) = (part("host="), part("port="));
        let proxy = Proxy::before(format!("{host}:{port}"));
        let direct = format!("host={host}&port={port}");
        let through = place.catalog().replace(&direct, &format!("host=127.0.0.1&port={}", proxy.port));
        assert_ne!(through, place.catalog());
        let watch = ["mirror", "run", "--watch", "--metrics", "127.0.0.1:0", "--set", "mirror.lag_alert=1s"];
        let mut watch = Watch::start(place.command(&[&["--catalog", through.as_str()][..], &watch].concat()));
        // It is printed when the catalog is open.
        watch.line("metrics at ");
        proxy.close();
        let alert = watch.line("alert: ");
        for part in ["has not answered for ", "nothing is published or checked", "check the database and the network"] {
            assert!(alert.contains(part), "{alert}");
        }
        proxy.open();
        let ended = watch.line("alert ended: ");
        assert!(ended.ends_with("answers again"), "{ended}");

        place.write("rows.csv", "id\n1\n");
        let write = ["--set", "mirror.mode=background", "write", "t", "--location", "t", "--input", "rows.csv"];
        place.dl(&write).good();
        let (began, published) = (Instant::now(), place.path(&format!("t/_delta_log/{:020}.json", 0)));
        while !published.exists() {
            assert!(began.elapsed() < Duration::from_secs(60), "it does not publish again");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
