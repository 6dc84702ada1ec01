//! The socket for apps: HTTP on loopback, upgraded to a websocket for whoever asks.
//!
//! Anything else that connects — a browser, a port scan, `curl` — gets a short answer or a
//! timeout and harms nobody. Web pages of other sites are refused by their `Origin`: without
//! that, any page open in the user's browser could read the address and send. So are requests
//! whose `Host` is not this machine, because a page can make its own name resolve to it. Where
//! other people use the machine, a token keeps them out.
//!
//! The newest app gets the messages that arrive; one that only sends says `?pushes=no` and leaves
//! them to the others.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts as _, Request, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use nym_daemon::http::{HttpLimits, HttpServer};
use nym_daemon::metrics::Metrics;
use nym_daemon::raise_open_files;
use nym_packet::address::Recipient;
use nym_protocol::app::DialectChoice;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::app_connection::{self, AppContext, Visit};
use crate::apps::door::{Refused, is_allowed_host, shows_token};
use crate::apps::origin::is_allowed;
use crate::apps::pages::AppCounters;
use crate::config::AppsConfig;
use crate::deliveries::{AppId, Pushes};
use crate::error::ClientError;
use crate::status::ClientStatus;

mod door;
mod origin;
mod pages;

/// Connections at a time, those of apps included. An app with a message under way costs at most
/// two messages of the largest size, anybody else 32 KiB: 32 MiB for all.
const CONNECTIONS: usize = 1_024;

/// How long a connection has to ask for something. The longest wait is given up earlier when there
/// are as many connections as may be.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// What the websocket of an app reads at a time; larger messages grow a buffer of their own.
const READ_BUFFER_LEN: usize = 16 << 10;

/// A connection on which nothing moves for so long is closed; apps are pinged more often.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long apps have to take a goodbye when the client stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Upgraded connections that wait for their task.
const UPGRADE_QUEUE: usize = 16;

/// The bound socket.
#[derive(Debug)]
pub(crate) struct Apps {
    server: HttpServer,
    config: AppsConfig,
}

/// What the HTTP side knows.
#[derive(Debug)]
struct Door {
    config: AppsConfig,
    counters: Arc<AppCounters>,
    metrics: Metrics,
    status: watch::Receiver<ClientStatus>,
    recipient: Recipient,
    upgraded: mpsc::Sender<Upgraded>,
}

#[derive(Debug)]
struct Upgraded {
    socket: WebSocket,
    dialect: DialectChoice,
    pushes: Pushes,
}

impl Apps {
    /// Binds the port on 127.0.0.1.
    pub(crate) async fn bind(config: AppsConfig) -> Result<Self, ClientError> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, config.port));
        raise_open_files();
        let limits = HttpLimits {
            connections: CONNECTIONS,
            request_timeout: REQUEST_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            stop_timeout: STOP_TIMEOUT,
        };
        let server = HttpServer::bind(address, limits)
            .await
            .map_err(|source| ClientError::AppSocket { address, source })?;
        Ok(Self { server, config })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Serves apps until `shutdown` is cancelled.
    pub(crate) async fn run(
        self,
        context: AppContext,
        status: watch::Receiver<ClientStatus>,
        shutdown: CancellationToken,
    ) {
        let (upgraded, upgrades) = mpsc::channel(UPGRADE_QUEUE);
        let counters = Arc::new(AppCounters::default());
        let door = Arc::new(Door {
            config: self.config,
            counters: Arc::clone(&counters),
            metrics: pages::metrics(Arc::clone(&counters), status.clone()),
            status,
            recipient: context.recipient,
            upgraded,
        });
        let router = Router::new().fallback(answer).with_state(door);
        let serving = self.server.run(router, shutdown.clone());
        let (served, ()) = tokio::join!(serving, serve_all(upgrades, context, &counters, shutdown));
        if let Err(error) = served {
            tracing::error!(%error, "the socket for apps failed");
        }
    }
}

/// Runs a task for each app.
async fn serve_all(
    mut upgrades: mpsc::Receiver<Upgraded>,
    context: AppContext,
    counters: &AppCounters,
    shutdown: CancellationToken,
) {
    let mut apps = JoinSet::new();
    let mut number = 0;
    loop {
        // All branches are cancel-safe.
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(ended) = apps.join_next(), if !apps.is_empty() => {
                counters.left();
                log_panic(ended);
            }
            Some(Upgraded { socket, dialect, pushes }) = upgrades.recv() => {
                number += 1;
                counters.came();
                let app = AppId(number);
                let visit = Visit { app, dialect, pushes };
                let (context, shutdown) = (context.clone(), shutdown.clone());
                apps.spawn(app_connection::serve(socket, visit, context, shutdown));
            }
            else => break,
        }
    }
    let _ = timeout(STOP_TIMEOUT, async {
        while let Some(ended) = apps.join_next().await {
            log_panic(ended);
        }
    })
    .await;
    apps.shutdown().await;
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "the connection of an app failed");
    }
}

async fn answer(State(door): State<Arc<Door>>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    if !is_allowed_host(&parts.headers, &door.config.allowed_hosts) {
        return door.refuse(Refused::Host);
    }
    let has_token = shows_token(&parts, door.config.token.as_ref());
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).await;
    let is_get = parts.method == Method::GET;
    match (upgrade, parts.uri.path()) {
        (Ok(_), _) if !is_allowed(&parts.headers, &door.config) => door.refuse(Refused::Origin),
        (Ok(_), _) if !has_token => door.refuse(Refused::Token),
        (Ok(upgrade), _) => door.upgrade(upgrade, &parts.uri),
        (Err(WebSocketUpgradeRejection::InvalidWebSocketVersionHeader(rejection)), _) => {
            rejection.into_response()
        }
        (Err(_), "/") if is_get => pages::welcome(),
        (Err(_), "/health") if is_get => pages::health(*door.status.borrow()),
        (Err(_), "/metrics" | "/status") if is_get && !has_token => door.refuse(Refused::Token),
        (Err(_), "/status") if is_get => {
            pages::status(&door.counters, &door.status.borrow(), &door.recipient)
        }
        (Err(_), "/metrics") if is_get => pages::show(&door.metrics),
        (Err(_), _) => {
            let said = "Apps connect here by websocket.\n";
            (StatusCode::NOT_FOUND, said).into_response()
        }
    }
}

impl Door {
    fn refuse(&self, why: Refused) -> Response {
        self.counters.refused(why);
        why.into_response()
    }

    fn upgrade(&self, upgrade: WebSocketUpgrade, uri: &Uri) -> Response {
        let mut members = uri.query().unwrap_or_default().split('&');
        let pushes = if members.any(|member| member == "pushes=no") {
            Pushes::Left
        } else {
            Pushes::Claimed
        };
        let dialect = match uri.path() {
            "/seed" => DialectChoice::Seed,
            "/v0.11" => DialectChoice::V0_11,
            "/v1" => DialectChoice::SenderTags,
            _ => self.config.dialect,
        };
        let upgraded = self.upgraded.clone();
        upgrade
            .read_buffer_size(READ_BUFFER_LEN)
            .max_message_size(self.config.message_len_max)
            .max_frame_size(self.config.message_len_max)
            .on_upgrade(async move |socket| {
                // Fails only when the client is stopping.
                let came = Upgraded {
                    socket,
                    dialect,
                    pushes,
                };
                let _ = upgraded.send(came).await;
            })
    }
}

#[cfg(test)]
mod tests;
