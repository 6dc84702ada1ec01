//! What a node of ours says about its own work, at `/metrics`.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of a page at most; a mix node's has some 8 KB.
const PAGE_LEN_MAX: u64 = 1 << 20;

/// How often is asked again for a page that has no new numbers yet, and how many times.
const RETRY_EVERY: Duration = Duration::from_millis(20);
const RETRIES: u32 = 50;

/// Why a node's pages tell nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PagesError {
    /// There is no answer.
    #[error("cannot read the pages of the node at {address}: {source}")]
    Read {
        /// Where they should be.
        address: SocketAddr,
        /// What the system answered.
        source: io::Error,
    },
    /// The page shows for long what was true before.
    #[error("the pages of the node at {address} show old numbers")]
    Stale {
        /// Where they are.
        address: SocketAddr,
    },
    /// Something else is there.
    #[error("the page at {address} has no number {name}")]
    Unreadable {
        /// Where it is.
        address: SocketAddr,
        /// What is missing.
        name: &'static str,
    },
}

/// What a node had done at some moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Work {
    received: f64,
    batches: f64,
    sphinx_seconds: f64,
}

/// What a node did between two moments.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct WorkDone {
    /// Packets opened together, on average.
    pub(crate) packets_per_batch: f64,
    /// Time on processors inside of Sphinx, in microseconds.
    pub(crate) sphinx_micros_per_packet: f64,
}

impl Work {
    /// What the node has done so far, as its page shows it.
    pub(crate) async fn read(address: SocketAddr) -> Result<Self, PagesError> {
        let page = timeout(PATIENCE, get(address))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|source| PagesError::Read { address, source })?;
        let find = |name| number(&page, name).ok_or(PagesError::Unreadable { address, name });
        Ok(Self {
            received: find("nym_node_packets_received_total")?,
            batches: find("nym_node_batches_total")?,
            sphinx_seconds: find("nym_node_sphinx_seconds_total")?,
        })
    }

    /// What the node has done since, with `count` packets at least.
    pub(crate) async fn done_since(
        self,
        address: SocketAddr,
        count: u64,
    ) -> Result<WorkDone, PagesError> {
        let expected = crate::report::float(count);
        for _ in 0..RETRIES {
            let now = Self::read(address).await?;
            let received = now.received - self.received;
            if received > 0.0 && received >= expected {
                return Ok(WorkDone {
                    packets_per_batch: received / (now.batches - self.batches).max(1.0),
                    sphinx_micros_per_packet: (now.sphinx_seconds - self.sphinx_seconds) * 1e6
                        / received,
                });
            }
            sleep(RETRY_EVERY).await;
        }
        Err(PagesError::Stale { address })
    }
}

async fn get(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut page = String::new();
    stream.take(PAGE_LEN_MAX).read_to_string(&mut page).await?;
    Ok(page)
}

/// The number behind a name at the beginning of a line.
fn number(page: &str, name: &str) -> Option<f64> {
    let value = page.lines().find_map(|line| line.strip_prefix(name))?;
    value.strip_prefix(' ')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;

    /// A node whose page shows the numbers given, one after the other.
    async fn pages(texts: Vec<String>) -> (SocketAddr, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            for text in texts {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 1024]).await.unwrap();
                stream.write_all(text.as_bytes()).await.unwrap();
            }
        });
        (address, tasks)
    }

    fn page(received: u32, batches: u32, sphinx: &str) -> String {
        format!(
            "HTTP/1.1 200 OK\r\n\r\n# TYPE nym_node_batches counter\n\
             nym_node_packets_received_total {received}\nnym_node_batches_total {batches}\n\
             nym_node_sphinx_seconds_total {sphinx}\n# EOF\n"
        )
    }

    #[tokio::test]
    async fn work_is_what_the_page_shows_once_it_is_new() {
        let old = page(10, 5, "1.5");
        let texts = vec![old.clone(), old, page(30, 9, "1.5002")];
        let (address, _tasks) = pages(texts).await;
        let before = Work::read(address).await.unwrap();
        let done = before.done_since(address, 20).await.unwrap();
        assert!((done.packets_per_batch - 5.0).abs() < 1e-9);
        assert!((done.sphinx_micros_per_packet - 10.0).abs() < 1e-6);
    }

    #[tokio::test]
    async fn another_program_is_named_with_what_is_missing() {
        let (address, _tasks) = pages(vec!["HTTP/1.1 404 Not Found\r\n\r\n".to_owned()]).await;
        let error = Work::read(address).await.unwrap_err().to_string();
        assert!(
            error.ends_with("has no number nym_node_packets_received_total"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_page_that_never_changes_is_stale() {
        let (address, _tasks) = pages(vec![page(10, 5, "1.5"); 60]).await;
        let before = Work::read(address).await.unwrap();
        let error = before.done_since(address, 1).await.unwrap_err();
        assert!(matches!(error, PagesError::Stale { .. }), "{error}");
    }
}
