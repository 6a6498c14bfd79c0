//! A TCP proxy with faults: [`TcpProxy`] stands in front of any server and spoils what passes on the way.
//!
//! It knows bytes and connections, and nothing of what they mean. What a server sends at once counts as one reply.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Bytes that are read at once.
const CHUNK: usize = 16 * 1024;

/// Chunks that may be under way in one direction, before the sender is held back as by a full network.
const UNDER_WAY: usize = 64;

/// A direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// From the client to the server.
    Request,
    /// From the server to the client.
    Reply,
}

/// How a connection ends, at both of its ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// As by a peer that closes it: FIN.
    Close,
    /// As by a peer that has lost it: RST.
    Reset,
}

/// A proxy on a loopback port. It ends, with all its connections, when the value is dropped.
#[derive(Debug)]
pub struct TcpProxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    rules: watch::Sender<Rules>,
    replies: Mutex<Replies>,
    connections: Mutex<Connections>,
}

/// What happens to everything that passes.
#[derive(Clone, Copy, Default, Debug)]
struct Rules {
    delay: Duration,
    requests_held: bool,
    replies_held: bool,
    sliced: bool,
}

/// What happens to replies alone.
#[derive(Default, Debug)]
struct Replies {
    /// Bytes that still pass before a connection is cut.
    left: Option<usize>,
    chaos: Option<(StdRng, f64)>,
}

#[derive(Default, Debug)]
struct Connections {
    accepted: usize,
    open: Vec<Connection>,
}

#[derive(Debug)]
struct Connection {
    cut: oneshot::Sender<Cut>,
    task: JoinHandle<()>,
}

impl TcpProxy {
    /// Starts a proxy in front of the server at `target`, in this runtime. While nobody listens there, connections to
    /// the proxy are reset.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let addr = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            rules: watch::Sender::new(Rules::default()),
            replies: Mutex::default(),
            connections: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, target, Arc::clone(&shared)));
        TcpProxy { addr, shared, accepting }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many connections it has accepted so far.
    pub fn accepted(&self) -> usize {
        self.shared.connections.lock().accepted
    }

    /// From now on what passes takes so long on each way, and keeps its order.
    pub fn delay(&self, each_way: Duration) {
        self.shared.rules.send_modify(|rules| rules.delay = each_way);
    }

    /// From now on nothing passes on this way, nor the end of a connection, which stays. After [`heal`](Self::heal) it all
    /// goes on, as after a partition of the network.
    pub fn hold(&self, way: Way) {
        self.shared.rules.send_modify(|rules| match way {
            Way::Request => rules.requests_held = true,
            Way::Reply => rules.replies_held = true,
        });
    }

    /// From now on every byte is written by itself.
    pub fn slice(&self) {
        self.shared.rules.send_modify(|rules| rules.sliced = true);
    }

    /// Once so many further bytes of replies have passed, over all connections, the connection that brings the next one is
    /// reset without it. With 0 that is the next reply: its request is executed, and the client cannot know.
    pub fn lose_reply_after(&self, bytes: usize) {
        self.shared.replies.lock().left = Some(bytes);
    }

    /// From now on `share` of all replies are lost, each with its connection, which is closed or reset.
    pub fn chaos(&self, seed: u64, share: f64) {
        self.shared.replies.lock().chaos = Some((StdRng::seed_from_u64(seed), share));
    }

    /// No more faults. Connections that were cut stay so.
    pub fn heal(&self) {
        *self.shared.replies.lock() = Replies::default();
        self.shared.rules.send_replace(Rules::default());
    }

    /// Cuts all connections, and waits until that is done. What is under way on them is lost.
    pub async fn cut(&self, how: Cut) {
        let open = std::mem::take(&mut self.shared.connections.lock().open);
        for Connection { cut, task } in open {
            // It may have ended by itself.
            let _ = cut.send(how);
            let _ = task.await;
        }
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.accepting.abort();
        for connection in self.shared.connections.lock().open.drain(..) {
            connection.task.abort();
        }
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let (cut, order) = oneshot::channel();
        // Held until the connection is known, so that a cut between the two does not miss it.
        let mut connections = shared.connections.lock();
        let task = tokio::spawn(serve(client, target, Arc::clone(&shared), order));
        connections.accepted += 1;
        connections.open.retain(|connection| !connection.task.is_finished());
        connections.open.push(Connection { cut, task });
    }
}

