//! A command as an app of its client: the one that runs, or one that is started for the call.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use nym_daemon::exit::{Failure, cannot};
use nym_protocol::app::{Form, Request, Response, sender_tags};
use nym_protocol::ws::WsMessage;
use nym_transport::websocket::{CloseCode, Incoming, WebSocket, WebSocketLimits};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::waiting_for;
use crate::client::Client;
use crate::config::{AppsConfig, ClientConfig};
use crate::error::ClientError;
use crate::instance::{self, Claimed};
use crate::status::ClientStatus;

/// A client that is not to be found yet is looked for again after this time.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// How long another command may keep the client to itself before this one gives up.
const HIDDEN_MAX: Duration = Duration::from_secs(30);

/// How long a client that was started for the call may take to connect.
const CONNECT_MAX: Duration = Duration::from_secs(60);

/// What frames have around a message at most; pushes and requests are no longer than that.
pub(super) const FRAME_OVERHEAD: usize = 128;

/// A large message may have to wait until the client has room for it; how long is for the command
/// to say.
const WRITE_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// Whether messages that arrive come to this app.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Pushes {
    Claimed,
    Left,
}

/// What the client says.
#[derive(Debug)]
pub(super) enum Said {
    /// An answer, or a message that arrived.
    Response(Response),
    /// The message that was given a name is delivered.
    Delivered,
    /// It was given up, with the reason.
    Failed(String),
}

/// The frames that tell what became of a message; there is one with a name at most.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
enum Receipt {
    Accepted,
    Delivered,
    Failed { message: String },
}

/// A connection to a client, in the dialect *sender tags*.
pub(super) struct LocalApp {
    socket: WebSocket,
    started: Option<Started>,
}

/// A client that runs in this process for the call.
struct Started {
    stop: CancellationToken,
    status: watch::Receiver<ClientStatus>,
    tasks: JoinSet<Result<(), ClientError>>,
}

impl LocalApp {
    /// Connects to the client of this configuration; starts it when it does not run. `None` when
    /// `stopped` was cancelled before that; a client that was started has ended then.
    pub(super) async fn open(
        config: ClientConfig,
        pushes: Pushes,
        stopped: &CancellationToken,
    ) -> Result<Option<Self>, Failure> {
        let apps = config.apps.clone().unwrap_or_default();
        let found = tokio::select! {
            found = find(&config.id, config.key_files.data_dir()) => found?,
            () = stopped.cancelled() => return Ok(None),
        };
        let (address, started) = match found {
            Some(address) => (address, None),
            None => {
                let (address, started) = start(config).await?;
                (address, Some(started))
            }
        };
        let connecting = async {
            // Who sends waits until that is possible.
            if let (Some(started), Pushes::Left) = (&started, pushes) {
                let _waiting = waiting_for("the connection to the gateway");
                started.connected().await?;
            }
            dial(address, &apps, pushes).await
        };
        // The future that loses holds nothing but a connection.
        let socket = tokio::select! {
            socket = connecting => socket.map(Some),
            () = stopped.cancelled() => Ok(None),
        };
        match (socket, started) {
            (Ok(Some(socket)), started) => Ok(Some(Self { socket, started })),
            (Ok(None), None) => Ok(None),
            (Err(failure), None) => Err(failure),
            (not_open, Some(started)) => {
                started.stop().await;
                not_open.map(|_| None)
            }
        }
    }

    /// Whether the client was started for this call and ends with it.
    pub(super) const fn is_started(&self) -> bool {
        self.started.is_some()
    }

    /// Says something to the client.
    pub(super) async fn request(&mut self, request: &Request) -> Result<(), Failure> {
        let frame = sender_tags::encode_request(Form::Binary, request)
            .map_err(cannot("write the request"))?;
        self.send(frame).await
    }

    /// Says something to the client, and asks to be told what becomes of it.
    pub(super) async fn request_with_receipt(&mut self, request: &Request) -> Result<(), Failure> {
        let named = r#"{"type":"binaryId","id":1}"#;
        self.send(WsMessage::Text(named.to_owned())).await?;
        self.request(request).await
    }

    async fn send(&mut self, frame: WsMessage) -> Result<(), Failure> {
        let sent = self.socket.send(frame).await;
        sent.map_err(cannot("write to the client"))
    }

