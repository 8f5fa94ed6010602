//! `natsbridge completions` and `natsbridge man`: what shells and `man` know of the command line, made from itself.

use std::io;
use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::failure::Failure;
use crate::output;

/// Print completions for a shell
#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS_EXAMPLES)]
pub(crate) struct Completions {
    /// Shell to write completions for
    shell: Shell,
}

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  natsbridge completions bash > /etc/bash_completion.d/natsbridge
  natsbridge completions zsh > ~/.zfunc/_natsbridge
  natsbridge completions fish > ~/.config/fish/completions/natsbridge.fish
";

impl Completions {
    pub(crate) fn run(&self, mut program: Command) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut program, "natsbridge", &mut script);
        output::line(String::from_utf8_lossy(&script).trim_end()).map_err(Failure::output)
    }
}

/// Print a manual page, or write all of them
#[derive(Debug, Args)]
#[command(after_help = MAN_EXAMPLES)]
pub(crate) struct Manual {
    /// Command to describe; the whole program by default
    command: Option<String>,
    /// Write the pages of all commands into this folder, made if it is absent
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    dir: Option<PathBuf>,
}

const MAN_EXAMPLES: &str = "\
Examples:
  natsbridge man send | man -l -
  natsbridge man --dir ~/.local/share/man/man1
";

impl Manual {
    pub(crate) fn run(&self, mut program: Command) -> Result<(), Failure> {
        if let Some(dir) = &self.dir {
            let refused = |source| Failure::system(format!("cannot write manual pages into {}", dir.display()), source);
            let written = std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(program, dir));
            return written.map_err(refused);
        }
        // Names each command in full, `natsbridge send`.
        program.build();
        let command = match &self.command {
            None => program,
            Some(name) => match program.find_subcommand(name) {
                Some(command) => command.clone(),
                None => return Err(Failure::Usage(format!("there is no command `{name}`; see `natsbridge --help`"))),
            },
        };
        let mut page = Vec::new();
        let made = Man::new(command).render(&mut page);
        made.map_err(|source: io::Error| Failure::system("cannot make the manual page", source))?;
        output::line(String::from_utf8_lossy(&page).trim_end()).map_err(Failure::output)
    }
}
