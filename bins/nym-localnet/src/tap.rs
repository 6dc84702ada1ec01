//! A tap on every link: what somebody sees who watches the network.
//!
//! Nodes and the validator listen where they always do, and announce another loopback address at the same port, where
//! the tap listens, copies what passes, and hands it on. Every connection gives two files:
//! `<node>-<port>-<number>.in`, what the dialling side sent, and `.out`, what it was answered.

use std::fs::File;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Bytes copied at a time.
const COPY_LEN: usize = 64 * 1024;

/// A tap; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Tap {
    _tasks: JoinSet<()>,
}

/// The address to announce for a node that listens on a loopback address: one network further.
pub(crate) fn announced(listening: Ipv4Addr) -> Ipv4Addr {
    let [a, b, c, d] = listening.octets();
    Ipv4Addr::new(a, b.wrapping_add(1), c, d)
}

impl Tap {
    /// Listens at the announced address and records into `dir`.
    pub(crate) async fn start(dir: &Path, name: String, node: (Ipv4Addr, u16)) -> io::Result<Self> {
        let (ip, port) = node;
        let listener = TcpListener::bind((announced(ip), port)).await?;
        let node = SocketAddr::from((ip, port));
        let dir = dir.to_owned();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut links = JoinSet::new();
            for number in 1_u32.. {
                let Ok((dialler, _)) = listener.accept().await else {
                    return;
                };
                let file = dir.join(format!("{name}-{number}"));
                links.spawn(pass(dialler, node, file));
                while links.try_join_next().is_some() {}
            }
        });
        Ok(Self { _tasks: tasks })
    }
}

/// Copies one connection in both directions. What fails ends it, as a cut cable would.
async fn pass(dialler: TcpStream, node: SocketAddr, file: PathBuf) {
    let Ok(node) = TcpStream::connect(node).await else {
        return;
    };
    let _ = (dialler.set_nodelay(true), node.set_nodelay(true));
    let (mut from_dialler, mut to_dialler) = dialler.into_split();
    let (mut from_node, mut to_node) = node.into_split();
    let _ = tokio::join!(
        copy(&mut from_dialler, &mut to_node, file.with_extension("in")),
        copy(&mut from_node, &mut to_dialler, file.with_extension("out")),
    );
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    file: PathBuf,
) -> io::Result<()> {
    let mut file = File::create(file)?;
    let mut buffer = vec![0; COPY_LEN];
    loop {
        let len = from.read(&mut buffer).await?;
        let bytes = buffer.get(..len).unwrap_or_default();
        if bytes.is_empty() {
            return to.shutdown().await;
        }
        file.write_all(bytes)?;
        to.write_all(bytes).await?;
    }
}