    /// The next thing that the client says. Cancel-safe.
    pub(super) async fn receive(&mut self) -> Result<Said, Failure> {
        loop {
            let message = match self.socket.receive().await {
                Ok(Some(Incoming::Message(message))) => message,
                Ok(Some(Incoming::Pong(_))) => continue,
                Ok(None) => return Err(Failure::new("the client has stopped")),
                Err(error) => {
                    return Err(Failure::new(format!("the client is gone: {error}")));
                }
            };
            let response = match message {
                WsMessage::Binary(frame) => sender_tags::parse_binary_response(&frame),
                WsMessage::Text(text) => match serde_json::from_str(&text) {
                    Ok(Receipt::Accepted) => continue,
                    Ok(Receipt::Delivered) => return Ok(Said::Delivered),
                    Ok(Receipt::Failed { message }) => return Ok(Said::Failed(message)),
                    // Anything else that is said in text.
                    Err(_) => Response::parse_text(&text),
                },
            };
            let response = response.map_err(cannot("understand the client"))?;
            return Ok(Said::Response(response));
        }
    }

    /// Says goodbye, and stops the client if it was started for the call.
    pub(super) async fn close(self) {
        self.socket.close(CloseCode::Normal, "").await;
        if let Some(started) = self.started {
            started.stop().await;
        }
    }
}

impl Started {
    /// Waits until the client can send.
    async fn connected(&self) -> Result<(), Failure> {
        let mut status = self.status.clone();
        let ready = status.wait_for(|status| status.is_ready());
        if matches!(timeout(CONNECT_MAX, ready).await, Ok(Ok(_))) {
            return Ok(());
        }
        let secs = CONNECT_MAX.as_secs();
        let missing = if self.status.borrow().connected {
            "no validator tells a usable topology"
        } else {
            "the gateway does not answer"
        };
        let what = format!("not connected within {secs} s: {missing}");
        Err(Failure::new(what).advice("try again later; --log info tells what is tried"))
    }

    /// Ends the client, and waits until it has ended.
    async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn dial(
    address: SocketAddr,
    apps: &AppsConfig,
    pushes: Pushes,
) -> Result<WebSocket, Failure> {
    let limits = WebSocketLimits {
        message_len: apps.message_len_max.saturating_add(FRAME_OVERHEAD),
        write_timeout: WRITE_TIMEOUT,
        ..WebSocketLimits::default()
    };
    let url = url(address, apps, pushes);
    let dialled = WebSocket::dial(&url, limits).await;
    dialled.map_err(|error| {
        // The URL in the error may hold the token.
        let problem = error.to_string().replace(&url, "it");
        Failure::new(format!(
            "the client at {address} does not let us in: {problem}"
        ))
    })
}

fn url(address: SocketAddr, apps: &AppsConfig, pushes: Pushes) -> String {
    let mut url = format!("ws://{address}/v1?pushes=");
    url.push_str(match pushes {
        Pushes::Claimed => "yes",
        Pushes::Left => "no",
    });
    if let Some(token) = &apps.token {
        url.push_str("&token=");
        url.push_str(token.reveal());
    }
    url
}

/// Where apps of the running client connect; `None` when it does not run.
pub(super) async fn find(id: &str, data_dir: &Path) -> Result<Option<SocketAddr>, Failure> {
    let looking = async {
        loop {
            match instance::look(data_dir).map_err(cannot("see whether the client runs"))? {
                Claimed::Free => return Ok(None),
                Claimed::Hidden => sleep(LOOK_AGAIN_AFTER).await,
                Claimed::Running(client) => {
                    return client.apps.map(Some).ok_or_else(|| {
                        Failure::usage(format!(
                            "client `{id}` runs without a socket for apps (process {})",
                            client.pid
                        ))
                        .advice("set socket_type = \"WebSocket\" in its configuration")
                    });
                }
            }
        }
    };
    timeout(HIDDEN_MAX, looking).await.unwrap_or_else(|_| {
        let what = format!("another command keeps client `{id}` to itself");
        Err(Failure::new(what).advice("wait until it has ended"))
    })
}

/// Starts the client in this process, on a free port.
async fn start(config: ClientConfig) -> Result<(SocketAddr, Started), Failure> {
    let config = ClientConfig {
        apps: Some(AppsConfig {
            port: 0,
            ..config.apps.unwrap_or_default()
        }),
        ..config
    };
    let client = Client::bind(config).await?;
    let address = client.addresses().apps;
    let address = address.ok_or_else(|| Failure::new("the client opened no socket for apps"))?;
    let status = client.status();
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(client.run(stop.clone()));
    let started = Started {
        stop,
        status,
        tasks,
    };
    Ok((address, started))
}
