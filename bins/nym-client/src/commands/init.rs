//! `nym-client init`.

use nym_daemon::exit::{ExitCode, Failure, say};
use nym_daemon::home::Home;

use super::{note, waiting_for};
use crate::cli::InitArgs;
use crate::init::{GatewayChoice, InitOptions, init};

pub(crate) async fn execute(args: InitArgs, home: Home) -> Result<ExitCode, Failure> {
    let asked = args.gateway;
    let waiting = waiting_for("a gateway");
    let client = init(InitOptions {
        home,
        id: args.id,
        gateway: asked,
        overrides: args.common.overrides(),
        fast_mode: args.fastmode,
    })
    .await?;
    drop(waiting);
    let file = client.config_file.display();
    if client.existed {
        say(&format!(
            "Keys and gateway were kept, settings updated: {file}\n"
        ));
        let kept = client.recipient.gateway;
        if asked.is_some_and(|asked| asked != GatewayChoice::Identity(kept)) {
            note(&format!(
                "note: this client stays at its gateway, {kept}, because its address names it; \
                 for another gateway make another client: --id NAME"
            ));
        }
    } else {
        say(&format!("Configuration written: {file}\n"));
    }
    say(&format!(
        "The address of this client is: {}\n",
        client.recipient
    ));
    Ok(ExitCode::Success)
}
