//! Accepting TCP connections: a bounded number of them, each in a task of its own.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// The first pause after `accept` failed; it doubles with every further failure.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// The longest pause after `accept` failed: out of file descriptors, most likely.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Bounds of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerLimits {
    /// Connections served at a time. When that many are open, more wait in the operating system's
    /// backlog. A [`FrameReader`](crate::frames::FrameReader) takes up to 66 KiB, so 4,096 links
    /// cost at most 264 MiB and usually a fraction of it.
    pub connections: usize,
    /// Connections that have not ended so long after the stop signal are cut off.
    pub stop_timeout: Duration,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            connections: 4096,
            stop_timeout: Duration::from_secs(2),
        }
    }
}

/// A bound TCP port that has not begun to accept.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
    limits: ListenerLimits,
}

impl Listener {
    /// Binds the address; port 0 takes a free one, which [`Listener::address`] tells.
    ///
    /// # Errors
    ///
    /// What the operating system answers, as when the port is in use.
    pub async fn bind(address: SocketAddr, limits: ListenerLimits) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self {
            listener,
            address,
            limits,
        })
    }

    /// The bound address.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts until `shutdown` is cancelled, then waits for the connections to end, at most
    /// [`ListenerLimits::stop_timeout`].
    ///
    /// Each connection runs as the future that `serve` makes for it, in a task of its own, and
    /// should end soon after `shutdown` is cancelled. A connection that panics is logged and ends
    /// alone. An `accept` that fails is tried again after a pause of 5 ms to 1 s, doubling with
    /// every failure in a row.
    pub async fn run<S, F>(self, shutdown: CancellationToken, mut serve: S)
    where
        S: FnMut(TcpStream, SocketAddr) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let permits = Arc::new(Semaphore::new(self.limits.connections));
        let mut connections = JoinSet::new();
        let mut pause = FIRST_PAUSE;
        loop {
            // All branches are cancel-safe: nothing is accepted and then forgotten.
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(ended) = connections.join_next(), if !connections.is_empty() => {
                    log_panic(ended);
                    continue;
                }
                accepted = accept(&self.listener, &permits) => accepted,
            };
            match accepted {
                Ok((stream, peer, permit)) => {
                    pause = FIRST_PAUSE;
                    let connection = serve(stream, peer);
                    connections.spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                }
                // The peer gave up between its connect and our accept: its loss alone.
                Err(error) if is_peers_fault(&error) => {}
                Err(error) => {
                    tracing::warn!(address = %self.address, %error, "cannot accept connections");
                    tokio::select! {
                        () = shutdown.cancelled() => break,
                        () = sleep(pause) => {}
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
        drop(self.listener);
        let _ = timeout(self.limits.stop_timeout, async {
            while let Some(ended) = connections.join_next().await {
                log_panic(ended);
            }
        })
        .await;
        connections.shutdown().await;
    }
}

/// Waits for a free place, then for a connection. Packets are small and must not wait for each
/// other, so Nagle's algorithm is off.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits)
        .acquire_owned()
        .await
        .expect("the semaphore belongs to the running listener and is never closed");
    let (stream, peer) = listener.accept().await?;
    // Fails only on a connection that is already dead, which its task will notice.
    let _ = stream.set_nodelay(true);
    Ok((stream, peer, permit))
}

fn is_peers_fault(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

fn log_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!("a connection ended by a defect in this program: please report it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn start<S, F>(
        limits: ListenerLimits,
        serve: S,
    ) -> (SocketAddr, CancellationToken, JoinSet<()>)
    where
        S: FnMut(TcpStream, SocketAddr) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), limits)
            .await
            .unwrap();
        let (address, shutdown) = (listener.address(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(listener.run(shutdown.clone(), serve));
        (address, shutdown, tasks)
    }

    async fn echo(mut stream: TcpStream) {
        let mut byte = [0];
        while stream.read_exact(&mut byte).await.is_ok() {
            stream.write_all(&byte).await.unwrap();
        }
    }

    async fn is_served(stream: &mut TcpStream) -> bool {
        stream.write_all(&[7]).await.unwrap();
        let answer = timeout(Duration::from_millis(200), stream.read_u8()).await;
        matches!(answer, Ok(Ok(7)))
    }

    #[tokio::test]
    async fn connections_up_to_the_limit_are_served_and_one_more_waits() {
        let limits = ListenerLimits {
            connections: 2,
            ..ListenerLimits::default()
        };
        let (address, _shutdown, _tasks) = start(limits, |stream, _| echo(stream)).await;
        let mut first = TcpStream::connect(address).await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        let mut third = TcpStream::connect(address).await.unwrap();
        assert!(is_served(&mut first).await);
        assert!(is_served(&mut second).await);
        assert!(!is_served(&mut third).await);
        drop(first);
        assert!(is_served(&mut third).await);
    }

    #[tokio::test]
    async fn a_panicking_connection_ends_alone() {
        let count = Arc::new(AtomicUsize::new(0));
        let (address, _shutdown, _tasks) = start(ListenerLimits::default(), move |stream, _| {
            let number = count.fetch_add(1, Ordering::Relaxed);
            async move {
                assert_ne!(number, 0, "the first connection fails on purpose");
                echo(stream).await;
            }
        })
        .await;
        let mut first = TcpStream::connect(address).await.unwrap();
        assert_eq!(first.read(&mut [0]).await.unwrap_or(0), 0);
        let mut second = TcpStream::connect(address).await.unwrap();
        assert!(is_served(&mut second).await);
    }

    #[tokio::test]
    async fn stopping_cuts_off_connections_that_do_not_end() {
        let limits = ListenerLimits {
            stop_timeout: Duration::from_millis(20),
            ..ListenerLimits::default()
        };
        let (address, shutdown, mut tasks) = start(limits, |stream, _| echo(stream)).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert!(is_served(&mut stream).await);
        shutdown.cancel();
        tasks.join_next().await.unwrap().unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
        assert!(TcpStream::connect(address).await.is_err());
    }
}
