//! The command to type next, for each kind of result.

use std::{env, fmt, time::Duration};

use host_harness::race::{
    scenario::Expectation,
    search::{LeftOff, Report},
};

use super::{Arguments, inputs::Inputs};

/// A line of a command is broken where it would be longer.
const COLUMNS: usize = 80;
/// Of files that are alike so many are named.
const FILES: usize = 3;
/// So much more time or memory is tried next.
const MORE: u32 = 10;

/// What to type next: for what broke, for what is not complete, for what could not be asked.
pub(super) fn next(arguments: &Arguments, inputs: &Inputs, reports: &[Report]) -> String {
    let again = CommandLine::of_this_process();
    let mut next = Next::default();
    broken(arguments, reports, &again, &mut next);
    incomplete(arguments, reports, &again, &mut next);
    not_asked(arguments, inputs, reports, &again, &mut next);
    if next.0.is_empty() {
        let refuted =
            reports.iter().any(|report| report.expect == Some(Expectation::Broken) && report.first.is_none());
        if refuted {
            next.add("no schedule breaks it: correct the filter or `expect`, and then", [again]);
        } else if arguments.whole_callbacks {
            next.add("callbacks are held inside as well", [again.without("--whole-callbacks")]);
        } else if arguments.all {
            next.add("a filter of your own", [CommandLine::new(&["explore", "FILTER.wasm"])]);
        } else if inputs.is_default {
            let module = reports.first().map_or("FILTER.wasm", |report| &report.module);
            let scenario = CommandLine::new(&["explore", module, "SCENARIO.yaml"]);
            next.add(
                "nothing is left to run: say what else must hold (host-harness/SCENARIOS.md), and",
                [scenario],
            );
        } else {
            next.add("nothing is left to run: say in the scenario what else must hold, and", [again]);
        }
    }
    next.to_string()
}

fn broken(arguments: &Arguments, reports: &[Report], again: &CommandLine, next: &mut Next) {
    let (unexpected, expected): (Vec<&Report>, Vec<&Report>) =
        reports.iter().filter(|report| report.first.is_some()).partition(|report| !report.is_as_expected());
    for (reports, command, comment) in [
        (&unexpected, "explain", "what broke it, and from which step on it had to"),
        (&expected, "replay", "what was found, once more"),
    ] {
        let files = reports.iter().filter_map(|report| report.kept.as_ref());
        next.add(comment, files.take(FILES).map(|kept| CommandLine::new(&[command, &kept.file])));
    }
    if arguments.out.is_none() && !(unexpected.is_empty() && expected.is_empty()) {
        let comment = "keep the schedule that broke it, to be replayed and explained";
        next.add(comment, [again.with("--out", "races")]);
    }
}

fn incomplete(arguments: &Arguments, reports: &[Report], again: &CommandLine, next: &mut Next) {
    let incomplete: Vec<&Report> = reports.iter().filter(|report| !report.not_reached().is_empty()).collect();
    let ended = |reason| {
        let mut phases = incomplete.iter().flat_map(|report| &report.phases);
        phases.any(|phase| phase.left_off == Some(reason))
    };
    if incomplete.is_empty() {
        return;
    }
    let (part, parts) = arguments.shard;
    if ended(LeftOff::Interrupted) {
        next.add("the search was interrupted: once more", [again.clone()]);
    } else if ended(LeftOff::Steps) {
        next.add(
            "with a shorter `bounds.until` and `settle`, or more `steps`, in the scenario",
            [again.clone()],
        );
    } else if [LeftOff::Time, LeftOff::Share, LeftOff::Memory].into_iter().any(ended) {
        let mut command = again.with("--time", &longer(arguments.time));
        if ended(LeftOff::Memory) {
            command = command.with("--memory", &(arguments.memory.saturating_mul(4)).to_string());
        }
        next.add("search on for longer", [command]);
    } else if parts > 1 {
        let part = part % parts + 1;
        next.add("the next part of the work", [again.with("--shard", &format!("{part}/{parts}"))]);
    } else if arguments.no_cache {
        next.add("with states, which are counted", [again.without("--no-cache")]);
    } else {
        next.add("search on for longer", [again.with("--time", &longer(arguments.time))]);
    }
}

