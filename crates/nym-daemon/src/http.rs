//! A small HTTP server for a node's own pages (statistics, description) and for the validator.
//!
//! It is bounded in every direction, because anybody may connect: a limit on connections, a limit
//! on the time a request may take to come, a limit on the time a connection may stay silent, and a
//! limit on the time that stopping takes. When there are as many connections as may be, those that
//! have asked for nothing make room, the longest wait first: half-open connections keep nobody out.
//! Bodies are bounded by axum's own default of 2 MiB unless the router sets a smaller one.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Bounds of a server. The defaults suit a node's own pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpLimits {
    /// Connections served at a time; more wait in the operating system's backlog. Each may cost
    /// two 8 KiB buffers and one body: at 256 connections 4 MiB and what the bodies take.
    pub connections: usize,
    /// A connection on which no answer has begun so long after it was made is closed, whatever it
    /// sends meanwhile.
    pub request_timeout: Duration,
    /// After that, one that neither sends nor takes a byte for so long is closed.
    pub idle_timeout: Duration,
    /// Requests still running so long after the stop signal are abandoned.
    pub stop_timeout: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections: 256,
            request_timeout: Duration::from_secs(30),
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
        self.run_inside(|stream| stream, router, shutdown).await
    }

    /// [`run`](Self::run), inside of what `open` makes of each connection, as TLS. That must not
    /// wait for the peer but when it is read or written; the limits hold for it as well.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub async fn run_inside<S>(
        self,
        open: impl Fn(TcpStream) -> S + Send + 'static,
        router: Router,
        shutdown: CancellationToken,
    ) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let stop_timeout = self.limits.stop_timeout;
        let listener = BoundedListener {
            listener: self.listener,
            open,
            permits: Arc::new(Semaphore::new(self.limits.connections)),
            half_open: VecDeque::new(),
            limits: self.limits,
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

/// Accepts a bounded number of connections at a time and gives each its timeouts.
struct BoundedListener<F> {
    listener: TcpListener,
    /// What connections are read through.
    open: F,
    permits: Arc<Semaphore>,
    /// Connections on which no answer had begun when they were last looked at, oldest first.
    half_open: VecDeque<Weak<Progress>>,
    limits: HttpLimits,
}

/// How far a connection has come.
#[derive(Debug, Default)]
struct Progress {
    /// Something was answered.
    answered: AtomicBool,
    /// It has to make room for others.
    evicted: CancellationToken,
}

impl<F> BoundedListener<F> {
    /// Makes the connection go that has waited longest without asking for anything, if there is
    /// one.
    fn evict(&mut self) {
        while let Some(oldest) = self.half_open.pop_front() {
            if let Some(progress) = oldest.upgrade()
                && !progress.answered.load(Ordering::Relaxed)
            {
                progress.evicted.cancel();
                return;
            }
        }
    }
}

impl<F, S> Listener for BoundedListener<F>
where
    F: Fn(TcpStream) -> S + Send + 'static,
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Io = IdleStream<S>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (IdleStream<S>, SocketAddr) {
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        if self.permits.available_permits() == 0 {
            self.evict();
        }
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .expect("the semaphore lives in this listener and is never closed");
        let progress = Arc::new(Progress::default());
        self.half_open.retain(|other| {
            let other = other.upgrade();
            other.is_some_and(|other| !other.answered.load(Ordering::Relaxed))
        });
        self.half_open.push_back(Arc::downgrade(&progress));
        let stream = IdleStream {
            stream: (self.open)(stream),
            deadline: Box::pin(sleep(self.limits.request_timeout)),
            evicted: Box::pin(progress.evicted.clone().cancelled_owned()),
            progress,
            idle_timeout: self.limits.idle_timeout,
            _permit: permit,
        };
        (stream, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails with [`io::ErrorKind::TimedOut`] when no answer begins in time, when
/// nothing moves for too long after that, or when it has to make room before it has asked for
/// anything.
struct IdleStream<S> {
    stream: S,
    deadline: Pin<Box<Sleep>>,
    evicted: Pin<Box<WaitForCancellationFutureOwned>>,
    progress: Arc<Progress>,
    idle_timeout: Duration,
    _permit: OwnedSemaphorePermit,
}

impl<S> IdleStream<S> {
    /// Passes on what an operation gave. One that moved bytes puts the deadline off once something
    /// was answered; one that is stuck fails at the deadline.
    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let answered = self.progress.answered.load(Ordering::Relaxed);
        if outcome.is_ready() {
            if answered {
                let deadline = Instant::now() + self.idle_timeout;
                self.deadline.as_mut().reset(deadline);
            }
            return outcome;
        }
        if !answered && self.evicted.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        ready!(self.deadline.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for IdleStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.watch(context, outcome)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for IdleStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        if outcome.is_ready() {
            self.progress.answered.store(true, Ordering::Relaxed);
        }
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
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
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

    fn here() -> Router {
        Router::new().route("/", get(|| async { "here" }))
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
    async fn a_connection_that_asks_too_slowly_is_closed() {
        let limits = HttpLimits {
            request_timeout: Duration::from_millis(50),
            ..HttpLimits::default()
        };
        let (address, _shutdown, _tasks) = start(limits, here()).await;
        for beginning in ["", "GET / HTTP/1.1\r\nHost: loc"] {
            let mut slow = TcpStream::connect(address).await.unwrap();
            slow.write_all(beginning.as_bytes()).await.unwrap();
            assert_eq!(slow.read(&mut [0; 1]).await.unwrap_or(0), 0, "{beginning}");
        }
    }

    #[tokio::test]
    async fn a_connection_that_was_answered_is_closed_when_it_is_silent() {
        let limits = HttpLimits {
            idle_timeout: Duration::from_millis(50),
            ..HttpLimits::default()
        };
        let (address, _shutdown, _tasks) = start(limits, here()).await;
        let mut silent = TcpStream::connect(address).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        silent.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        silent.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.ends_with("here"), "{answer}");
    }

    #[tokio::test]
    async fn half_open_connections_make_room_for_others_the_oldest_first() {
        let limits = HttpLimits {
            connections: 2,
            request_timeout: Duration::from_secs(600),
            ..HttpLimits::default()
        };
        let (address, _shutdown, _tasks) = start(limits, here()).await;
        let mut oldest = TcpStream::connect(address).await.unwrap();
        oldest.write_all(b"GET").await.unwrap();
        let _newer = TcpStream::connect(address).await.unwrap();
        let body = reqwest::get(format!("http://{address}/")).await.unwrap();
        assert_eq!(body.text().await.unwrap(), "here");
        assert_eq!(oldest.read(&mut [0; 1]).await.unwrap_or(0), 0);
    }

    #[tokio::test]
    async fn a_connection_that_was_answered_does_not_make_room() {
        let limits = HttpLimits {
            connections: 1,
            ..HttpLimits::default()
        };
        let (address, _shutdown, _tasks) = start(limits, here()).await;
        let mut first = TcpStream::connect(address).await.unwrap();
        ask(&mut first).await;
        let mut second = TcpStream::connect(address).await.unwrap();
        ask(&mut first).await;
        drop(first);
        ask(&mut second).await;
    }

    /// Asks for the page and reads it; the connection stays open.
    async fn ask(stream: &mut TcpStream) {
        let request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        while !answer.ends_with("here") {
            let mut part = [0; 512];
            let len = stream.read(&mut part).await.unwrap();
            assert_ne!(len, 0, "closed after {answer}");
            answer.push_str(std::str::from_utf8(&part[..len]).unwrap());
        }
    }

    #[tokio::test]
    async fn a_page_is_served_inside_of_what_connections_become() {
        let any_port = "127.0.0.1:0".parse().unwrap();
        let server = HttpServer::bind(any_port, HttpLimits::default())
            .await
            .unwrap();
        let address = server.address();
        let mut tasks = JoinSet::new();
        let open = |stream| tokio::io::BufReader::with_capacity(1, stream);
        tasks.spawn(server.run_inside(open, here(), CancellationToken::new()));
        ask(&mut TcpStream::connect(address).await.unwrap()).await;
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
