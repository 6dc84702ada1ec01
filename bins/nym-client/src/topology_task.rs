//! Keeping the picture of the network fresh.

use std::sync::Arc;
use std::time::Duration;

use nym_daemon::clock::unix_time_secs;
use nym_packet::keys::IdentityPublicKey;
use nym_protocol::PROTOCOL_VERSION;
use nym_protocol::validator::Topology;
use nym_transport::directory::Directory;
use nym_transport::legacy::LegacyPeers;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::engine_task::EngineInput;
use crate::gateway_link::GatewayPlace;
use crate::status::ClientStatus;

/// The task that asks the validators.
pub(crate) struct TopologyTask {
    pub(crate) directory: Directory,
    pub(crate) own_gateway: IdentityPublicKey,
    pub(crate) refresh_rate: Duration,
    /// Whether nodes without TLS may be used.
    pub(crate) legacy_peers: LegacyPeers,
    pub(crate) inputs: mpsc::Sender<EngineInput>,
    /// Where the topology says that our gateway is.
    pub(crate) announced: watch::Sender<Option<GatewayPlace>>,
    pub(crate) status: Arc<watch::Sender<ClientStatus>>,
    pub(crate) rng: StdRng,
}

impl TopologyTask {
    /// Runs until `shutdown` is cancelled. A fetch that fails or is not usable leaves the last
    /// good topology in use and is repeated with growing pauses, at most the refresh rate.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut backoff = Backoff::new();
        loop {
            // The future that loses holds nothing that anybody waits for.
            let fetched = tokio::select! {
                () = shutdown.cancelled() => return,
                fetched = self.directory.topology(Some(PROTOCOL_VERSION), &mut self.rng) => fetched,
            };
            let usable = match fetched {
                Ok(topology) => self.usable(topology),
                Err(error) => Err(error.to_string()),
            };
            let pause = match usable {
                Ok(topology) => {
                    self.publish(topology).await;
                    backoff.reset();
                    self.refresh_rate
                }
                Err(problem) => {
                    let pause = backoff.pause(&mut self.rng).min(self.refresh_rate);
                    self.log_failure(&problem, pause);
                    pause
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep(pause) => {}
            }
        }
    }

    fn usable(&self, mut topology: Topology) -> Result<Topology, String> {
        let denied = self.legacy_peers.check(unix_time_secs()).err();
        let plain = denied.map_or(0, |_| topology.retain_tls());
        if !topology.is_routable() {
            let problem = "the network has too few nodes to route over";
            return Err(match denied {
                Some(denied) if plain > 0 => {
                    format!("{problem}: {plain} speak no TLS, and {denied}")
                }
                _ => problem.to_owned(),
            });
        }
        if topology.gateway(&self.own_gateway).is_none() {
            return Err("our own gateway is not in the network".to_owned());
        }
        Ok(topology)
    }

    async fn publish(&self, topology: Topology) {
        let place = topology
            .gateway(&self.own_gateway)
            .map(|gateway| GatewayPlace {
                url: gateway.websocket_url(),
                speaks_tls: gateway.speaks_tls,
            });
        self.announced.send_replace(place);
        let mixnodes: usize = topology.layers.iter().map(Vec::len).sum();
        let gateways = topology.gateways.len();
        tracing::debug!(mixnodes, gateways, "topology fetched");
        // Fails only when the client is stopping.
        let _ = self
            .inputs
            .send(EngineInput::Topology(Box::new(topology)))
            .await;
        self.status.send_modify(|status| {
            status.routable = true;
            status.topology_fetched_at = Some(Instant::now());
        });
    }

    fn log_failure(&self, problem: &str, pause: Duration) {
        let secs = pause.as_secs_f32();
        match self.status.borrow().topology_age() {
            Some(age) => {
                let age = age.as_secs();
                tracing::warn!(
                    problem,
                    "no fresh topology, the one in use is {age} s old; next attempt in {secs:.1} s"
                );
            }
            None => tracing::warn!(problem, "no topology yet; next attempt in {secs:.1} s"),
        }
    }
}

#[cfg(test)]
mod tests;
