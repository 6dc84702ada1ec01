//! The validator as a 0.11 program asks it (validator.md, sections 2 to 4): requests byte for byte,
//! two ports, and lists that are read as a whole or not at all.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use nym_protocol::validator::query::{Page, unwrap_answer};
use nym_protocol::validator::{Bond, BondList, GatewayBond, MixNodeBond, Query, Topology};
use nym_tests::PATIENCE;

/// Where the complete lists are, whatever a program is told.
const API_PORT: u16 = 8080;

/// The version that a program requires of others.
const OWN_VERSION: &str = "0.11.0";

/// A validator, as `--validators` and `--mixnet-contract` name it.
#[derive(Clone)]
pub(crate) struct LegacyDirectory {
    rest: SocketAddr,
    contract: String,
}

impl LegacyDirectory {
    pub(crate) fn new(url: &str, contract: &str) -> Self {
        Self {
            rest: url.strip_prefix("http://").unwrap().parse().unwrap(),
            contract: contract.to_owned(),
        }
    }

    /// Both complete lists, filtered by version.
    pub(crate) fn topology(&self) -> Topology {
        let (mixnodes, gateways) = (self.mixnodes(), self.cached::<GatewayBond>("gateways"));
        Topology::from_bonds(&mixnodes, &gateways, |_, _| None, Some(OWN_VERSION)).0
    }

    /// What a mix node asks at its start.
    pub(crate) fn mixnodes(&self) -> Vec<MixNodeBond> {
        self.cached("mixnodes")
    }

    /// What a gateway asks at its start: page after page, until one is empty.
    pub(crate) fn gateways(&self) -> Vec<GatewayBond> {
        let mut bonds = Vec::new();
        let mut start_after = None;
        loop {
            let query = Query::gateways(start_after).to_base64();
            let contract = &self.contract;
            let target = format!("//wasm/contract/{contract}/smart/{query}?encoding=base64");
            let answer = unwrap_answer(&get(self.rest, &target)).unwrap();
            let page = Page::<GatewayBond>::parse(&answer).unwrap();
            bonds.extend(page.list.strict().unwrap());
            start_after = page.start_next_after;
            if start_after.is_none() {
                return bonds;
            }
        }
    }

    fn cached<B: Bond>(&self, list: &str) -> Vec<B> {
        let api = SocketAddr::new(self.rest.ip(), API_PORT);
        let body = get(api, &format!("//v1/{list}"));
        BondList::parse(&body).unwrap().strict().unwrap()
    }
}

/// The body of the answer to a request; its status does not matter.
fn get(server: SocketAddr, target: &str) -> String {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {target} HTTP/1.1\r\naccept: */*\r\nhost: {server}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = BufReader::new(stream);
    let mut len = None;
    loop {
        let mut line = String::new();
        answer.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            len = Some(value.trim().parse().unwrap());
        }
    }
    let mut body = vec![0; len.unwrap()];
    answer.read_exact(&mut body).unwrap();
    String::from_utf8(body).unwrap()
}