/// Joins a client to the server until one of them or a fault ends it.
async fn serve(
    mut client: TcpStream,
    target: SocketAddr,
    shared: Arc<Shared>,
    order: oneshot::Receiver<Cut>,
) {
    let Ok(mut server) = TcpStream::connect(target).await else {
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let how = tokio::select! {
        how = order => how.unwrap_or(Cut::Close),
        ended = async { tokio::try_join!(
            pass(from_client, to_server, Way::Request, &shared),
            pass(from_server, to_client, Way::Reply, &shared),
        ) } => ended.err().unwrap_or(Cut::Close),
    };
    for mut end in [client, server] {
        // The other side may have ended it by itself.
        let _ = match how {
            Cut::Close => end.shutdown().await,
            Cut::Reset => end.set_zero_linger(),
        };
    }
}

/// Passes bytes on until their sender is done, or until the connection is to be cut.
async fn pass(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, way: Way, shared: &Shared) -> Result<(), Cut> {
    let (departs, mut arrives) = mpsc::channel(UNDER_WAY);
    let reads = async move {
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = from.read(&mut chunk).await.map_err(|_| Cut::Reset)?;
            let due = Instant::now() + shared.rules.borrow().delay;
            if read == 0 || departs.send((due, chunk[..read].to_vec())).await.is_err() {
                return Ok(());
            }
        }
    };
    let writes = async {
        while let Some((due, bytes)) = arrives.recv().await {
            tokio::time::sleep_until(due).await;
            let sliced = shared.passable(way).await.sliced;
            let (passing, cut) = shared.fate(way, bytes.len());
            write(&mut to, &bytes[..passing], sliced).await.map_err(|_| Cut::Reset)?;
            if let Some(how) = cut {
                return Err(how);
            }
        }
        shared.passable(way).await;
        to.shutdown().await.map_err(|_| Cut::Reset)
    };
    tokio::try_join!(reads, writes).map(|_| ())
}

async fn write(to: &mut WriteHalf<'_>, bytes: &[u8], sliced: bool) -> io::Result<()> {
    if !sliced {
        return to.write_all(bytes).await;
    }
    for byte in bytes {
        to.write_all(std::slice::from_ref(byte)).await?;
        // Lets a reader in this runtime have it by itself.
        tokio::task::yield_now().await;
    }
    Ok(())
}

impl Shared {
    /// Waits until something may pass on this way; the rules then.
    async fn passable(&self, way: Way) -> Rules {
        let mut rules = self.rules.subscribe();
        let passable = rules.wait_for(|rules| match way {
            Way::Request => !rules.requests_held,
            Way::Reply => !rules.replies_held,
        });
        *passable.await.expect("the sender lives in self")
    }

    /// How many of the next `bytes` pass, and whether the connection is cut then.
    fn fate(&self, way: Way, bytes: usize) -> (usize, Option<Cut>) {
        if way == Way::Request {
            return (bytes, None);
        }
        let mut replies = self.replies.lock();
        if let Some(left) = replies.left {
            // Cut once: the client's next connection is whole.
            replies.left = left.checked_sub(bytes);
            if replies.left.is_none() {
                return (left, Some(Cut::Reset));
            }
        }
        if let Some((rng, share)) = &mut replies.chaos
            && rng.random_bool(*share)
        {
            return (0, Some(if rng.random() { Cut::Reset } else { Cut::Close }));
        }
        (bytes, None)
    }
}
