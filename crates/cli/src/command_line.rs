//! Reads the command line; a wrong one is answered as clap does, or with one JSON object.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{FromArgMatches, Parser, Subcommand};

use crate::args::{Cli, Format, Global};
use crate::help;
use crate::output::json_error;

/// The exit status of a wrong command line.
const USAGE: u8 = 2;

/// What stands before the command. clap forgets repeatable options from there once one comes after the command, too.
#[derive(Debug, Parser)]
#[command(name = "dl", disable_help_flag = true, disable_version_flag = true)]
struct GlobalOptions {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    _command: Option<AnyCommand>,
}

/// The command and what follows it, unread.
#[derive(Debug, Subcommand)]
#[allow(dead_code, reason = "it is only parsed over")]
enum AnyCommand {
    #[command(external_subcommand)]
    Any(Vec<OsString>),
}

/// What was typed, and apart from it the settings that stand before the command. The exit status if there is nothing to
/// run: help or versions were printed, or the command line is wrong.
pub(crate) fn read() -> Result<(Cli, Vec<String>), ExitCode> {
    let matches = help::command().try_get_matches();
    let mut cli = matches.and_then(|matches| Cli::from_arg_matches(&matches)).map_err(|e| refused(&e))?;
    if cli.global.json {
        // clap compares only options that are on the same side of the command.
        if !matches!(cli.global.format, Format::Table | Format::Json) {
            let message = "the argument '--json' cannot be used with another '--format <FORMAT>'";
            return Err(refused(&help::command().error(ErrorKind::ArgumentConflict, message)));
        }
        cli.global.format = Format::Json;
    }
    let before = GlobalOptions::try_parse().map(|before| before.global.settings).unwrap_or_default();
    Ok((cli, before))
}

fn refused(e: &clap::Error) -> ExitCode {
    let is_text = matches!(
        e.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    if !is_text && asks_for_json(std::env::args_os().skip(1)) {
        let text = e.render().to_string();
        // The first paragraph is the error, the others are the usage.
        let sentence = text.split("\n\n").next().unwrap_or_default();
        let words: Vec<_> = sentence.trim_start_matches("error: ").split_whitespace().collect();
        json_error("Usage", &words.join(" "), USAGE);
        return ExitCode::from(USAGE);
    }
    // A closed standard error has no reader.
    let _ = e.print();
    ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(USAGE))
}

/// Whether arguments that could not be parsed ask for JSON.
fn asks_for_json(arguments: impl Iterator<Item = OsString>) -> bool {
    let mut arguments = arguments.take_while(|argument| argument != "--").peekable();
    while let Some(argument) = arguments.next() {
        let next_is_json = arguments.peek().is_some_and(|next| next == "json");
        if argument == "--json" || argument == "--format=json" || (argument == "--format" && next_is_json) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_found_in_arguments_that_do_not_parse() {
        let check = |arguments: &str, expected| {
            assert_eq!(asks_for_json(arguments.split(' ').map(OsString::from)), expected, "{arguments}");
        };
        check("show --json", true);
        check("--format json show", true);
        check("show --format=json", true);
        check("show --format table json", false);
        check("show -- --json", false);
        check("show", false);
    }
}
