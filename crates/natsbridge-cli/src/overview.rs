//! What the program says when it is called alone, and the tip below an error of usage.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Error};

use crate::output;

/// The commands in one line each, and where to begin: at most 24 lines
pub(crate) fn text(program: &Command) -> String {
    let about = program.get_about().map(ToString::to_string).unwrap_or_default();
    let mut text = format!("{about}\n\nUsage: natsbridge COMMAND [OPTIONS]\n\n");
    for command in program.get_subcommands().filter(|command| !command.is_hide_set()) {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let aliases: Vec<_> = command.get_visible_aliases().collect();
        let also = if aliases.is_empty() { String::new() } else { format!(" ({})", aliases.join(", ")) };
        // Writing to a string can't fail.
        let _ = writeln!(text, "  {:<11}  {about}{also}", command.get_name());
    }
    text + "\n`natsbridge COMMAND -h` shows the options of a command and examples,\n`natsbridge doctor` whether all is ready."
}

/// What people write out of habit, and what does it here
const HABITS: [(&str, &str); 12] = [
    ("upload", "send"),
    ("put", "send"),
    ("download", "receive"),
    ("get", "receive"),
    ("fileserver", "serve"),
    ("ping", "doctor"),
    ("status", "doctor"),
    ("monitor", "watch"),
    ("top", "watch"),
    ("context", "profile"),
    ("config", "profile"),
    ("completion", "completions"),
];

/// Options that people write out of habit: the command and the option that does it here, the habits, what to write
const OPTION_HABITS: [(&str, &[&str], &str); 3] = [
    ("send request", &["--msg", "--message"], "write --text msg='hello'"),
    ("send request", &["--csv", "--arrowtable", "--json-table", "--jsontable"], "write --table NAME=@FILE"),
    ("receive", &["--timeout"], "write --for 5s"),
];

/// Prints an error of usage, wrapped as our other errors where that is a terminal; or the help that was asked for
pub(crate) fn report(error: Error) -> ExitCode {
    let error = with_tip(error);
    if !error.use_stderr() {
        error.exit();
    }
    let text = error.render().to_string();
    let lines: Vec<_> = text.trim_end().lines().map(hanging).collect();
    let text = lines.join("\n");
    output::note(&match text.strip_prefix("error:") {
        Some(rest) => format!("{}{rest}", output::stderr_style().red("error:")),
        None => text,
    });
    ExitCode::from(2)
}

/// A line as it is indented, and further to the right where it goes on
fn hanging(line: &str) -> String {
    let text = line.trim_start();
    let indent = line.get(..line.len() - text.len()).unwrap_or_default();
    format!("{indent}{}", output::hanging(text, indent.len(), &format!("{indent}    ")))
}

/// An error of usage with a tip, where clap itself has none, or one that misleads
fn with_tip(mut error: Error) -> Error {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    let similar = text(ContextKind::SuggestedArg);
    let word = text(ContextKind::InvalidSubcommand).unwrap_or_default();
    let option = text(ContextKind::InvalidArg).unwrap_or_default();
    let tip = match error.kind() {
        ErrorKind::InvalidSubcommand if error.get(ContextKind::SuggestedSubcommand).is_none() => {
            Some(match HABITS.iter().find(|(habit, _)| *habit == word) {
                Some((_, command)) => format!("here it is `natsbridge {command}`"),
                None => "`natsbridge` alone lists the commands".to_owned(),
            })
        }
        ErrorKind::UnknownArgument => {
            let usage = error.get(ContextKind::Usage).map(ToString::to_string).unwrap_or_default();
            let is_of = |command: &str| usage.contains(&format!("natsbridge {command} "));
            let habit = OPTION_HABITS
                .iter()
                .find(|(commands, habits, _)| habits.contains(&&*option) && commands.split(' ').any(is_of));
            // Only a command that passes arguments on has use for words behind `--`.
            if !is_of("reply") {
                error.remove(ContextKind::Suggested);
            }
            // clap finds an option similar that has no more than some letters in common, and shows it in the usage too.
            let similar = similar.unwrap_or_default();
            if habit.is_some() || similar.get(..3) != option.get(..3) {
                error.remove(ContextKind::SuggestedArg);
            }
            if !similar.is_empty() && error.get(ContextKind::SuggestedArg).is_none() {
                error.remove(ContextKind::Usage);
            }
            if let Some((_, _, tip)) = habit {
                Some((*tip).to_owned())
            } else if error.get(ContextKind::SuggestedArg).is_some() {
                None
            } else if usage.contains("<COMMAND>") && option.starts_with("--") {
                Some(format!("write {option} behind the command, as in `natsbridge send lab.results {option} …`"))
            } else if option.starts_with('-') {
                None
            } else if ["send", "request"].into_iter().any(is_of) {
                Some("a value with spaces needs quotes; payloads are options, such as --text note='hello'".to_owned())
            } else {
                // A shell may have made names of files of it.
                Some("a subject with `*` or `>` needs quotes in a shell, such as 'lab.>'".to_owned())
            }
        }
        _ => None,
    };
    if let Some(tip) = tip {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(tip)]));
    }
    error
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use unicode_width::UnicodeWidthStr as _;

    use super::*;

    #[test]
    fn program_alone_says_what_there_is_on_one_screen() {
        let text = text(&crate::Cli::command());
        assert!(text.lines().count() <= 24, "{} lines:\n{text}", text.lines().count());
        for line in text.lines() {
            assert!(line.width() <= 80, "{line}");
        }
        for command in ["send", "receive", "doctor", "profile"] {
            assert!(text.contains(&format!("\n  {command} ")), "{text}");
        }
    }

    #[test]
    fn habits_lead_to_commands_that_exist() {
        let program = crate::Cli::command();
        for (habit, command) in HABITS {
            assert!(program.find_subcommand(command).is_some() && program.find_subcommand(habit).is_none(), "{habit}");
        }
        for (commands, habits, tip) in OPTION_HABITS {
            for command in commands.split(' ').map(|name| program.find_subcommand(name).unwrap()) {
                let has = |option: &str| {
                    let names = command.get_arguments().filter_map(|arg| arg.get_long());
                    option.strip_prefix("--").is_some_and(|option| names.into_iter().any(|name| name == option))
                };
                assert!(tip.split(' ').any(has) && !habits.iter().any(|habit| has(habit)), "{tip}");
            }
        }
    }
}
