//! `natsbridge files`: care for the embedded file server's folder while no server runs on it.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::failure::Failure;
use crate::{output, units};

/// Look after a folder of `natsbridge serve`
#[derive(Debug, Args)]
pub(crate) struct Files {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Erase expired uploads, and what a killed server left unfinished
    ///
    /// A running server does this by itself; sweep is for a folder whose server
    /// is not running.
    #[command(after_help = SWEEP_EXAMPLES)]
    Sweep {
        /// The folder that was given to `natsbridge serve`
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// Print what was erased as a JSON line
        #[arg(long)]
        json: bool,
    },
}

const SWEEP_EXAMPLES: &str = "\
Examples:
  natsbridge files sweep --dir files
  0 3 * * *  natsbridge files sweep --dir /srv/files    (a line of crontab)
  natsbridge files sweep --dir files --json | jq .bytes
";

impl Files {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let Action::Sweep { dir, json } = &self.action;
        let swept = natsbridge::server::sweep(dir)?;
        if *json {
            return output::line(&output::json(&json!({ "uploads": swept.uploads, "bytes": swept.bytes })))
                .map_err(Failure::output);
        }
        let uploads = if swept.uploads == 1 { "upload" } else { "uploads" };
        output::line(&format!("{} {uploads} erased, {}", swept.uploads, units::shown(swept.bytes)))
            .map_err(Failure::output)
    }
}
