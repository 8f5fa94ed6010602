//! What the program says when it is called alone, and the tip below an error of usage.

use std::fmt::Write as _;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Error};

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

/// An error of usage with a tip, where clap itself has none
pub(crate) fn with_tip(mut error: Error) -> Error {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    let tip = match error.kind() {
        ErrorKind::InvalidSubcommand if error.get(ContextKind::SuggestedSubcommand).is_none() => {
            let word = text(ContextKind::InvalidSubcommand).unwrap_or_default();
            Some(match HABITS.iter().find(|(habit, _)| *habit == word) {
                Some((_, command)) => format!("here it is `natsbridge {command}`"),
                None => "`natsbridge` alone lists the commands".to_owned(),
            })
        }
        ErrorKind::UnknownArgument if error.get(ContextKind::SuggestedArg).is_none() => {
            let usage = error.get(ContextKind::Usage).map(ToString::to_string).unwrap_or_default();
            let option = text(ContextKind::InvalidArg).unwrap_or_default();
            if usage.contains("<COMMAND>") && option.starts_with("--") {
                Some(format!("write {option} behind the command, as in `natsbridge send lab.results {option} …`"))
            } else if option.starts_with('-') {
                None
            } else if ["natsbridge send", "natsbridge request"].iter().any(|command| usage.contains(command)) {
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
    }
}
