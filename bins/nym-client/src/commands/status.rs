//! `nym-client status`.

use std::fmt::Write as _;
use std::time::Duration;

use nym_daemon::config::HumanDuration;
use nym_daemon::exit::{ExitCode, Failure, cannot, print_text};
use nym_daemon::home::Home;
use serde::Serialize;

use super::local_app::find;
use super::{JSON_VERSION, client_config, print_json};
use crate::cli::StatusArgs;
use crate::config::{ClientConfig, Overrides};
use crate::status::StatusReport;

/// How long a client may take to say how it does.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// What `--json` prints.
#[derive(Serialize)]
struct Shown<'a> {
    /// A report has one of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    running: bool,
    #[serde(flatten)]
    report: Option<&'a StatusReport>,
}

impl<'a> Shown<'a> {
    fn of(report: Option<&'a StatusReport>) -> Self {
        Self {
            version: report.is_none().then_some(JSON_VERSION),
            running: report.is_some(),
            report,
        }
    }
}

pub(crate) async fn execute(args: &StatusArgs, home: &Home) -> Result<ExitCode, Failure> {
    let config = client_config(home, &args.id, &Overrides::default())?;
    let report = ask(&config).await?;
    if args.json {
        print_json(&Shown::of(report.as_ref()))?;
    } else {
        print_text(&describe(args, report.as_ref()))?;
    }
    Ok(match report {
        Some(report) if report.is_ready() => ExitCode::Success,
        _ => ExitCode::Failure,
    })
}

/// What the running client says; `None` when it does not run.
async fn ask(config: &ClientConfig) -> Result<Option<StatusReport>, Failure> {
    let Some(address) = find(&config.id, config.key_files.data_dir()).await? else {
        return Ok(None);
    };
    let failed = || cannot::<reqwest::Error>("ask the client how it does");
    let client = reqwest::Client::builder()
        .no_proxy()
        // The app port is plain and on this machine; nobody has to vouch for it.
        .tls_certs_only([])
        .timeout(ANSWER_MAX)
        .build()
        .map_err(failed())?;
    let mut request = client.get(format!("http://{address}/status"));
    if let Some(token) = config.apps.as_ref().and_then(|apps| apps.token.as_ref()) {
        request = request.bearer_auth(token.reveal());
    }
    let answer = request.send().await.map_err(failed())?;
    let answer = answer.error_for_status().map_err(failed())?;
    Ok(Some(answer.json().await.map_err(failed())?))
}

fn describe(args: &StatusArgs, report: Option<&StatusReport>) -> String {
    let id = &args.id;
    let Some(report) = report else {
        return format!("client `{id}` is not running\n");
    };
    let yes_no = |yes| if yes { "yes" } else { "no" };
    let topology = report.topology_age_secs.map_or_else(
        || "none yet".to_owned(),
        |secs| format!("{} old", HumanDuration::from_secs(secs)),
    );
    let lines = [
        ("client", format!("{id} is running")),
        ("address", report.address.clone()),
        ("connected", yes_no(report.connected).to_owned()),
        ("topology", topology),
        ("apps", report.apps_connected.to_string()),
        (
            "unacknowledged",
            format!(
                "{} messages, {} bytes",
                report.unacknowledged_messages, report.unacknowledged_bytes
            ),
        ),
        (
            "left by apps",
            format!(
                "{} messages, {} bytes",
                report.untaken_messages, report.untaken_bytes
            ),
        ),
        (
            "packets sent",
            format!(
                "{} ({} cover, {} again), {:.1}/s",
                report.packets_sent,
                report.cover_packets_sent,
                report.retransmissions,
                report.packets_sent_per_second
            ),
        ),
        (
            "acknowledged",
            format!(
                "{}, {:.1}/s",
                report.acknowledgements_received, report.acknowledgements_received_per_second
            ),
        ),
        (
            "messages received",
            format!(
                "{}, {:.1}/s",
                report.messages_received, report.messages_received_per_second
            ),
        ),
    ];
    let mut text = String::new();
    for (name, value) in lines {
        let _ = writeln!(text, "{name:<18} {value}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::ClientStatus;

    #[test]
    fn every_member_is_there_once_whether_the_client_runs_or_not() {
        let recipient = "B9T7d6TL2NGh5q2VNf8BqJTxFFGoC2KA7UBMLguUZztQ.\
            HdpQStuC2biECtidWJ3mFEQZAoVBnexgtwXcyoNAViya@\
            65SkPxGjnPjm4VUXNZohzMuSAc9JKQzbuqwDWE5odCkm";
        let recipient = recipient.parse().unwrap();
        let report = StatusReport::new(&ClientStatus::default(), &recipient, 0);
        for report in [None, Some(&report)] {
            let line = serde_json::to_string(&Shown::of(report)).unwrap();
            for member in ["\"version\":1", "\"running\":"] {
                assert_eq!(line.matches(member).count(), 1, "{member} in {line}");
            }
        }
    }
}
