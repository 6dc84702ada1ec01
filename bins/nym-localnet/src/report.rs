//! What the person at the terminal sees.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use nym_client_core::EngineConfig;
use nym_packet::address::Recipient;

use crate::hello::{HELLO, Hello};
use crate::join::quoted;

/// The network that is up: who is where.
#[derive(Debug)]
pub struct Map {
    /// What nodes and clients ask for the topology, as URL.
    pub validator: String,
    /// What 0.11 programs need to join, if they may.
    pub join: Option<String>,
    /// Names of the mix nodes of each layer.
    pub layers: [Vec<(String, SocketAddr)>; 3],
    /// The gateways: name and where packets arrive.
    pub gateways: Vec<(String, SocketAddr)>,
    /// The clients: name, where apps connect, address, gateway.
    pub clients: Vec<ClientEntry>,
    /// Where everything is kept, and whether it stays after the end.
    pub dir: (std::path::PathBuf, bool),
}

/// A client on the map.
#[derive(Debug)]
pub struct ClientEntry {
    /// Its name.
    pub name: String,
    /// Where apps connect.
    pub apps: SocketAddr,
    /// Where others send to.
    pub recipient: Recipient,
    /// The name of its gateway.
    pub gateway: String,
}

impl Map {
    fn names(&self) -> BTreeMap<SocketAddr, &str> {
        let mixnodes = self.layers.iter().flatten();
        mixnodes
            .chain(&self.gateways)
            .map(|(name, at)| (*at, name.as_str()))
            .collect()
    }
}

impl fmt::Display for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  validator     {}", self.validator)?;
        for (index, layer) in self.layers.iter().enumerate() {
            writeln!(f, "  mix layer {}   {}", index + 1, list(layer))?;
        }
        writeln!(f, "  gateways      {}", list(&self.gateways))?;
        let names: Vec<_> = self
            .clients
            .iter()
            .map(|client| format!("{} (at {})", client.name, client.gateway))
            .collect();
        writeln!(f, "  clients       {}", names.join(", "))
    }
}

fn list(nodes: &[(String, SocketAddr)]) -> String {
    let nodes: Vec<_> = nodes
        .iter()
        .map(|(name, at)| format!("{name} {at}"))
        .collect();
    nodes.join(", ")
}

/// The journey of the first message, hop by hop.
#[must_use]
pub fn journey(map: &Map, hello: &Hello, engine: &EngineConfig) -> String {
    let [from, to] = [0, 1].map(|index| map.clients.get(index));
    let name = |client: Option<&ClientEntry>| client.map_or("?", |client| &client.name).to_owned();
    let (from_name, to_name) = (name(from), name(to));
    let mut text = format!("{from_name} → {to_name}: \"{HELLO}\"\n\n");
    line(
        &mut text,
        Some(Duration::ZERO),
        &format!("{from_name}'s app hands it to its client"),
    );

    if let (Some(journey), Some(left_after)) = (&hello.journey, hello.left_after) {
        line(
            &mut text,
            Some(left_after),
            "a slot of the client's Poisson stream takes it",
        );
        if let Some(from) = from {
            line(
                &mut text,
                None,
                &format!("gateway      {:<9} forwards it at once", from.gateway),
            );
        }
        let names = map.names();
        for (index, hop) in journey.hops.iter().enumerate() {
            let at = hop.socket_addr();
            let name = names.get(&at).copied().unwrap_or("unknown");
            let what = match journey.delays.get(index) {
                Some(delay) => {
                    let held = millis(Duration::from_nanos(delay.as_nanos()));
                    format!(
                        "mix layer {}  {name:<9} peels a layer, holds it {held:>6} ms",
                        index + 1
                    )
                }
                None => format!("gateway      {name:<9} pushes it to {to_name}'s client"),
            };
            line(&mut text, None, &what);
        }
    }
    line(
        &mut text,
        Some(hello.total),
        &format!("{to_name}'s app receives \"{}\"", hello.received),
    );

    let expected = engine.message_sending_average_delay + engine.average_packet_delay * 3;
    let _ = write!(
        text,
        "\n  {} ms in all: {} ms until a slot, {} ms of drawn delays, {} ms for all else.\n  \
         {} ms are expected on average: {} ms until a slot and 3 × {} ms of delays.\n",
        millis(hello.total),
        millis(hello.left_after.unwrap_or_default()),
        millis(hello.drawn()),
        millis(hello.overhead()),
        millis(expected),
        millis(engine.message_sending_average_delay),
        millis(engine.average_packet_delay),
    );
    text
}

