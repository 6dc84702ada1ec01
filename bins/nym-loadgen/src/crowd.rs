//! Many clients of one gateway: how fast they connect, what each costs, and how long a message
//! takes from the last link of the mixnet to its client.
//!
//! ```text
//!             10,000 connections                         a link of the mixnet
//!  clients ◄─────────────────────────► gateway ◄──────────────────────────── sender
//!     └──────────── arrival ─────────────► report ◄──────── departure ──────────┘
//! ```
//!
//! The clients register, idle for a while in which the gateway's memory is read, then receive
//! messages that were built beforehand, then all leave and authenticate. They come from many
//! addresses of 127.0.0.0/8, because a gateway bounds what one address may do, and because one
//! address has no more than 28,000 ports.

mod client;
mod messages;
mod report;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU8, NonZeroU32};
use std::sync::Arc;
use std::time::Duration;

use nym_packet::keys::{IdentityKeyPair, IdentityPublicKey, PublicKey};
use nym_transport::tls::{Expected, LinkRefusal, TlsIdentity, encrypt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::crowd::client::{Arrival, Client};
use crate::process_status::{ProcessError, processor_time, resident_bytes};

pub use crate::crowd::client::ClientError;
pub use crate::crowd::report::CrowdReport;

/// Files that this program needs besides its clients' sockets.
const OTHER_FILES: u64 = 64;

/// Arrivals that wait to be counted: 1.5 MB. Clients wait when there are more.
const ARRIVALS_QUEUED: usize = 65_536;

/// The crowd and its gateway.
#[derive(Clone, Debug)]
pub struct Crowd {
    /// Where the gateway takes clients.
    pub clients_at: SocketAddr,
    /// Who the gateway is.
    pub identity: IdentityPublicKey,
    /// Where the gateway takes packets.
    pub packets_at: SocketAddr,
    /// The key that opens the gateway's layer.
    pub sphinx_key: PublicKey,
    /// How many clients.
    pub clients: NonZeroU32,
    /// Addresses that they come from: 127.1.0.1 and so on.
    pub sources: NonZeroU8,
    /// Clients that connect at the same time.
    pub at_once: NonZeroU32,
    /// Messages to send, to one client after the other.
    pub messages: NonZeroU32,
    /// Messages per second.
    pub rate: NonZeroU32,
    /// How long all are idle before the gateway's memory is read.
    pub idle: Duration,
    /// How long nothing may arrive before the rest counts as lost.
    pub patience: Duration,
    /// The gateway's process, whose memory and use of the processor are measured.
    pub pid: Option<u32>,
    /// Speak without TLS, as the 0.11 network does.
    pub plain: bool,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CrowdError {
    /// A client could not connect or log in.
    #[error("client {number} is not connected: {source}")]
    Client {
        /// Which one, counted from 0.
        number: u32,
        /// Why.
        source: ClientError,
    },
    /// The gateway does not take packets.
    #[error("cannot connect to the gateway at {address}: {source}")]
    Connect {
        /// The address.
        address: SocketAddr,
        /// What the system answered.
        source: io::Error,
    },
    /// The gateway takes packets over encrypted links from nodes it knows only, or over plain ones.
    #[error("no encrypted link for packets: {0}")]
    Link(#[from] LinkRefusal),
    /// The system does not let this program have so many sockets.
    #[error("{needed} open files are needed, {limit} are allowed")]
    OpenFiles {
        /// How many are needed.
        needed: u64,
        /// How many are allowed.
        limit: u64,
    },
    /// The gateway's process cannot be observed.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// Connects the crowd, sends it messages, and reports how that went.
///
/// # Errors
///
/// [`CrowdError`] when not all clients can connect; lost messages are no error.
pub async fn run(crowd: &Crowd) -> Result<CrowdReport, CrowdError> {
    let needed = u64::from(crowd.clients.get()) + OTHER_FILES;
    match nym_daemon::raise_open_files() {
        Some(limit) if limit < needed => return Err(CrowdError::OpenFiles { needed, limit }),
        _ => {}
    }
    let clients: Vec<_> = (0..crowd.clients.get()).map(|_| Client::new()).collect();
    let frames = messages::build(crowd, &clients);
    let memory_before = crowd.pid.map(resident_bytes).transpose()?;

    let (arrivals_to, mut arrivals) = mpsc::channel(ARRIVALS_QUEUED);
    let began = Instant::now();
    let mut connected = connect(crowd, clients, &arrivals_to).await?;
    let registered_in = began.elapsed();

    let used_before = crowd.pid.map(processor_time).transpose()?;
    sleep(crowd.idle).await;
    let memory_idle = crowd.pid.map(resident_bytes).transpose()?;
    let used_idle = crowd.pid.map(processor_time).transpose()?;

    let sent = send(crowd, &frames, &mut arrivals).await?;
    let memory_after = crowd.pid.map(resident_bytes).transpose()?;

    connected.leave.cancel();
    let mut left = Vec::new();
    while let Some(client) = connected.tasks.join_next().await {
        left.extend(client.ok());
    }
    let began = Instant::now();
    let again = connect(crowd, left, &arrivals_to).await?;
    let authenticated_in = began.elapsed();
    again.leave.cancel();
    again.tasks.join_all().await;

    Ok(CrowdReport::new(
        crowd,
        &report::Measured {
            registered_in,
            authenticated_in,
            memory_before,
            memory_idle,
            memory_after,
            idle_processor_time: used_before
                .zip(used_idle)
                .map(|(before, after)| after.saturating_sub(before)),
            latencies: sent.latencies,
        },
    ))
}

/// Clients that are connected, each in a task that ends with the client when they leave.
struct Connected {
    tasks: JoinSet<Client>,
    leave: CancellationToken,
}

async fn connect(
    crowd: &Crowd,
    clients: Vec<Client>,
    arrivals: &mpsc::Sender<Arrival>,
) -> Result<Connected, CrowdError> {
    let permits = usize::try_from(crowd.at_once.get()).unwrap_or(Semaphore::MAX_PERMITS);
    let turn = Arc::new(Semaphore::new(permits));
    let mut logins = JoinSet::new();
    for (number, mut client) in (0..).zip(clients) {
        let (crowd, turn) = (crowd.clone(), Arc::clone(&turn));
        logins.spawn(async move {
            let _turn = turn
                .acquire_owned()
                .await
                .expect("the semaphore is never closed");
            let source = source(number, crowd.sources);
            match client.log_in(source, &crowd).await {
                Ok(session) => Ok((client, session)),
                Err(source) => Err(CrowdError::Client { number, source }),
            }
        });
    }
    let (mut tasks, leave) = (JoinSet::new(), CancellationToken::new());
    while let Some(login) = logins.join_next().await {
        // A task that panicked has told so.
        let Ok(login) = login else { continue };
        let (client, session) = login?;
        tasks.spawn(client.receive(session, arrivals.clone(), leave.clone()));
    }
    Ok(Connected { tasks, leave })
}

/// The address that a client comes from: one after the other.
fn source(number: u32, sources: NonZeroU8) -> Ipv4Addr {
    let [.., index] = (number % u32::from(sources.get())).to_be_bytes();
    Ipv4Addr::new(127, 1, index, 1)
}

struct Sent {
    latencies: Vec<Duration>,
}

/// Sends all messages at their pace, and waits for them.
async fn send(
    crowd: &Crowd,
    frames: &[Vec<u8>],
    arrivals: &mut mpsc::Receiver<Arrival>,
) -> Result<Sent, CrowdError> {
    let failed = |source| CrowdError::Connect {
        address: crowd.packets_at,
        source,
    };
    let link = TcpStream::connect(crowd.packets_at).await.map_err(failed)?;
    link.set_nodelay(true).map_err(failed)?;
    let mut link = if crowd.plain {
        link.into()
    } else {
        // Nodes prove who they are; this one has never been heard of.
        let own = IdentityKeyPair::generate(&mut nym_daemon::entropy());
        let gateway = Expected::OneOf(vec![crowd.identity]);
        encrypt(link, gateway, Some(&TlsIdentity::new(&own))).await?
    };
    let start = Instant::now();
    let interval = Duration::from_secs(1) / crowd.rate.get();
    let sending = messages::send(&mut link, frames, start, interval);
    let receiving = receive(arrivals, frames.len(), crowd.patience, start, interval);
    let (sent, latencies) = tokio::join!(sending, receiving);
    let departures = sent.map_err(failed)?;
    let latencies = latencies
        .into_iter()
        .filter_map(|arrival| {
            let departure = departures.get(usize::try_from(arrival.number).ok()?)?;
            Some(arrival.at.saturating_duration_since(*departure))
        })
        .collect();
    Ok(Sent { latencies })
}

/// Takes arrivals until all are there or nothing comes any more.
async fn receive(
    arrivals: &mut mpsc::Receiver<Arrival>,
    count: usize,
    patience: Duration,
    start: Instant,
    interval: Duration,
) -> Vec<Arrival> {
    let mut received = Vec::with_capacity(count);
    // While messages are being sent, a pause is no loss.
    let sent_by = start + interval * u32::try_from(count).unwrap_or(u32::MAX);
    while received.len() < count {
        let patience = patience + sent_by.saturating_duration_since(Instant::now());
        match timeout(patience, arrivals.recv()).await {
            Ok(Some(arrival)) => received.push(arrival),
            Ok(None) | Err(_) => break,
        }
    }
    received
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_come_from_one_source_after_the_other() {
        let two = NonZeroU8::new(2).unwrap();
        let sources = [0, 1, 2].map(|number| source(number, two).to_string());
        assert_eq!(sources, ["127.1.0.1", "127.1.1.1", "127.1.0.1"]);
    }
}
