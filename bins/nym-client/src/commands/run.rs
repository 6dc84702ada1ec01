//! `nym-client run`.

use nym_daemon::exit::{ExitCode, Failure, cannot, say};
use nym_daemon::home::Home;
use nym_daemon::shutdown::Shutdown;

use super::client_config;
use crate::cli::RunArgs;
use crate::client::Client;

pub(crate) async fn execute(args: &RunArgs, home: &Home) -> Result<ExitCode, Failure> {
    let config = client_config(home, &args.id, &args.overrides())?;
    let shutdown = Shutdown::on_signals().map_err(cannot("watch for signals"))?;
    let mut client = Client::bind(config).await?;
    client.publish()?;
    let addresses = client.addresses();
    say(&format!(
        "The address of this client is: {}\n",
        addresses.recipient
    ));
    if let Some(address) = addresses.apps {
        say(&format!("Apps connect to: ws://{address}\n"));
    }
    client.run(shutdown.token()).await?;
    Ok(shutdown.exit_code())
}
