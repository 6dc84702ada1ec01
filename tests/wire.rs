//! What somebody sees who watches the link between a client and its gateway: when something of
//! the size of a packet went by. Nothing is opened; it works on links with and without TLS.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What is shorter is no packet: pings, acknowledgements of the websocket, handshakes.
const PACKET_LEN_MIN: usize = 1_000;

/// The types of TLS records, from change cipher spec to application data.
const TLS_APPLICATION_DATA: u8 = 0x17;
const TLS_RECORD_TYPES: std::ops::RangeInclusive<u8> = 0x14..=0x17;

/// A TCP relay on a free port of 127.0.0.1 that notes when packets pass towards the gateway.
#[derive(Debug)]
pub struct Tap {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Instant>>>,
    relays: Vec<JoinHandle<()>>,
}

impl Tap {
    /// Relays the first connection that comes to `gateway`.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn open(gateway: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&seen);
        let relay = std::thread::spawn(move || {
            // A relay ends with its connections; whoever waits for packets notices.
            let _ = relay(&listener, gateway, &noted);
        });
        Ok(Self {
            address,
            seen,
            relays: vec![relay],
        })
    }

    /// Where to connect instead of the gateway.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The seconds between the packets of the next `span`.
    ///
    /// # Panics
    /// Never: no thread panics while it notes a packet.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "an observer has a real clock")]
    pub fn watch(&self, span: Duration) -> Vec<f64> {
        self.seen.lock().expect("noting does not panic").clear();
        std::thread::sleep(span);
        let seen = std::mem::take(&mut *self.seen.lock().expect("noting does not panic"));
        seen.windows(2)
            .map(|pair| match pair {
                [earlier, later] => later.duration_since(*earlier).as_secs_f64(),
                _ => 0.0,
            })
            .collect()
    }

    /// Waits for the end of the connection, which its client or gateway brings about.
    pub fn close(mut self) {
        for relay in self.relays.drain(..) {
            let _ = relay.join();
        }
    }
}

fn relay(
    listener: &TcpListener,
    gateway: SocketAddr,
    seen: &Mutex<Vec<Instant>>,
) -> io::Result<()> {
    let (mut client, _) = listener.accept()?;
    let mut server = TcpStream::connect(gateway)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    let back = std::thread::spawn(move || {
        let _ = io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let mut counter = PacketCounter::default();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let len = client.read(&mut buffer)?;
        #[expect(clippy::disallowed_methods, reason = "an observer has a real clock")]
        let now = Instant::now();
        let bytes = buffer.get(..len).unwrap_or_default();
        let packets = counter.count(bytes);
        if packets > 0 {
            let mut seen = seen.lock().expect("noting does not panic");
            seen.extend(std::iter::repeat_n(now, packets));
        }
        if len == 0 {
            break;
        }
        server.write_all(bytes)?;
    }
    let _ = server.shutdown(Shutdown::Both);
    let _ = back.join();
    Ok(())
}

/// Counts packets in a stream of bytes from a client, by the lengths that its envelope shows.
#[derive(Debug, Default)]
struct PacketCounter {
    waiting: Vec<u8>,
    envelope: Option<Envelope>,
    /// The shortest unit of the length of a packet: that of one packet alone.
    unit: Option<usize>,
}

/// How lengths are shown on the link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Envelope {
    /// Websocket frames (RFC 6455, section 5.2) after a request for an upgrade.
    WebSocket,
    /// TLS records (RFC 8446, section 5.1).
    Tls,
}

impl PacketCounter {
    /// Takes the next bytes and gives the number of packets that end with them.
    fn count(&mut self, bytes: &[u8]) -> usize {
        self.waiting.extend_from_slice(bytes);
        let mut packets = 0;
        while let Some(len) = self.next_unit() {
            if len < PACKET_LEN_MIN {
                continue;
            }
            let unit = self.unit.map_or(len, |unit| unit.min(len));
            self.unit = Some(unit);
            // A record may hold several frames.
            packets += (len + unit / 2) / unit;
        }
        packets
    }

    /// Takes one frame or record away and gives its length, when it is there as a whole.
    fn next_unit(&mut self) -> Option<usize> {
        let first = *self.waiting.first()?;
        let envelope = *self.envelope.get_or_insert_with(|| {
            if TLS_RECORD_TYPES.contains(&first) {
                Envelope::Tls
            } else {
                Envelope::WebSocket
            }
        });
        let (head, len) = match envelope {
            Envelope::Tls => {
                let [_, _, _, high, low] = *self.waiting.first_chunk()?;
                let len = usize::from(u16::from_be_bytes([high, low]));
                // A record of the handshake holds no packet, however long it is.
                if first == TLS_APPLICATION_DATA {
                    (5, len)
                } else {
                    (5 + len, 0)
                }
            }
            // The request for the upgrade.
            Envelope::WebSocket if first == b'G' => {
                let end = self
                    .waiting
                    .windows(4)
                    .position(|four| four == b"\r\n\r\n")?;
                (end + 4, 0)
            }
            Envelope::WebSocket => websocket_frame(&self.waiting)?,
        };
        let end = head + len;
        if self.waiting.len() < end {
            return None;
        }
        self.waiting.drain(..end);
        Some(len)
    }
}

/// Lengths of the head and the content of a client's frame, which is masked.
fn websocket_frame(bytes: &[u8]) -> Option<(usize, usize)> {
    const MASK_LEN: usize = 4;
    let [_, short] = *bytes.first_chunk()?;
    Some(match short & 0x7f {
        126 => {
            let [_, _, high, low] = *bytes.first_chunk()?;
            (4 + MASK_LEN, usize::from(u16::from_be_bytes([high, low])))
        }
        127 => {
            let [_, _, long @ ..] = *bytes.first_chunk::<10>()?;
            (
                10 + MASK_LEN,
                usize::try_from(u64::from_be_bytes(long)).ok()?,
            )
        }
        short => (2 + MASK_LEN, usize::from(short)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(len: u16) -> Vec<u8> {
        let mut frame = vec![0x82, 0x80 | 126];
        frame.extend_from_slice(&len.to_be_bytes());
        frame.resize(8 + usize::from(len), 7);
        frame
    }

    fn record(len: u16) -> Vec<u8> {
        let mut record = vec![0x17, 3, 3];
        record.extend_from_slice(&len.to_be_bytes());
        record.resize(5 + usize::from(len), 7);
        record
    }

    #[test]
    fn packets_in_websocket_frames_are_counted_however_they_are_cut() {
        let mut bytes = b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n".to_vec();
        let ping = [0x89, 0x80, 1, 2, 3, 4];
        for part in [&frame(2_413)[..], &ping, &frame(2_413), &frame(500)] {
            bytes.extend_from_slice(part);
        }
        for cut in [1, 7, 1_000, bytes.len()] {
            let mut counter = PacketCounter::default();
            let count: usize = bytes.chunks(cut).map(|part| counter.count(part)).sum();
            assert_eq!(count, 2, "cut to {cut}");
        }
    }

    #[test]
    fn packets_in_tls_records_are_counted_together_and_alone() {
        let mut counter = PacketCounter::default();
        let mut hello = record(2_000);
        hello[0] = 0x16;
        assert_eq!(counter.count(&hello), 0);
        assert_eq!(counter.count(&record(2_438)), 1);
        assert_eq!(counter.count(&record(3 * 2_421 + 17)), 3);
        assert_eq!(counter.count(&record(40)), 0);
    }
}
