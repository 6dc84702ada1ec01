use clap::CommandFactory as _;
use clap::error::ErrorKind;

use super::*;
use crate::init::GatewayChoice;

const ADDRESS: &str = "GsugBcLyNHtP1BEuz3e97Fv1qNjR9oezXsWQ88epp5F8.\
    7AiD8RdLbuqBEXfDcA4ddYJWw6qVBRez4E3E8cX5h7P3@65SkPxGjnPjm4VUXNZohzMuSAc9JKQzbuqwDWE5odCkm";

fn parse(words: &[&str]) -> Result<Command, clap::Error> {
    let line = [&["nym-client"][..], words].concat();
    Cli::try_parse_from(line).map(|cli| cli.command.unwrap())
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn the_banner_names_the_program_its_version_the_protocol_and_every_command() {
    let banner = banner();
    let version = env!("CARGO_PKG_VERSION");
    for said in [
        "client",
        version,
        "protocol 0.11.0",
        "usage: nym-client",
        "--help",
    ] {
        assert!(banner.contains(said), "{banner}");
    }
    for command in Cli::command().get_subcommands() {
        let line = format!("\n  {:<12} ", command.get_name());
        assert!(banner.contains(&line), "{line} in {banner}");
    }
    assert!(
        Cli::try_parse_from(["nym-client"])
            .unwrap()
            .command
            .is_none()
    );
}

#[test]
fn validators_are_a_comma_separated_list() {
    let words = [
        "run",
        "--id",
        "a",
        "--validators",
        "http://a,http://b",
        "-p",
        "5",
    ];
    let Command::Run(args) = parse(&words).unwrap() else {
        panic!("`run` is a command");
    };
    let overrides = args.overrides();
    assert_eq!(overrides.validators.unwrap(), ["http://a", "http://b"]);
    assert_eq!(overrides.port, Some(5));
}

#[test]
fn a_gateway_is_chosen_by_name_or_by_speed() {
    let chosen = |gateway: &str| match parse(&["init", "--id", "a", "--gateway", gateway]) {
        Ok(Command::Init(args)) => args.gateway,
        _ => None,
    };
    assert_eq!(chosen("fastest"), Some(GatewayChoice::Fastest));
    let identity = "65SkPxGjnPjm4VUXNZohzMuSAc9JKQzbuqwDWE5odCkm";
    assert_eq!(
        chosen(identity),
        Some(GatewayChoice::Identity(identity.parse().unwrap()))
    );
    assert_eq!(chosen("slowest"), None);
}

#[test]
fn a_message_goes_to_an_address_or_answers_a_tag() {
    let to = |to: &str| match parse(&["send", "--id", "a", "--to", to, "hi"]) {
        Ok(Command::Send(args)) => Some(args.to),
        _ => None,
    };
    let address = Box::new(ADDRESS.parse().unwrap());
    assert_eq!(to(ADDRESS), Some(Destination::Address(address)));
    let tag = nym_protocol::app::SenderTag::from_bytes([7; 16]);
    assert_eq!(to(&tag.to_string()), Some(Destination::Tag(tag)));
    assert_eq!(to("bob"), None);
}

#[test]
fn a_wrong_address_is_explained_part_by_part() {
    let error = parse(&[
        "send",
        "--id",
        "a",
        "--to",
        &ADDRESS.replace('@', "."),
        "hi",
    ]);
    let said = error.unwrap_err().to_string();
    assert!(said.contains("gateway"), "{said}");
}

#[test]
fn wrong_words_are_refused() {
    for wrong in [
        &["run"][..],
        &["run", "--id", "../a"],
        &["run", "--id", "a", "--gateway", "0"],
        &["run", "--id", "a", "--gateway", "fastest"],
        &["run", "--id", "a", "--port", "65536"],
        &["run", "--id", "a", "--fastmode"],
        &["send", "--id", "a", "hi"],
        &["send", "--id", "a", "--to", ADDRESS, "hi", "--file", "f"],
        &[
            "send",
            "--id",
            "a",
            "--to",
            ADDRESS,
            "hi",
            "--no-wait",
            "--timeout",
            "1s",
        ],
        &[
            "send",
            "--id",
            "a",
            "--to",
            ADDRESS,
            "hi",
            "--timeout",
            "soon",
        ],
        &["listen", "--id", "a", "--json", "--exec", "cat"],
        &["gateways", "--id", "a", "--validators", "http://a"],
        &["completions", "tcsh"],
        &["config"],
        &["fly"],
    ] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_mistyped_flag_gets_the_nearest_one() {
    let error = parse(&["send", "--id", "a", "--to", ADDRESS, "--flie", "f"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownArgument);
    assert!(error.to_string().contains("'--file'"), "{error}");
}

#[test]
fn the_help_of_every_command_documents_the_exit_status_or_the_first_page_does() {
    let mut command = Cli::command();
    let first = command.render_long_help().to_string();
    for said in [
        "0 success",
        "1 failure",
        "2 usage",
        "3 not delivered",
        "130",
    ] {
        assert!(first.contains(said), "{first}");
    }
}
