//! Keeping up with who else is a node.
//!
//! A relay must know whose key to expect at an address that a packet names, and may be told to take
//! packets from nodes of the topology only. [`Neighbours`] fetches the topology every minute, and
//! sooner when a packet names an address that is not known: a node that has just joined is found
//! within a second. While no validator answers, the last topology stays in use.

use std::time::Duration;

use nym_transport::directory::Directory;
use nym_transport::peers::Peers;
use rand_core::CryptoRng;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// Time between two fetches when nobody asks for one.
pub const FETCH_EVERY: Duration = Duration::from_secs(60);

/// Time between two fetches at least, however many packets name unknown addresses.
pub const FETCH_AT_MOST_EVERY: Duration = Duration::from_millis(500);

/// Fetches topologies again and again.
pub struct Neighbours {
    directory: Directory,
    peers: Peers,
}

impl Neighbours {
    /// Tells `peers` what `directory` knows.
    #[must_use]
    pub const fn new(directory: Directory, peers: Peers) -> Self {
        Self { directory, peers }
    }

    /// Fetches until `shutdown` is cancelled; `rng` draws the order of validators and the jitter.
    pub async fn run<R: CryptoRng>(self, mut rng: R, shutdown: CancellationToken) {
        let mut was_reached = true;
        loop {
            let begun = Instant::now();
            let fetch = self.fetch(&mut rng, was_reached);
            let Some(reached) = shutdown.run_until_cancelled(fetch).await else {
                return;
            };
            was_reached = reached;
            let spread = FETCH_EVERY / 4 * (rng.next_u32() >> 16) / (1 << 16);
            // All branches are cancel-safe: a wish that nobody has heard stays.
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep(FETCH_EVERY - spread) => {}
                () = async {
                    sleep_until(begun + FETCH_AT_MOST_EVERY).await;
                    self.peers.wanted().await;
                } => {}
            }
        }
    }

    /// Fetches once; tells whether a validator answered, and logs when that has changed.
    async fn fetch<R: CryptoRng>(&self, rng: &mut R, was_reached: bool) -> bool {
        // Nodes of any version are neighbours: whether packets go there is for senders to say.
        match self.directory.topology(None, rng).await {
            Ok(topology) => {
                self.peers.update(&topology);
                true
            }
            Err(error) => {
                if was_reached {
                    tracing::warn!(%error, "no news of other nodes; the last topology stays in use");
                }
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use axum::Router;
    use nym_daemon::http::{HttpLimits, HttpServer};
    use nym_packet::keys::IdentityKeyPair;
    use nym_protocol::validator::ValidatorUrl;
    use nym_transport::directory::DirectoryLimits;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;
    use tokio::task::JoinSet;

    use super::*;

    /// A validator that lists one gateway once it is told to, and counts what it is asked.
    struct Validator {
        tasks: JoinSet<()>,
        address: SocketAddr,
        lists: Arc<AtomicBool>,
        asked: Arc<AtomicUsize>,
    }

    async fn validator() -> Validator {
        let any_port = "127.0.0.1:0".parse().unwrap();
        let server = HttpServer::bind(any_port, HttpLimits::default())
            .await
            .unwrap();
        let address = server.address();
        let (lists, asked) = (
            Arc::new(AtomicBool::new(false)),
            Arc::<AtomicUsize>::default(),
        );
        let key = "11111111111111111111111111111111";
        let identity = IdentityKeyPair::from_seed(&[7; 32]).public_key();
        let gateway = format!(
            r#"[{{"bond_amount":{{"denom":"a","amount":"0"}},"total_delegation":{{"denom":"a","amount":"0"}},"owner":"","gateway":{{"host":"10.0.0.7","mix_port":7,"clients_port":1,"location":"","sphinx_key":"{key}","identity_key":"{identity}","version":"0.11.0","tls":1}}}}]"#
        );
        let router = Router::new().fallback({
            let (lists, asked) = (Arc::clone(&lists), Arc::clone(&asked));
            move |uri: axum::http::Uri| async move {
                if uri.path().ends_with("mixnodes") {
                    return "[]".to_owned();
                }
                asked.fetch_add(1, Ordering::Relaxed);
                if lists.load(Ordering::Relaxed) {
                    gateway
                } else {
                    "[]".to_owned()
                }
            }
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { server.run(router, CancellationToken::new()).await.unwrap() });
        Validator {
            tasks,
            address,
            lists,
            asked,
        }
    }

    #[tokio::test]
    async fn a_new_node_is_found_because_a_packet_names_it() {
        let Validator {
            mut tasks,
            address,
            lists,
            asked,
        } = validator().await;
        let urls: Vec<ValidatorUrl> = vec![format!("http://{address}").parse().unwrap()];
        let directory = Directory::new(urls, DirectoryLimits::default()).unwrap();
        let (peers, shutdown) = (Peers::default(), CancellationToken::new());
        let neighbours = Neighbours::new(directory, peers.clone());
        tasks.spawn(neighbours.run(ChaCha20Rng::seed_from_u64(1), shutdown.clone()));

        let node: SocketAddr = "10.0.0.7:7".parse().unwrap();
        while asked.load(Ordering::Relaxed) == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(peers.at(node), None);
        lists.store(true, Ordering::Relaxed);
        // The first answer may have been on its way; the one after the wish has it.
        while peers.find(node).await.is_none() {}
        let peer = peers.at(node).unwrap();
        assert!(peer.speaks_tls);
        assert!(peers.knows(&peer.identities[0]));
        assert!(asked.load(Ordering::Relaxed) >= 2);
        shutdown.cancel();
    }
}
