//! `portcullis replay`, `shrink`, `explain` and `render`: what can be done with a schedule file.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use host_harness::{
    abi::{Module, Runtime},
    race::{
        self, builtin,
        render::{self, render_explained},
        scenario::Scenario,
        schedule::Schedule,
        search::Options,
    },
};

use super::{
    explore::{
        next::{CommandLine, Next},
        summary::wrapped,
    },
    log::{self, LogArguments},
};

/// A schedule and what it is a schedule of.
#[derive(Args)]
pub(super) struct Source {
    /// The schedule file
    #[arg(value_name = "FILE")]
    schedule: PathBuf,
    #[command(flatten)]
    subject: SubjectArguments,
}

/// What a schedule is run with, where it does not say so itself.
#[derive(Args, Clone)]
pub(super) struct SubjectArguments {
    /// The scenario file, unless the schedule names one that is built in
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// The variant, in place of the one that the schedule names
    #[arg(long)]
    variant: Option<String>,
    /// The module, in place of the one that the scenario names
    #[arg(long, value_name = "WASM")]
    module: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct ReplayArguments {
    #[command(flatten)]
    source: Source,
    /// Pass over turns that cannot come, and compare nothing: for an edited schedule, or another module
    #[arg(long)]
    lenient: bool,
    /// Print the whole run as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct ShrinkArguments {
    #[command(flatten)]
    source: Source,
    /// Where the shrunk schedule goes; standard output if it is not given
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct ExplainArguments {
    #[command(flatten)]
    source: Source,
    /// Print the explanation as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct RenderArguments {
    /// The schedule file
    #[arg(value_name = "FILE", required_unless_present = "log")]
    schedule: Option<PathBuf>,
    #[command(flatten)]
    subject: SubjectArguments,
    #[command(flatten)]
    log: LogArguments,
    /// How it is drawn
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Where the picture goes; standard output if it is not given
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A page that needs nothing else
    Html,
    /// A picture for documents
    Svg,
    /// Lines for a log
    Text,
    /// For ui.perfetto.dev
    Perfetto,
}

impl From<Format> for render::Format {
    fn from(format: Format) -> render::Format {
        match format {
            Format::Html => render::Format::Html,
            Format::Svg => render::Format::Svg,
            Format::Text => render::Format::Text,
            Format::Perfetto => render::Format::Perfetto,
        }
    }
}

/// What a schedule is run with.
struct Subject {
    module: Module,
    scenario: Arc<Scenario>,
    schedule: Schedule,
}

pub(super) fn replay(arguments: &ReplayArguments) -> Result<ExitCode> {
    let subject = Subject::of(&arguments.source)?;
    let replayed = race::replay(&subject.module, &subject.scenario, &subject.schedule, arguments.lenient)?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&replayed.trace)?);
    } else {
        print!("{}", render::render(&replayed.trace, render::Format::Text));
        if !replayed.trace.findings.is_empty() {
            print!("\n{}", arguments.source.next("from which step on it had to fail", "explain", &[]));
        }
    }
    let word = if arguments.lenient { "passed over" } else { "divergence" };
    for divergence in &replayed.divergences {
        eprintln!("{word}: {divergence}");
    }
    let faithful = arguments.lenient || replayed.divergences.is_empty();
    Ok(if faithful && replayed.trace.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub(super) fn shrink(arguments: &ShrinkArguments) -> Result<ExitCode> {
    let subject = Subject::of(&arguments.source)?;
    // In as many runs as it takes: a schedule shrinks to the same on every machine.
    let options = Options { time: Duration::MAX, ..Options::default() };
    let shrunk = race::shrink_schedule(&subject.module, &subject.scenario, &subject.schedule, &options)?;
    let Some((schedule, _)) = shrunk else {
        bail!(
            "the schedule breaks nothing here, so there is nothing to shrink; `portcullis replay` shows its run"
        );
    };
    write(arguments.out.as_deref(), &schedule.to_string())?;
    if let Some(out) = &arguments.out {
        let least = Source { schedule: out.clone(), subject: arguments.source.subject.clone() };
        print!("{}", least.next("what is left of it", "replay", &[]));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn explain(arguments: &ExplainArguments) -> Result<ExitCode> {
    let subject = Subject::of(&arguments.source)?;
    let Some(explanation) = race::explain(&subject.module, &subject.scenario, &subject.schedule)? else {
        bail!(
            "the schedule breaks nothing here, so there is nothing to explain; `portcullis replay` shows its run"
        );
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&explanation)?);
        return Ok(ExitCode::SUCCESS);
    }
    for finding in &explanation.trace.findings {
        let sentence = format!("{} ({:?}): {}", finding.oracle, finding.class, finding.message);
        for (index, line) in wrapped(&sentence, 78).iter().enumerate() {
            println!("{}{line}", if index == 0 { "" } else { "  " });
        }
        if let Some((held, other)) = &finding.raced {
            println!("raced: {held} and {other}");
        }
    }
    println!("share of random continuations that fail, after each step with a choice:");
    for (step, share) in &explanation.risk {
        let what = step.checked_sub(1).and_then(|index| explanation.trace.steps.get(index));
        let what = what.map_or("the beginning".to_owned(), |step| {
            format!("{:>4} {}: {} {}", step.number, step.turn, step.verb, step.object)
        });
        println!("  {:>4.0} %  {what}", share * 100.0);
    }
    let page = arguments.source.schedule.with_extension("html").display().to_string();
    print!(
        "\n{}",
        arguments.source.next("a page to step through", "render", &["--format", "html", "--out", &page])
    );
    Ok(ExitCode::SUCCESS)
}

pub(super) fn render(arguments: &RenderArguments) -> Result<ExitCode> {
    let format = arguments.format.into();
    if let Some(path) = arguments.log.log() {
        return log::render(&arguments.log, path, format, arguments.out.as_deref());
    }
    let Some(schedule) = &arguments.schedule else {
        bail!("nothing to draw: name a schedule file, or a `--log`");
    };
    let subject = Subject::read(schedule, &arguments.subject)?;
    let picture = match race::explain(&subject.module, &subject.scenario, &subject.schedule)? {
        Some(explanation) => render_explained(&explanation, format),
        None => {
            let replayed = race::replay(&subject.module, &subject.scenario, &subject.schedule, true)?;
            render::render(&replayed.trace, format)
        }
    };
    write(arguments.out.as_deref(), &picture)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn write(path: Option<&Path>, text: &str) -> Result<()> {
    match path {
        Some(path) => fs::write(path, text).with_context(|| path.display().to_string()),
        // Who reads only the beginning, as `head` does, has what they want.
        None => match io::stdout().lock().write_all(text.as_bytes()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.context("standard output"),
        },
    }
}

// === impl Source ===

impl Source {
    /// What to type next, about the same schedule.
    fn next(&self, comment: &'static str, command: &str, options: &[&str]) -> String {
        let file = self.schedule.display().to_string();
        let SubjectArguments { scenario, variant, module } = &self.subject;
        let scenario = scenario.as_ref().map(|path| path.display().to_string());
        let module = module.as_ref().map(|path| path.display().to_string());
        let given = [("--scenario", &scenario), ("--variant", variant), ("--module", &module)];
        let given =
            given.into_iter().filter_map(|(option, value)| Some([option, value.as_deref()?])).flatten();
        let arguments: Vec<&str> =
            [command, &file].into_iter().chain(given).chain(options.iter().copied()).collect();
        Next::of(comment, CommandLine::new(&arguments)).to_string()
    }
}

// === impl Subject ===

impl Subject {
    fn of(source: &Source) -> Result<Subject> {
        Subject::read(&source.schedule, &source.subject)
    }

    fn read(path: &Path, source: &SubjectArguments) -> Result<Subject> {
        let file = path.display().to_string();
        let text = fs::read_to_string(path).with_context(|| file.clone())?;
        let schedule = Schedule::parse(&text, &file)?;
        let name = schedule.header("scenario");
        let scenarios = match (&source.scenario, &schedule.scenario) {
            (Some(path), _) => Scenario::load(path)?,
            (None, Some(text)) => Scenario::parse_kept(text, &format!("the scenario in {file}"))?,
            (None, None) => [builtin::scenarios()?, builtin::filter_scenarios()?].concat(),
        };
        let variant = source.variant.as_deref().or(schedule.header("variant")).unwrap_or_default();
        let is_meant = |scenario: &&Scenario| {
            (source.scenario.is_some() || Some(scenario.name.as_str()) == name) && scenario.variant == variant
        };
        let Some(scenario) = scenarios.iter().find(is_meant) else {
            bail!(
                "{file}: there is no scenario `{}` with a variant `{variant}`; name its file with `--scenario`, and one of its variants with `--variant`",
                name.unwrap_or("(none is named)")
            );
        };
        let mut scenario = scenario.clone();
        // A scenario that is given names its own.
        let found_with =
            schedule.header("module-file").filter(|_| source.scenario.is_none()).map(str::to_owned);
        if let Some(module) = source.module.as_ref().map(|module| module.display().to_string()).or(found_with)
        {
            scenario.module = module;
        }
        let bytes = builtin::module(&scenario.module)?;
        let module = Module::load(&Runtime::new()?, &bytes)
            .with_context(|| format!("module `{}`", scenario.module))?;
        let digest = format!("sha256:{}", module.sha256());
        if schedule.header("module-file").is_some() && schedule.header("module") != Some(&digest) {
            eprintln!(
                "note: the schedule was found with another module ({}), and this is {digest}: what differs may come from that",
                schedule.header("module").unwrap_or("none is named")
            );
        }
        Ok(Subject { module, scenario: Arc::new(scenario), schedule })
    }
}