fn not_asked(
    arguments: &Arguments,
    inputs: &Inputs,
    reports: &[Report],
    again: &CommandLine,
    next: &mut Next,
) {
    let mut reasons = reports.iter().filter_map(|report| report.not_run.as_deref());
    let Some(reason) = reasons.next() else { return };
    if reason.contains("more time") {
        next.add("with more time", [again.with("--time", &longer(arguments.time))]);
    } else if inputs.is_default && arguments.configuration.is_none() {
        next.add("if the filter needs a configuration", [again.with("--configuration", "FILE")]);
    } else {
        next.add("when this is mended", [again.clone()]);
    }
}

fn longer(time: Duration) -> String {
    time.saturating_mul(MORE).as_secs_f64().to_string()
}

/// Comments, each with its commands.
#[derive(Default)]
pub(in crate::cli) struct Next(Vec<(&'static str, Vec<CommandLine>)>);

// === impl Next ===

impl Next {
    pub(in crate::cli) fn of(comment: &'static str, command: CommandLine) -> Next {
        Next(vec![(comment, vec![command])])
    }

    fn add(&mut self, comment: &'static str, commands: impl IntoIterator<Item = CommandLine>) {
        let commands: Vec<CommandLine> = commands.into_iter().collect();
        if !commands.is_empty() {
            self.0.push((comment, commands));
        }
    }
}

impl fmt::Display for Next {
    /// Lines that a shell can be given as they are.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "next:")?;
        for (comment, commands) in &self.0 {
            writeln!(formatter, "  # {comment}")?;
            for command in commands {
                writeln!(formatter, "  {command}")?;
            }
        }
        Ok(())
    }
}

/// The arguments of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct CommandLine(Vec<String>);

// === impl CommandLine ===

impl CommandLine {
    pub(in crate::cli) fn new(arguments: &[&str]) -> CommandLine {
        CommandLine(arguments.iter().map(|&argument| argument.to_owned()).collect())
    }

    fn of_this_process() -> CommandLine {
        CommandLine(env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect())
    }

    /// With this value of an option, and no other one.
    fn with(&self, option: &str, value: &str) -> CommandLine {
        let joined = format!("{option}=");
        let mut arguments = Vec::new();
        let mut given = self.0.iter();
        while let Some(argument) = given.next() {
            if argument == option {
                given.next();
            } else if !argument.starts_with(&joined) {
                arguments.push(argument.clone());
            }
        }
        arguments.extend([option.to_owned(), value.to_owned()]);
        CommandLine(arguments)
    }

    /// Without an option that has no value.
    fn without(&self, option: &str) -> CommandLine {
        CommandLine(self.0.iter().filter(|argument| *argument != option).cloned().collect())
    }
}

impl fmt::Display for CommandLine {
    /// As a shell reads it, in lines of [`COLUMNS`] where its words allow that.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = "portcullis".to_owned();
        for argument in &self.0 {
            let word = quoted(argument);
            if line.chars().count() + word.chars().count() + 5 > COLUMNS {
                writeln!(formatter, "{line} \\")?;
                line = format!("     {word}");
            } else {
                line += &format!(" {word}");
            }
        }
        formatter.write_str(&line)
    }
}

/// A word for a POSIX shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_given_once_and_words_are_quoted() {
        let line = CommandLine::new(&["explore", "--time=5", "a b.wasm", "--time", "7", "--only", "it's"]);
        let line = line.with("--time", "50");
        assert_eq!(line.to_string(), r"portcullis explore 'a b.wasm' --only 'it'\''s' --time 50");
        assert_eq!(
            line.without("--only"),
            CommandLine::new(&["explore", "a b.wasm", "it's", "--time", "50"])
        );
    }

    #[test]
    fn a_long_command_is_broken_between_words() {
        let word = "x".repeat(50);
        let line = CommandLine::new(&["explore", &word, &word]);
        assert_eq!(line.to_string(), format!("portcullis explore {word} \\\n     {word}"));
    }
}
