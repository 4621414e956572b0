//! A proxy for PostgreSQL that records messages, and can cut the connection at a COMMIT.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Barrier, Notify};
use tokio::task::JoinHandle;

use super::{changed, place};

/// The fault for a COMMIT and its connection.
#[derive(Clone, Debug)]
pub(super) enum Cut {
    /// The COMMIT does not arrive.
    Before,
    /// The COMMIT arrives; the connection is cut before the answer.
    Under,
    /// The COMMIT is answered, but the answer does not arrive.
    After,
    /// The same for several connections at the same moment.
    AfterAll(Arc<Barrier>),
    /// As `Before`, and all other connections are cut as well, and none can be made.
    BeforeAndClose,
    /// As `After`, and all other connections are cut as well, and none can be made.
    AfterAndClose,
}

pub(super) struct Proxy {
    port: u16,
    wires: Arc<Wires>,
    accepting: JoinHandle<()>,
}

struct Wires {
    server: (String, u16),
    /// Closes every connection.
    hang_up: Notify,
    /// The faults for the next COMMITs.
    cuts: Mutex<VecDeque<Cut>>,
    closed: AtomicBool,
    /// The messages of clients, by type and text.
    messages: Mutex<Vec<(char, String)>>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Proxy {
    /// A proxy for the server of this catalog.
    pub(super) async fn before(uri: &str) -> Self {
        let place = place(uri);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let wires = Arc::new(Wires {
            server: (place.host.unwrap(), place.port.unwrap()),
            hang_up: Notify::new(),
            cuts: Mutex::default(),
            closed: AtomicBool::new(false),
            messages: Mutex::default(),
        });
        let port = listener.local_addr().unwrap().port();
        let accepting = tokio::spawn({
            let wires = wires.clone();
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    if !wires.closed.load(Ordering::SeqCst) {
                        tokio::spawn(carry(wires.clone(), client));
                    }
                }
            }
        });
        Self { port, wires, accepting }
    }

    /// The URI of the catalog through this proxy. Without TLS, because encrypted messages cannot be recorded.
    pub(super) fn through(&self, uri: &str) -> String {
        changed(uri, |place| {
            (place.host, place.port) = (Some("127.0.0.1".into()), Some(self.port));
            place.sslmode = Some("disable".into());
        })
    }

    /// Sets the faults for the next COMMITs; those after them pass.
    pub(super) fn cut(&self, cuts: impl IntoIterator<Item = Cut>) {
        self.wires.cuts.lock().extend(cuts);
    }

    /// Whether all faults have occurred.
    pub(super) fn is_done(&self) -> bool {
        self.wires.cuts.lock().is_empty()
    }

    /// Allows connections again.
    pub(super) fn open(&self) {
        self.wires.closed.store(false, Ordering::SeqCst);
    }

    /// The messages of clients since the last call.
    pub(super) fn messages(&self) -> Vec<(char, String)> {
        std::mem::take(&mut self.wires.messages.lock())
    }
}

/// Forwards one connection until both sides have closed it.
async fn carry(wires: Arc<Wires>, mut client: TcpStream) -> io::Result<()> {
    let mut server = TcpStream::connect(wires.server.clone()).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let first = startup(&mut client).await?;
    server.write_all(&first).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    // An answer that is not forwarded is still awaited.
    let (swallow, swallowed) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
    let answers = {
        let (swallow, swallowed) = (swallow.clone(), swallowed.clone());
        async move {
            let mut bytes = vec![0; 64 << 10];
            loop {
                let n = from_server.read(&mut bytes).await?;
                if swallow.load(Ordering::SeqCst) {
                    swallowed.notify_one();
                } else if n > 0 {
                    to_client.write_all(&bytes[..n]).await?;
                }
                if n == 0 {
                    return io::Result::Ok(());
                }
            }
        }
    };
    let questions = async {
        loop {
            let message = message(&mut from_client).await?;
            let kind = char::from(message[0]);
            let text = String::from_utf8_lossy(&message[5..]).trim_end_matches('\0').to_string();
            let commits = kind == 'Q' && text == "COMMIT";
            wires.messages.lock().push((kind, text));
            let cut = if commits { wires.cuts.lock().pop_front() } else { None };
            let Some(cut) = cut else {
                to_server.write_all(&message).await?;
                continue;
            };
            if matches!(cut, Cut::BeforeAndClose | Cut::AfterAndClose) {
                wires.closed.store(true, Ordering::SeqCst);
            }
            if !matches!(cut, Cut::Before | Cut::BeforeAndClose) {
                swallow.store(true, Ordering::SeqCst);
                to_server.write_all(&message).await?;
                if !matches!(cut, Cut::Under) {
                    swallowed.notified().await;
                }
            }
            match cut {
                Cut::AfterAll(all) => {
                    all.wait().await;
                }
                Cut::BeforeAndClose | Cut::AfterAndClose => wires.hang_up.notify_waiters(),
                Cut::Before | Cut::Under | Cut::After => {}
            }
            return io::Result::Ok(());
        }
    };
    // A client that was cut off gets no answer, and one that has disconnected needs none.
    tokio::select! {
        ended = questions => ended,
        ended = answers => ended,
        () = wires.hang_up.notified() => Ok(()),
    }
}

/// The first message has no type.
async fn startup(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = client.read_u32().await?;
    let mut message = length.to_be_bytes().to_vec();
    message.resize(length as usize, 0);
    client.read_exact(&mut message[4..]).await?;
    Ok(message)
}

/// A type, a length, and a body of the length minus four.
async fn message(client: &mut (impl AsyncReadExt + Unpin)) -> io::Result<Vec<u8>> {
    let kind = client.read_u8().await?;
    let length = client.read_u32().await?;
    let mut message = vec![kind];
    message.extend(length.to_be_bytes());
    message.resize(1 + length as usize, 0);
    client.read_exact(&mut message[5..]).await?;
    Ok(message)
}
