//! A small HTTP server for a node's own pages (statistics, description) and for the validator.
//!
//! It is bounded in every direction, because anybody may connect: a limit on connections, a limit
//! on the time a connection may stay silent, and a limit on the time that stopping takes. Bodies
//! are bounded by axum's own default of 2 MiB unless the router sets a smaller one.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::CancellationToken;

/// Bounds of a server. The defaults suit a node's own pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpLimits {
    /// Connections served at a time; more wait in the operating system's backlog. Each may cost
    /// two 8 KiB buffers and one body: at 256 connections 4 MiB and what the bodies take.
    pub connections: usize,
    /// A connection that neither sends nor takes a byte for so long is closed.
    pub idle_timeout: Duration,
    /// Requests still running so long after the stop signal are abandoned.
    pub stop_timeout: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections: 256,
            idle_timeout: Duration::from_secs(30),
            stop_timeout: Duration::from_secs(2),
        }
    }
}

/// A bound server that has not begun to answer.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    address: SocketAddr,
    limits: HttpLimits,
}

impl HttpServer {
    /// Binds the address; port 0 takes a free one, which [`HttpServer::address`] tells.
    ///
    /// # Errors
    ///
    /// What the operating system answers, as when the port is in use.
    pub async fn bind(address: SocketAddr, limits: HttpLimits) -> io::Result<Self> {
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

    /// Serves `router` until `shutdown` is cancelled and the running requests are answered, or
    /// [`HttpLimits::stop_timeout`] has passed.
    ///
    /// # Errors
    ///
    /// When the server itself fails; a failing connection is not an error.
    pub async fn run(self, router: Router, shutdown: CancellationToken) -> io::Result<()> {
        let stop_timeout = self.limits.stop_timeout;
        let listener = BoundedListener {
            listener: self.listener,
            permits: Arc::new(Semaphore::new(self.limits.connections)),
            idle_timeout: self.limits.idle_timeout,
        };
        let serve = axum::serve(listener, router)
            .with_graceful_shutdown(shutdown.clone().cancelled_owned())
            .into_future();
        tokio::pin!(serve);
        // Neither branch is used again after the other has won.
        tokio::select! {
            outcome = &mut serve => return outcome,
            () = shutdown.cancelled() => {}
        }
        tokio::time::timeout(stop_timeout, serve)
            .await
            .unwrap_or(Ok(()))
    }
}

/// Accepts a bounded number of connections at a time and gives each an idle timeout.
struct BoundedListener {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    idle_timeout: Duration,
}

impl Listener for BoundedListener {
    type Io = IdleStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (IdleStream, SocketAddr) {
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .expect("the semaphore lives in this listener and is never closed");
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        let stream = IdleStream {
            stream,
            idle: Box::pin(sleep(self.idle_timeout)),
            idle_timeout: self.idle_timeout,
            _permit: permit,
        };
        (stream, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails with [`io::ErrorKind::TimedOut`] when nothing moves for too long.
struct IdleStream {
    stream: TcpStream,
    idle: Pin<Box<Sleep>>,
    idle_timeout: Duration,
    _permit: OwnedSemaphorePermit,
}

impl IdleStream {
    /// Passes on what an operation gave; restarts the timeout when it moved bytes, and fails when
    /// it is stuck for longer than the timeout.
    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.idle.as_mut().reset(Instant::now() + self.idle_timeout);
            return outcome;
        }
        ready!(self.idle.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for IdleStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.watch(context, outcome)
    }
}

impl AsyncWrite for IdleStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(context, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watch(context, outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::AsyncReadExt as _;
    use tokio::task::JoinSet;

    async fn start(
        limits: HttpLimits,
        router: Router,
    ) -> (SocketAddr, CancellationToken, JoinSet<io::Result<()>>) {
        let server = HttpServer::bind("127.0.0.1:0".parse().unwrap(), limits)
            .await
            .unwrap();
        let (address, shutdown) = (server.address(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(server.run(router, shutdown.clone()));
        (address, shutdown, tasks)
    }

    #[tokio::test]
    async fn a_page_is_served_until_the_shutdown() {
        let router = Router::new().route("/stats", get(|| async { "42" }));
        let (address, shutdown, mut tasks) = start(HttpLimits::default(), router).await;
        let url = format!("http://{address}/stats");
        let body = reqwest::get(&url).await.unwrap().text().await.unwrap();
        assert_eq!(body, "42");
        shutdown.cancel();
        tasks.join_next().await.unwrap().unwrap().unwrap();
        assert!(reqwest::get(&url).await.is_err());
    }

    #[tokio::test]
    async fn a_silent_connection_is_closed_and_makes_room() {
        let limits = HttpLimits {
            connections: 1,
            idle_timeout: Duration::from_millis(50),
            ..HttpLimits::default()
        };
        let router = Router::new().route("/", get(|| async { "here" }));
        let (address, _shutdown, _tasks) = start(limits, router).await;
        let mut silent = TcpStream::connect(address).await.unwrap();
        assert_eq!(silent.read(&mut [0; 1]).await.unwrap_or(0), 0);
        let body = reqwest::get(format!("http://{address}/"))
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        assert_eq!(body, "here");
    }

    #[tokio::test]
    async fn a_stuck_request_does_not_keep_the_server_from_stopping() {
        let limits = HttpLimits {
            stop_timeout: Duration::from_millis(50),
            ..HttpLimits::default()
        };
        let begun = Arc::new(tokio::sync::Notify::new());
        let begin = Arc::clone(&begun);
        let stuck = get(move || async move {
            begin.notify_one();
            std::future::pending::<()>().await;
        });
        let router = Router::new().route("/", stuck);
        let (address, shutdown, mut tasks) = start(limits, router).await;
        let mut requests = JoinSet::new();
        requests.spawn(reqwest::get(format!("http://{address}/")));
        begun.notified().await;
        shutdown.cancel();
        tasks.join_next().await.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_port_in_use_is_an_error() {
        let first = HttpServer::bind("127.0.0.1:0".parse().unwrap(), HttpLimits::default())
            .await
            .unwrap();
        let second = HttpServer::bind(first.address(), HttpLimits::default()).await;
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
