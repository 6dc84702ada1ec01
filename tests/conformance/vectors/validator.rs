//! The vectors of `tests/vectors/validator`.

use nym_protocol::validator::{
    Bond, BondList, GatewayBond, LayerDistribution, MixNodeBond, Query, Topology, ValidatorUrl,
    is_compatible,
    query::{Page, unwrap_answer},
    url::CachedList,
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
use serde_json::{Value, json};

use super::case::Case;

super::vector_files! {
    "validator":
    http => "http.json", |file| {
        file.each("calls", call);
        file.each("failures", failure);
        file.each("query_encoding", query_encoding);
    };
    topology => "topology.json", |file| file.each("cases", nodes_of_bonds);
    versions => "versions.json", |file| file.each("cases", version);
}

fn call(value: &Value) {
    let case = Case::new(value);
    let url: ValidatorUrl = case.text("base_url").parse().unwrap();
    let bodies: Vec<_> = case
        .list("bodies")
        .iter()
        .map(|body| body.as_str().expect("a body is text"))
        .collect();
    let limit = || {
        let limit = case.field("page_limit").as_u64();
        limit.map(|limit| u32::try_from(limit).expect("a page limit fits 32 bits"))
    };
    let name = case.text("call");
    let (urls, result) = match name {
        "all mixnodes (paged contract query)" => {
            let contract = case.text("contract");
            let limit = limit();
            paged::<MixNodeBond>(&bodies, |start_after| {
                url.contract_query(contract, &Query::GetMixNodes { limit, start_after })
            })
        }
        "all gateways (paged contract query)" => {
            let contract = case.text("contract");
            let limit = limit();
            paged::<GatewayBond>(&bodies, |start_after| {
                url.contract_query(contract, &Query::GetGateways { start_after, limit })
            })
        }
        "layer distribution (contract query)" => {
            let contract = case.text("contract");
            let urls = vec![url.contract_query(contract, &Query::LayerDistribution {})];
            let answer = unwrap_answer(bodies[0]).unwrap();
            (urls, json!(LayerDistribution::parse(&answer).unwrap()))
        }
        "cached mixnodes (validator-api)" => {
            let list = BondList::<MixNodeBond>::parse(bodies[0]).unwrap();
            let url = url.cached_list(CachedList::Mixnodes);
            (vec![url], identities(&list.strict().unwrap()))
        }
        "cached gateways (validator-api)" => {
            let list = BondList::<GatewayBond>::parse(bodies[0]).unwrap();
            let url = url.cached_list(CachedList::Gateways);
            (vec![url], identities(&list.strict().unwrap()))
        }
        other => panic!("unknown call `{other}`"),
    };
    let port = case
        .get("port")
        .map_or(1317, |port| port.as_u64().expect("a port is a number"));
    let authority = format!("http://127.0.0.1:{port}");
    let requests: Vec<_> = urls
        .iter()
        .map(|url| {
            url.strip_prefix(&authority)
                .unwrap_or_else(|| panic!("{url}: {authority}"))
        })
        .map(|target| format!("GET {target} HTTP/1.1"))
        .collect();
    assert_eq!(json!(requests), *case.field("requests"));
    let expected = case.get("result_identities").or_else(|| case.get("result"));
    assert_eq!(Some(&result), expected);
    case.finish();
}

/// Asks for page after page as a client does; gives the URLs and the identity keys.
fn paged<B: Bond>(bodies: &[&str], url: impl Fn(Option<String>) -> String) -> (Vec<String>, Value) {
    let (mut urls, mut bonds) = (Vec::new(), Vec::<B>::new());
    let mut start_after = None;
    for body in bodies {
        urls.push(url(start_after));
        let page = Page::parse(&unwrap_answer(body).unwrap()).unwrap();
        bonds.extend(page.list.strict().unwrap());
        start_after = page.start_next_after;
    }
    assert_eq!(start_after, None, "the last page has no successor");
    (urls, identities(&bonds))
}

fn identities<B: Bond>(bonds: &[B]) -> Value {
    bonds.iter().map(B::identity_key).collect()
}

/// The reference fails as a whole; so does the strict reading. The reading that our clients use
/// sets malformed bonds aside.
fn failure(value: &Value) {
    let case = Case::new(value);
    let _ = (case.text("name"), case.get("status"));
    let expected = case
        .field("outcome")
        .get("ok")
        .map(|count| usize::try_from(count.as_u64().unwrap()).expect("a count fits"));
    let Some(body) = case.get("body") else {
        // Nothing was received, so there is nothing to parse.
        assert_eq!(expected, None);
        case.text("call");
        return case.finish();
    };
    let body = body.as_str().expect("a body is text");
    let list = match case.text("call") {
        "contract query" => unwrap_answer(body)
            .ok()
            .and_then(|answer| Page::<MixNodeBond>::parse(&answer).ok())
            .map(|page| page.list),
        "cached mixnodes" => BondList::<MixNodeBond>::parse(body).ok(),
        other => panic!("unknown call `{other}`"),
    };
    if let Some(list) = &list {
        let all: Vec<Value> = serde_json::from_str(body).unwrap_or_default();
        let is_list = body.trim_start().starts_with('[');
        assert!(!is_list || list.bonds.len() + list.rejected.len() == all.len());
    }
    let strict = list
        .and_then(|list| list.strict().ok())
        .map(|bonds| bonds.len());
    assert_eq!(strict, expected);
    case.finish();
}

fn query_encoding(value: &Value) {
    let case = Case::new(value);
    let query = match case.text("name") {
        "get_mix_nodes" => Query::mix_nodes(None),
        "get_gateways" => Query::gateways(None),
        "layer_distribution" => Query::LayerDistribution {},
        other => panic!("unknown query `{other}`"),
    };
    assert_eq!(query.to_json(), case.text("json"));
    assert_eq!(query.to_base64(), case.text("base64"));
    assert_eq!(Query::from_base64(case.text("base64")).unwrap(), query);
    case.finish();
}

fn nodes_of_bonds(value: &Value) {
    let case = Case::new(value);
    let _ = case.text("name");
    let mixnodes: Vec<MixNodeBond> =
        serde_json::from_value(case.field("mixnodes").clone()).unwrap();
    let gateways: Vec<GatewayBond> =
        serde_json::from_value(case.field("gateways").clone()).unwrap();
    let build = |required| {
        let resolve =
            |host: &str, port| (host == "localhost").then(|| ([127, 0, 0, 1], port).into());
        Topology::from_bonds(&mixnodes, &gateways, resolve, required).0
    };
    let filtered = build(Some(case.text("client_version")));
    compare(&build(None), case.field("unfiltered"));
    compare(&filtered, case.field("filtered"));

    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let route = filtered
        .random_gateway(&mut rng)
        .map(|gateway| gateway.identity)
        .and_then(|gateway| filtered.random_route(&mut rng, &gateway).ok());
    assert_eq!(
        json!(route.map(|route| route.hops().len())),
        *case.field("route_length")
    );
    case.finish();
}

fn compare(topology: &Topology, expected: &Value) {
    let expected = Case::new(expected);
    let layers = expected.field("layers");
    let numbers: Vec<_> = layers
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert!(
        numbers
            .iter()
            .all(|number| ["1", "2", "3"].contains(number)),
        "{numbers:?}"
    );
    for (number, layer) in (1_u8..).zip(&topology.layers) {
        assert!(layer.iter().all(|node| node.layer == number));
        let found: Value = layer
            .iter()
            .map(|node| {
                json!({
                    "identity": node.identity.to_string(),
                    "mix_host": node.mix_address.to_string(),
                })
            })
            .collect();
        // The record has no entry for a layer that no bond names.
        let empty = json!([]);
        assert_eq!(
            found,
            *layers.get(number.to_string()).unwrap_or(&empty),
            "layer {number}"
        );
    }
    let gateways: Value = topology
        .gateways
        .iter()
        .map(|gateway| {
            json!({
                "clients_address": gateway.client_address,
                "identity": gateway.identity.to_string(),
                "mix_host": gateway.mix_address.to_string(),
            })
        })
        .collect();
    assert_eq!(gateways, *expected.field("gateways"));
    assert_eq!(topology.is_routable(), *expected.field("routable_3_hops"));
    expected.finish();
}

fn version(value: &Value) {
    let case = Case::new(value);
    let compatible = is_compatible(case.text("node"), case.text("required"));
    assert_eq!(compatible, *case.field("compatible"));
    case.finish();
}
