//! A port for https, and for plain HTTP if that is allowed.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::stream::Stream;
use crate::tls::NO_BUFFER;
use crate::tls::accept::TLS;
use crate::tls::web_certificate::{WebCertificate, WebCertificateError};

/// What who asks by plain HTTP is told, in the form of a validator's refusals.
const HTTPS_IS_REQUIRED: &[u8] = b"HTTP/1.1 426 Upgrade Required\r\n\
    Upgrade: TLS/1.3\r\nConnection: Upgrade, close\r\n\
    Content-Type: application/json\r\nContent-Length: 36\r\n\r\n\
    {\"error\":\"this port requires https\"}";

/// Makes https of the connections of a port; clones are handles to the same.
#[derive(Clone, Debug)]
pub struct WebPort(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    certificate: WebCertificate,
    plain_http: AtomicBool,
}

impl WebPort {
    /// A port that proves itself by `certificate`. Plain HTTP is refused.
    #[must_use]
    pub fn new(certificate: WebCertificate) -> Self {
        Self(Arc::new(Shared {
            certificate,
            plain_http: AtomicBool::new(false),
        }))
    }

    /// Decides whether plain HTTP is let in from here on, told apart by the first byte.
    pub fn set_plain_http(&self, is_allowed: bool) {
        self.0.plain_http.store(is_allowed, Ordering::Relaxed);
    }

    /// Reads the files of the certificate again, for connections from here on.
    ///
    /// # Errors
    ///
    /// [`WebCertificateError`]; the old certificate stays in use.
    pub fn reload(&self) -> Result<(), WebCertificateError> {
        self.0.certificate.reload()
    }

    /// Begins with a connection that was just accepted. What it needs to become https happens while
    /// it is read, so that nobody else waits for it; how long that may take is for the reader to bound.
    #[must_use]
    pub fn open(&self, stream: TcpStream) -> WebStream {
        let shared = Arc::clone(&self.0);
        let opening = async move { shared.shake_hands(stream).await };
        WebStream(State::Opening(Box::pin(opening)))
    }
}

impl Shared {
    async fn shake_hands(&self, stream: TcpStream) -> io::Result<Stream> {
        let mut first = [0];
        let len = stream.peek(&mut first).await?;
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if first != [TLS] {
            return self.plain(stream).await;
        }
        let acceptor = TlsAcceptor::from(self.certificate.config().await);
        let stream = BufReader::with_capacity(NO_BUFFER, stream);
        let stream = acceptor.accept(stream).await?;
        Ok(Stream::Tls(Box::new(stream.into())))
    }

    async fn plain(&self, mut stream: TcpStream) -> io::Result<Stream> {
        if self.plain_http.load(Ordering::Relaxed) {
            return Ok(Stream::Plain(stream));
        }
        stream.write_all(HTTPS_IS_REQUIRED).await?;
        stream.shutdown().await?;
        // What was asked is read and dropped: closing before would take the answer back. Who goes on
        // talking is cut off by whoever bounds the wait for a request.
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
        Err(io::ErrorKind::ConnectionAborted.into())
    }
}

/// A connection of a [`WebPort`]; reading it makes it one.
pub struct WebStream(State);

enum State {
    /// On its way to be https.
    Opening(Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>),
    Open(Stream),
    /// It did not become one.
    Failed,
}

impl std::fmt::Debug for WebStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebStream").finish_non_exhaustive()
    }
}

impl WebStream {
    fn poll_open(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Pin<&mut Stream>>> {
        if let State::Opening(opening) = &mut self.0 {
            match ready!(opening.as_mut().poll(context)) {
                Ok(stream) => self.0 = State::Open(stream),
                Err(error) => {
                    tracing::debug!(%error, "a connection did not become https");
                    self.0 = State::Failed;
                    return Poll::Ready(Err(error));
                }
            }
        }
        Poll::Ready(
            self.opened()
                .ok_or_else(|| io::ErrorKind::NotConnected.into()),
        )
    }

    fn opened(&mut self) -> Option<Pin<&mut Stream>> {
        match &mut self.0 {
            State::Open(stream) => Some(Pin::new(stream)),
            State::Opening(_) | State::Failed => None,
        }
    }
}

impl AsyncRead for WebStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_open(context))?.poll_read(context, buffer)
    }
}

impl AsyncWrite for WebStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(context))?.poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.opened() {
            Some(stream) => stream.poll_flush(context),
            // Nothing was written.
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.opened() {
            Some(stream) => stream.poll_shutdown(context),
            // Dropping it closes it.
            None => Poll::Ready(Ok(())),
        }
    }
}
