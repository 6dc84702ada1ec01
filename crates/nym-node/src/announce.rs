//! Telling the validators that this node is there.
//!
//! A node signs what it says about itself, with the time, and posts it to every configured
//! validator: at its start and then every minute, because validators forget who is silent. As long
//! as none takes it, it tries again after one second, two, four and so on up to a minute, each with
//! jitter, so that nodes that lost their validator together do not come back together. A node runs
//! without a validator; it is just not found by clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nym_daemon::clock::unix_time_secs;
use nym_packet::keys::IdentityKeyPair;
use nym_protocol::validator::Announcement;
use nym_protocol::validator::announcement::AnnouncedNode;
use nym_transport::directory::Directory;
use rand_core::CryptoRng;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Time between two announcements that were taken.
pub const ANNOUNCE_EVERY: Duration = Duration::from_secs(60);

/// Wait after the first announcement that no validator took.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Whether a validator took the last announcement; clones see the same.
#[derive(Clone, Debug, Default)]
pub struct Announced(Arc<AtomicBool>);

impl Announced {
    /// Whether at least one validator took the last announcement.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Announces a node again and again.
pub struct Announcer {
    directory: Directory,
    node: AnnouncedNode,
    identity: Arc<IdentityKeyPair>,
    announced: Announced,
}

impl Announcer {
    /// An announcer of `node`, which names the public key of `identity`.
    #[must_use]
    pub fn new(directory: Directory, node: AnnouncedNode, identity: Arc<IdentityKeyPair>) -> Self {
        Self {
            directory,
            node,
            identity,
            announced: Announced::default(),
        }
    }

    /// A handle that tells how it goes.
    #[must_use]
    pub fn announced(&self) -> Announced {
        self.announced.clone()
    }

    /// Announces until `shutdown` is cancelled; `rng` draws the jitter.
    pub async fn run<R: CryptoRng>(self, mut rng: R, shutdown: CancellationToken) {
        let mut failures = 0;
        loop {
            let Some(taken) = shutdown
                .run_until_cancelled(self.announce_once(failures))
                .await
            else {
                return;
            };
            failures = if taken { 0 } else { failures + 1 };
            let pause = if taken {
                ANNOUNCE_EVERY
            } else {
                retry_after(failures)
            };
            if shutdown
                .run_until_cancelled(sleep(jittered(pause, &mut rng)))
                .await
                .is_none()
            {
                return;
            }
        }
    }

    /// Announces once; logs only what is news after so many failures in a row.
    async fn announce_once(&self, failures: u32) -> bool {
        let announcement = Announcement::sign(self.node.clone(), unix_time_secs(), &self.identity);
        let was_known = self.announced.is_known();
        match self.directory.announce(&announcement).await {
            Ok(outcome) => {
                for failure in &outcome.failures {
                    tracing::debug!(%failure, "a validator did not take the announcement");
                }
                if !was_known {
                    tracing::info!(validators = outcome.accepted_count, "announced");
                }
                self.announced.0.store(true, Ordering::Relaxed);
                true
            }
            Err(error) => {
                if failures == 0 {
                    tracing::warn!(%error, "not announced: clients will not find this node");
                }
                self.announced.0.store(false, Ordering::Relaxed);
                false
            }
        }
    }
}

/// How long to wait after so many failures in a row, one or more.
fn retry_after(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    FIRST_RETRY
        .saturating_mul(1 << doublings)
        .min(ANNOUNCE_EVERY)
}

/// A random time between three quarters of `pause` and `pause`.
fn jittered<R: CryptoRng>(pause: Duration, rng: &mut R) -> Duration {
    pause - pause / 4 * (rng.next_u32() >> 16) / (1 << 16)
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::post;
    use nym_daemon::http::{HttpLimits, HttpServer};
    use nym_protocol::validator::ValidatorUrl;
    use nym_protocol::validator::bond::Gateway;
    use nym_transport::directory::DirectoryLimits;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;
    use tokio::sync::mpsc;
    use tokio::task::JoinSet;

    use super::*;

    #[test]
    fn retries_double_up_to_a_minute() {
        let seconds: Vec<u64> = (1..9)
            .map(|failures| retry_after(failures).as_secs())
            .collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(retry_after(u32::MAX), ANNOUNCE_EVERY);
    }

    #[test]
    fn jitter_shortens_by_a_quarter_at_most() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for _ in 0..1000 {
            let pause = jittered(ANNOUNCE_EVERY, &mut rng);
            assert!(
                (ANNOUNCE_EVERY * 3 / 4..=ANNOUNCE_EVERY).contains(&pause),
                "{pause:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_node_announces_itself_until_somebody_takes_it() {
        let (sender, mut bodies) = mpsc::channel(4);
        let answers = Arc::new(AtomicBool::new(false));
        let take = post(move |body: String| async move {
            sender.send(body).await.unwrap();
            // The first attempt is refused.
            if answers.swap(true, Ordering::Relaxed) {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            }
        });
        let any_port = "127.0.0.1:0".parse().unwrap();
        let server = HttpServer::bind(any_port, HttpLimits::default())
            .await
            .unwrap();
        let validator: ValidatorUrl = format!("http://{}", server.address()).parse().unwrap();
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let router = Router::new().fallback(take);
        tasks.spawn({
            let shutdown = shutdown.clone();
            async move { server.run(router, shutdown).await.unwrap() }
        });

        let identity = Arc::new(IdentityKeyPair::from_seed(&[1; 32]));
        let gateway = Gateway {
            host: "127.0.0.1".to_owned(),
            mix_port: 1789,
            clients_port: 9000,
            location: "nowhere".to_owned(),
            sphinx_key: "11111111111111111111111111111111".to_owned(),
            identity_key: identity.public_key().to_string(),
            version: "0.11.0".to_owned(),
            tls: None,
        };
        let directory = Directory::new(vec![validator], DirectoryLimits::default()).unwrap();
        let announcer = Announcer::new(directory, AnnouncedNode::Gateway(gateway), identity);
        let announced = announcer.announced();
        tasks.spawn(announcer.run(ChaCha20Rng::seed_from_u64(2), shutdown.clone()));

        for _ in 0..2 {
            let body = bodies.recv().await.unwrap();
            let announcement = Announcement::parse(&body).unwrap();
            assert!(announcement.verify(unix_time_secs(), 60).is_ok());
        }
        while !announced.is_known() {
            sleep(Duration::from_millis(1)).await;
        }
        shutdown.cancel();
        tasks.join_all().await;
    }
}