/// What many messages tell: medians and 95th percentiles.
#[must_use]
pub fn summary(hellos: &[Hello], engine: &EngineConfig) -> String {
    let expected = engine.message_sending_average_delay + engine.average_packet_delay * 3;
    let row = |name: &str, of: fn(&Hello) -> Duration| {
        let mut sorted: Vec<_> = hellos.iter().map(of).collect();
        sorted.sort_unstable();
        let at = |percent: usize| {
            let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
            millis(sorted.get(index).copied().unwrap_or_default())
        };
        let mean =
            sorted.iter().sum::<Duration>() / u32::try_from(sorted.len().max(1)).unwrap_or(1);
        format!(
            "  {name:<26}{:>9}{:>9}{:>9}\n",
            at(50),
            at(95),
            millis(mean)
        )
    };
    format!(
        "{} messages, in ms           median      95 %     mean\n{}{}{}{}\
         On average {} ms are expected.\n",
        hellos.len(),
        row("in all", |hello| hello.total),
        row("until a slot", |hello| hello.left_after.unwrap_or_default()),
        row("drawn delays", Hello::drawn),
        row("all else", Hello::overhead),
        millis(expected),
    )
}

/// How to use the network that is up.
#[must_use]
pub fn how_to_connect(map: &Map) -> String {
    let mut text = String::from("Connect an app by websocket:\n\n");
    for client in &map.clients {
        let _ = writeln!(
            text,
            "  {:<8} ws://localhost:{}",
            client.name,
            client.apps.port()
        );
        let _ = writeln!(text, "           {}", client.recipient);
    }
    let (dir, kept) = &map.dir;
    if let [from, to, ..] = map.clients.as_slice() {
        let _ = write!(
            text,
            "\nFrom the command line:\n\n  \
             export NYM_HOME={}\n  \
             nym-client send --id {from} --to \"$(nym-client address --id {to})\" '{HELLO}'\n  \
             nym-client listen --id {to}\n",
            quoted(dir),
            from = from.name,
            to = to.name,
        );
    }
    if let Some(join) = &map.join {
        let _ = write!(text, "\n{join}");
    }
    let fate = if *kept {
        "stays"
    } else {
        "is removed at the end"
    };
    let _ = write!(
        text,
        "\nKeys and inboxes are in {}, which {fate}.\nCtrl-C stops the network.\n",
        dir.display()
    );
    text
}

fn line(text: &mut String, at: Option<Duration>, what: &str) {
    let time = at.map_or_else(String::new, |at| format!("{} ms", millis(at)));
    let _ = writeln!(text, "  {time:>10}  {what}");
}

/// Milliseconds with one digit behind the point.
fn millis(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1_000.0)
}

#[cfg(test)]
mod tests {
    use nym_client_core::Journey;
    use nym_packet::address::HopAddress;
    use sphinx::Delay;

    use super::*;

    fn at(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[test]
    fn the_times_of_a_journey_add_up_to_the_total() {
        let text = render();
        assert!(
            text.contains(
                "  100.0 ms in all: 10.0 ms until a slot, 60.0 ms of drawn delays, \
                 30.0 ms for all else."
            ),
            "{text}"
        );
    }

    #[test]
    fn a_journey_names_three_mix_layers_and_both_gateways() {
        let text = render();
        for hop in [
            "mix layer 1  a",
            "mix layer 2  b",
            "mix layer 3  c",
            "gateway      gw1",
        ] {
            assert!(text.contains(hop), "{hop} is not in\n{text}");
        }
    }

    fn render() -> String {
        let node = |name: &str, port| vec![(name.to_owned(), at(port))];
        let map = Map {
            validator: "http://127.0.0.1:1".to_owned(),
            join: None,
            layers: [node("a", 1), node("b", 2), node("c", 3)],
            gateways: node("gw1", 4),
            clients: Vec::new(),
            dir: ("/tmp".into(), false),
        };
        let hello = Hello {
            received: HELLO.to_owned(),
            left_after: Some(Duration::from_millis(10)),
            total: Duration::from_millis(100),
            journey: Some(Journey {
                message: nym_client_core::MessageId::FIRST,
                attempt: 1,
                hops: (1..=4).map(|port| HopAddress::new(at(port))).collect(),
                delays: [10, 20, 30]
                    .map(|ms| Delay::from_nanos(ms * 1_000_000))
                    .to_vec(),
            }),
        };
        journey(&map, &hello, &EngineConfig::default())
    }
}
