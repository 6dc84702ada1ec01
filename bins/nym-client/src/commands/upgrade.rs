//! `nym-client upgrade`.

use nym_daemon::exit::{ExitCode, Failure, say};
use nym_daemon::home::{Home, Kind};

use super::{config_file, note};
use crate::cli::UpgradeArgs;
use crate::config::FileConfig;
use crate::keys::KeyFiles;
use crate::upgrade::upgrade;

pub(crate) fn execute(args: &UpgradeArgs, home: &Home) -> Result<ExitCode, Failure> {
    let file = config_file(home, &args.id)?;
    let data_dir = home.program(Kind::Client, &args.id).data_dir();
    let new = FileConfig::new(
        args.id.as_str(),
        &KeyFiles::in_dir(&data_dir),
        &data_dir,
        &home.of_kind(Kind::Client),
    );
    let upgraded = upgrade(&file, &new, args.current_version.as_deref())?;
    let shown = file.display();
    let Some(backup) = &upgraded.backup else {
        say(&format!("{shown} is up to date\n"));
        return Ok(ExitCode::Success);
    };
    for key in &upgraded.dropped {
        note(&format!("dropped, as nothing reads it any more: {key}"));
    }
    let from = &upgraded.from;
    let backup = backup.display();
    say(&format!(
        "{shown} is upgraded from {from}; as it was: {backup}\n"
    ));
    Ok(ExitCode::Success)
}
