//! `natsbridge files`: care for the embedded file server's folder while no server runs on it.

use std::path::PathBuf;

use clap::{Args, Subcommand};

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
    /// Erase expired uploads, and what a killed server left half done
    ///
    /// A running server does this by itself; sweep is for a folder whose server
    /// is not running.
    #[command(after_help = SWEEP_EXAMPLES)]
    Sweep {
        /// The folder that was given to `natsbridge serve`
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
}

const SWEEP_EXAMPLES: &str = "\
Examples:
  natsbridge files sweep --dir files
  0 3 * * *  natsbridge files sweep --dir /srv/files    (a line of crontab)
";

impl Files {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let Action::Sweep { dir } = &self.action;
        let swept = natsbridge::server::sweep(dir)?;
        let uploads = if swept.uploads == 1 { "upload" } else { "uploads" };
        output::line(&format!("{} {uploads} erased, {}", swept.uploads, units::shown(swept.bytes)))
    }
}
