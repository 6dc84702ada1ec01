//! A gateway of 0.11 (gateway.md, sections 1 to 6), without its defects that lose messages.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use nym_daemon::entropy;
use nym_packet::frame::Frame;
use nym_packet::time::Timestamp;
use nym_protocol::gateway::{
    Action, Admission, ClientAddress, GatewaySession, Login, Lookup, SharedKeys,
};
use nym_protocol::ws::WsMessage;
use tokio::net::TcpStream;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async};

use crate::mix_side::{LegacyNode, Links, MIX_PORT, Role, listen};

const CLIENTS_PORT: u16 = 9000;

/// Pushes that wait for a client's socket.
const PUSH_QUEUE: usize = 1024;

/// One that runs; it ends when dropped.
pub(crate) struct RunningGateway {
    desk: Arc<Desk>,
    _runtime: Runtime,
}

/// What the gateway knows.
#[derive(Default)]
struct Desk {
    clients: Mutex<HashMap<[u8; 32], Registered>>,
    links: Links,
    pushed: AtomicUsize,
    strange_links: AtomicUsize,
}

#[derive(Default)]
struct Registered {
    keys: [u8; SharedKeys::LEN],
    online: Option<mpsc::Sender<Vec<u8>>>,
    inbox: Vec<Vec<u8>>,
}

impl LegacyNode {
    /// Starts a gateway, unless the contract names another one at its host; then the error names
    /// that.
    pub(crate) fn run_gateway(self) -> Result<RunningGateway, String> {
        let listed = self.directory.gateways().into_iter();
        self.check_host(listed.map(|bond| (bond.gateway.host, bond.gateway.identity_key)))?;
        let runtime = Runtime::new().unwrap();
        let mix = self.bind(&runtime, MIX_PORT);
        let clients = self.bind(&runtime, CLIENTS_PORT);
        let desk = Arc::new(Desk::default());
        runtime.spawn(listen(mix, self.keys.sphinx, Arc::clone(&desk)));
        let (identity, at) = (self.keys.identity, Arc::clone(&desk));
        runtime.spawn(async move {
            while let Ok((stream, _)) = clients.accept().await {
                let session = GatewaySession::new(Arc::clone(&identity), Timestamp::ZERO);
                Handle::current().spawn(Arc::clone(&at).serve(stream, session));
            }
        });
        Ok(RunningGateway {
            desk,
            _runtime: runtime,
        })
    }
}

impl RunningGateway {
    /// Messages and acknowledgements that were written to clients.
    pub(crate) fn pushed(&self) -> usize {
        self.desk.pushed.load(Ordering::Relaxed)
    }

    /// Links of nodes on which no frames of 0.11 came.
    pub(crate) fn strange_links(&self) -> usize {
        self.desk.strange_links.load(Ordering::Relaxed)
    }
}

impl Desk {
    /// One connection of a client, to its end.
    async fn serve(self: Arc<Self>, stream: TcpStream, mut session: GatewaySession) {
        // A client that does not know yet what its gateway speaks tries TLS first.
        let Ok(mut socket) = accept_async(stream).await else {
            return;
        };
        let (push, mut pushes) = mpsc::channel::<Vec<u8>>(PUSH_QUEUE);
        loop {
            // Both branches are cancel-safe.
            tokio::select! {
                Some(message) = pushes.recv() => {
                    let sealed = session.seal_push(&message).expect("who is online has logged in");
                    if socket.send(to_message(sealed)).await.is_err() {
                        break;
                    }
                    self.pushed.fetch_add(1, Ordering::Relaxed);
                }
                message = socket.next() => match message {
                    Some(Ok(Message::Text(text))) => {
                        let text = WsMessage::Text(text.as_str().to_owned());
                        session.handle_message(Timestamp::ZERO, text, &mut entropy());
                    }
                    Some(Ok(Message::Binary(bytes))) => {
                        let binary = WsMessage::Binary(bytes.to_vec());
                        session.handle_message(Timestamp::ZERO, binary, &mut entropy());
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    _ => break,
                }
            }
            if !self.act(&mut session, &mut socket, &push).await {
                break;
            }
        }
        if let Some(client) = session.client() {
            let mut clients = self.clients.lock().unwrap();
            clients.entry(*client.as_bytes()).or_default().online = None;
        }
    }

    /// Does what the session wants; whether the connection goes on.
    async fn act(
        &self,
        session: &mut GatewaySession,
        socket: &mut WebSocketStream<TcpStream>,
        push: &mpsc::Sender<Vec<u8>>,
    ) -> bool {
        while let Some(action) = session.poll_action() {
            match action {
                Action::LookUpKeys(client) => session.handle_lookup(self.look_up(&client)),
                Action::Admit(login) => {
                    self.admit(&login, push);
                    session.handle_admission(Admission::Online);
                }
                Action::Forward(packet) => {
                    let (hop, frame) = packet.into_parts();
                    self.links.send(hop.socket_addr(), frame);
                }
                Action::Send(message) => {
                    if socket.send(to_message(message)).await.is_err() {
                        return false;
                    }
                }
                Action::Close(_) => return false,
            }
        }
        true
    }

    fn look_up(&self, client: &ClientAddress) -> Lookup {
        let clients = self.clients.lock().unwrap();
        clients
            .get(client.as_bytes())
            .map_or(Lookup::Unknown, |registered| {
                Lookup::Known(SharedKeys::from_bytes(&registered.keys))
            })
    }

    /// What waited is handed to the connection at once.
    fn admit(&self, login: &Login, push: &mpsc::Sender<Vec<u8>>) {
        let mut clients = self.clients.lock().unwrap();
        let registered = match login {
            Login::Authentication { client, .. } => clients.entry(*client.as_bytes()).or_default(),
            Login::Registration { client, keys } => {
                let registered = clients.entry(*client.as_bytes()).or_default();
                registered.keys = *keys.to_bytes();
                registered
            }
        };
        for message in registered.inbox.drain(..) {
            push.try_send(message).unwrap();
        }
        registered.online = Some(push.clone());
    }
}

impl Role for Desk {
    /// A gateway drops what is to be sent on.
    fn forward(self: Arc<Self>, _: SocketAddr, _: Duration, _: Frame) {}

    fn deliver(
        self: Arc<Self>,
        client: [u8; 32],
        message: &[u8],
        ack: Option<(SocketAddr, Frame)>,
    ) {
        let mut clients = self.clients.lock().unwrap();
        let Some(registered) = clients.get_mut(&client) else {
            return;
        };
        let pushed = match &registered.online {
            Some(online) => online.try_send(message.to_vec()).is_ok(),
            None => false,
        };
        if !pushed {
            registered.inbox.push(message.to_vec());
        }
        if let Some((to, frame)) = ack {
            self.links.send(to, frame);
        }
    }

    fn strange_link(&self) {
        self.strange_links.fetch_add(1, Ordering::Relaxed);
    }
}

fn to_message(message: WsMessage) -> Message {
    match message {
        WsMessage::Text(text) => Message::text(text),
        WsMessage::Binary(bytes) => Message::binary(bytes),
    }
}
