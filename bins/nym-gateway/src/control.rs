//! What can change while a gateway runs.

use nym_node::links::{LinkConfig, Links};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::limits::{ClientLimits, LiveLimits};
use crate::mailroom::Mailroom;
use crate::store::Quotas;

/// The part of a [`Config`](crate::Config) that can change while the gateway runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reloadable {
    /// Bounds of each client's connection. Connections that are open keep the timeouts of their
    /// login and websocket.
    pub client_limits: ClientLimits,
    /// Bytes of memory for messages that wait for their clients' answers.
    pub held_memory_max: usize,
    /// Of it, with whom there may be links and whether they may be plain. Links that are open stay.
    pub link_config: LinkConfig,
    /// How much the gateway keeps for clients. What is stored already stays.
    pub quotas: Quotas,
}

/// A handle to a gateway that is, or will be, running.
#[derive(Clone, Debug)]
pub struct GatewayControl(watch::Sender<Reloadable>);

impl GatewayControl {
    pub(crate) fn new(initial: Reloadable) -> Self {
        Self(watch::Sender::new(initial))
    }

    /// Changes what can be changed. A gateway that has stopped does not mind.
    pub fn reload(&self, to: Reloadable) {
        self.0.send_replace(to);
    }

    /// Hands changes to those whom they concern, until `stop` is cancelled.
    pub(crate) async fn run(
        self,
        links: Links,
        limits: LiveLimits,
        mailroom: Mailroom,
        stop: CancellationToken,
    ) {
        let mut changes = self.0.subscribe();
        changes.mark_changed();
        // Cancel-safe: a change that was not seen is seen next time.
        while let Some(Ok(())) = stop.run_until_cancelled(changes.changed()).await {
            let Reloadable {
                client_limits,
                held_memory_max,
                link_config,
                quotas,
            } = *changes.borrow_and_update();
            limits.set(client_limits);
            links.reload(link_config);
            mailroom.desk.roster.set_held_memory_max(held_memory_max);
            if mailroom.store.set_quotas(quotas).await.is_err() {
                return;
            }
        }
    }
}
