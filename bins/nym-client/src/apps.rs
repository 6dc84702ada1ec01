//! The socket for apps: HTTP on loopback, upgraded to a websocket for whoever asks.
//!
//! Anything else that connects — a browser, a port scan, `curl` — gets a short answer or a
//! timeout and harms nobody. Web pages of other sites are refused by their `Origin`: without
//! that, any page open in the user's browser could read the address and send.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts as _, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use nym_daemon::http::{HttpLimits, HttpServer};
use nym_protocol::app::DialectChoice;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::app_connection::{self, AppContext};
use crate::apps::origin::is_allowed;
use crate::config::AppsConfig;
use crate::error::ClientError;

mod origin;

/// Connections at a time, those of apps included. An app with a message under way costs at most
/// two messages of the largest size, anybody else 16 KiB.
const CONNECTIONS: usize = 256;

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
    upgraded: mpsc::Sender<Upgraded>,
}

#[derive(Debug)]
struct Upgraded {
    socket: WebSocket,
    dialect: DialectChoice,
}

impl Apps {
    /// Binds the port on 127.0.0.1.
    pub(crate) async fn bind(config: AppsConfig) -> Result<Self, ClientError> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, config.port));
        let limits = HttpLimits {
            connections: CONNECTIONS,
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
    pub(crate) async fn run(self, context: AppContext, shutdown: CancellationToken) {
        let (upgraded, upgrades) = mpsc::channel(UPGRADE_QUEUE);
        let door = Arc::new(Door {
            config: self.config,
            upgraded,
        });
        let router = Router::new().fallback(answer).with_state(door);
        let serving = self.server.run(router, shutdown.clone());
        let (served, ()) = tokio::join!(serving, serve_all(upgrades, context, shutdown));
        if let Err(error) = served {
            tracing::error!(%error, "the socket for apps failed");
        }
    }
}

/// Runs a task for each app.
async fn serve_all(
    mut upgrades: mpsc::Receiver<Upgraded>,
    context: AppContext,
    shutdown: CancellationToken,
) {
    let mut apps = JoinSet::new();
    let mut number = 0;
    loop {
        // All branches are cancel-safe.
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(ended) = apps.join_next(), if !apps.is_empty() => log_panic(ended),
            Some(Upgraded { socket, dialect }) = upgrades.recv() => {
                number += 1;
                let (context, shutdown) = (context.clone(), shutdown.clone());
                apps.spawn(app_connection::serve(socket, dialect, number, context, shutdown));
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
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).await;
    match upgrade {
        Ok(upgrade) => {
            if !is_allowed(&parts.headers, &door.config.allowed_origins) {
                let said = "This page may not use the client. Allow its origin in the \
                            configuration: apps.allowed_origins.\n";
                return (StatusCode::FORBIDDEN, said).into_response();
            }
            let dialect = match parts.uri.path() {
                "/seed" => DialectChoice::Seed,
                "/v0.11" => DialectChoice::V0_11,
                "/v1" => DialectChoice::SenderTags,
                _ => door.config.dialect,
            };
            let upgraded = door.upgraded.clone();
            upgrade
                .max_message_size(door.config.message_len_max)
                .max_frame_size(door.config.message_len_max)
                .on_upgrade(async move |socket| {
                    // Fails only when the client is stopping.
                    let _ = upgraded.send(Upgraded { socket, dialect }).await;
                })
        }
        Err(WebSocketUpgradeRejection::InvalidWebSocketVersionHeader(rejection)) => {
            rejection.into_response()
        }
        Err(_) if parts.method == Method::GET && parts.uri.path() == "/" => {
            let plain = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
            (plain, WELCOME).into_response()
        }
        Err(_) => (StatusCode::NOT_FOUND, "Apps connect here by websocket.\n").into_response(),
    }
}

const WELCOME: &str = "This is nym-client. Apps connect here by websocket and say, for example:\n\
     \n\
     {\"type\":\"selfAddress\"}\n\
     {\"type\":\"send\",\"message\":\"Hello Nym!\",\"recipient\":\"<address>\"}\n";

#[cfg(test)]
mod tests;
