//! `portcullis eval`: one question to a policy, and what the client would see.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use host_harness::archive::Take;
use portcullis_filter::{
    authz::{self, Connection, HeaderChange, Outcome, Permit, RequestHead, SocketAddress},
    bundle::Bundle,
    config::{DEFAULT_DECISION, InputConfig, Paths, SourceAddress},
    policy::{
        EvaluationError, EvaluationLimits, Moment, Part, Policy, PolicyError, Value, parse_json, reference,
    },
};
use portcullis_rego::{Limits, Options, Outside, Recorder};
use serde_json::json;

use super::{
    check,
    explanation::{Explanation, to_json},
    policy,
};

/// Ends with 0 when the policy was asked, whatever it answers; with --fail, with 1 when it has no answer, or when the request
/// is not let on; with 2 when it could not be asked, or when it failed on --input.
#[derive(Args)]
pub(super) struct Arguments {
    /// A bundle: an archive, or folders with commas in between; several make one policy
    #[arg(long, required = true, value_name = "PATH")]
    bundle: Vec<String>,
    /// The decision's path below `data`
    #[arg(long, value_name = "PATH", default_value = DEFAULT_DECISION)]
    decision: String,
    /// The `input`, as JSON; `-` reads standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["method", "header"])]
    input: Option<PathBuf>,
    /// A request in its place: the filter's own code makes opa-envoy-plugin's `input` of it
    #[arg(requires = "url", required_unless_present = "input")]
    method: Option<String>,
    /// Its URL, or its path and query, as they reach the filter: Envoy has resolved `..` and merged slashes by then
    url: Option<String>,
    /// A header of it
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// Its body; after `@` the name of a file that has it
    #[arg(short = 'd', long, value_name = "DATA", requires = "method")]
    data: Option<String>,
    /// The address that it comes from, with its port
    #[arg(long, value_name = "ADDRESS", requires = "method")]
    source: Option<String>,
    /// The identity in the client's certificate
    #[arg(long, value_name = "NAME", requires = "method")]
    principal: Option<String>,
    /// Which paths requests may have, as `portcullis.paths` of the configuration
    #[arg(long, value_enum, default_value = "strict")]
    paths: PathsArgument,
    /// Say of each rule that is looked at why it holds or does not
    #[arg(long)]
    explain: bool,
    /// End with 1 when there is no answer, or when the request is not let on
    #[arg(long)]
    fail: bool,
    /// How to print it
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum PathsArgument {
    Strict,
    Opa,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Text,
    Json,
}

/// What is asked, and what was answered.
struct Answer {
    /// None: the request cannot be put to a policy.
    input: Option<Value>,
    result: Option<Result<Option<Value>, EvaluationError>>,
    outcome: Option<Outcome>,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let keys = policy::keys(&arguments.decision)?;
    let bundles: Vec<Bundle> =
        arguments.bundle.iter().map(|path| policy::read(path, Take::Bundle)).collect::<Result<_>>()?;
    let parts: Vec<Part<'_>> = bundles.iter().map(Bundle::part).collect();
    let compiled = match Policy::compile(&keys.join("/"), &parts, EvaluationLimits::default()) {
        Ok(compiled) => compiled,
        // All of what the filter reports the beginning of.
        Err(PolicyError::Rego { message }) => {
            let options = Options { without_tests: true, ..Options::default() };
            policy::compile(parts, options).context("the filter would refuse this policy")?;
            bail!(message);
        }
        Err(error) => return Err(error).context("the filter would refuse this policy"),
    };
    let moment = policy::moment();
    let answer = match &arguments.input {
        Some(path) => {
            let text = String::from_utf8(check::read(path)?).context("the input is not UTF-8 text")?;
            let input = parse_json(&text)
                .map_err(|error| anyhow::anyhow!("{}: it is no JSON: {error}", path.display()))?;
            let result = compiled.evaluate(input.clone(), moment.clone());
            Answer { input: Some(input), result: Some(result), outcome: None }
        }
        None => request(arguments, &compiled, &moment)?,
    };
    if arguments.format == Format::Text && !compiled.decision_exists() {
        eprintln!(
            "portcullis: no rule and no data is at `{}`: every answer is undefined",
            arguments.decision
        );
    }
    let explained = match (&answer.input, arguments.explain) {
        (Some(input), true) => Some(explain(parts, &keys, input.clone(), &moment)?),
        _ => None,
    };
    let explanation = explained.as_ref().map(|(policy, recorder)| Explanation { policy, recorder });
    match arguments.format {
        Format::Json => print_json(arguments, &answer, explanation)?,
        Format::Text => print_text(arguments, &answer, explanation),
    }
    let is_good = match (&answer.outcome, &answer.result) {
        (Some(outcome), _) => matches!(outcome, Outcome::Allow(_)),
        (None, Some(Err(error))) => bail!("{error}"),
        (None, result) => matches!(result, Some(Ok(Some(_)))),
    };
    Ok(if arguments.fail && !is_good { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn request(arguments: &Arguments, compiled: &Policy, moment: &Moment) -> Result<Answer> {
    let paths = match arguments.paths {
        PathsArgument::Strict => Paths::Strict,
        PathsArgument::Opa => Paths::Opa,
    };
    let (head, connection) = head(arguments, moment)?;
    let body = match arguments.data.as_deref().map(|data| (data, data.strip_prefix('@'))) {
        None => Vec::new(),
        Some((_, Some(file))) => check::read(Path::new(file))?,
        Some((data, None)) => data.as_bytes().to_vec(),
    };
    // The address is what was asked about, whoever says it.
    let config = InputConfig { source_address: SourceAddress::TrustedClient, ..InputConfig::default() };
    Ok(match authz::input(&head, body, connection, paths, &config) {
        Ok(input) => {
            let result = compiled.evaluate(input.clone(), moment.clone());
            let outcome = authz::outcome(result.clone(), &head, paths);
            Answer { input: Some(input), result: Some(result), outcome: Some(outcome) }
        }
        Err(error) => Answer { input: None, result: None, outcome: Some(Outcome::BadRequest(error)) },
    })
}

/// The request as Envoy would hand it over.
fn head(arguments: &Arguments, moment: &Moment) -> Result<(RequestHead, Connection)> {
    let (method, url) = (arguments.method.as_deref(), arguments.url.as_deref());
    let (Some(method), Some(url)) = (method, url) else {
        bail!("a request is METHOD URL, as in `GET /products`")
    };
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let (authority, path) = match rest.find(['/', '?']) {
        _ if !url.contains("://") => ("localhost", rest),
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let path = if path.starts_with('?') { format!("/{path}") } else { path.to_owned() };
    let mut headers: Vec<(Vec<u8>, Vec<u8>)> =
        [(":authority", authority), (":method", method), (":path", &path), (":scheme", scheme)]
            .map(|(name, value)| (name.into(), value.into()))
            .into();
    for header in &arguments.header {
        let split = header.char_indices().skip(1).find(|(_, c)| *c == ':').map(|(at, _)| header.split_at(at));
        let Some((name, value)) = split else { bail!("`{header}` is no header: write `name: value`") };
        let (name, value) = (name.trim().to_ascii_lowercase(), value[1..].trim());
        if name.starts_with(':') || name == "host" {
            let name = if name == "host" { ":authority" } else { &name };
            headers.retain(|(known, _)| known != name.as_bytes());
            headers.push((name.into(), value.into()));
        } else {
            headers.push((name.into_bytes(), value.into()));
        }
    }
    let connection = Connection {
        source: arguments.source.as_deref().map(SocketAddress::parse),
        source_principal: arguments.principal.clone(),
        protocol: Some("HTTP/1.1".to_owned()),
        time_ns: u64::try_from(moment.now_ns).ok(),
        ..Connection::default()
    };
    Ok((headers.into_iter().collect(), connection))
}

/// Evaluates once more, rule by rule and without an index: what that leaves out is what one wants to know.
fn explain(
    parts: Vec<Part<'_>>,
    keys: &[&str],
    input: Value,
    moment: &Moment,
) -> Result<(portcullis_rego::Policy, Recorder)> {
    let options = Options { places: true, scan: true, without_tests: true, ..Options::default() };
    let policy = policy::compile(parts, options)?;
    let entry = policy.query(&reference(keys))?;
    let mut recorder = Recorder::explanation();
    let outside = Outside { now_ns: moment.now_ns, seed: moment.seed, ..Outside::default() };
    // What ends this one has ended the other, or is the conflict of rules that the index keeps apart.
    let _ = policy.record(&entry, Some(input), &Limits::default(), &outside, &mut recorder);
    Ok((policy, recorder))
}

fn print_text(arguments: &Arguments, answer: &Answer, explanation: Option<Explanation<'_>>) {
    let decision = &arguments.decision;
    match &answer.result {
        None => {}
        Some(Ok(Some(value))) => println!("{decision} is {}", value.to_json()),
        Some(Ok(None)) => println!("{decision} is undefined"),
        Some(Err(error)) if answer.outcome.is_some() => println!("{decision} failed: {error}"),
        Some(Err(_)) => {}
    }
    if let Some(outcome) = &answer.outcome {
        let reason = outcome.reason();
        if let Some(trouble) = outcome.trouble().filter(|_| !matches!(outcome, Outcome::EvaluationFailed(_)))
        {
            println!("{trouble}");
        }
        match outcome.clone().into_permit() {
            Ok(permit) => print_permit(&permit),
            Err(response) => {
                println!("{reason}: the client is answered {}", response.status);
                response.headers.iter().for_each(|(name, value)| println!("  {name}: {value}"));
                response.body.lines().for_each(|line| println!("  {line}"));
            }
        }
    }
    if let Some(explanation) = explanation {
        print!("\n{}", explanation.text(0));
    }
}

fn print_permit(permit: &Permit) {
    println!("allow: the request goes to the upstream");
    let print = |of: &str, change: &HeaderChange| match change {
        HeaderChange::Replace(name, value) => println!("  {of} has {name}: {value}"),
        HeaderChange::Add(name, value) => println!("  {of} has also {name}: {value}"),
        HeaderChange::Remove(name) => println!("  {of} loses {name}"),
    };
    permit.request_changes().iter().for_each(|change| print("it", change));
    permit.response_changes().iter().for_each(|change| print("the answer", change));
    if let Some(metadata) = permit.dynamic_metadata() {
        println!("  filter state wasm.portcullis.dynamic_metadata: {metadata}");
    }
}

fn print_json(arguments: &Arguments, answer: &Answer, explanation: Option<Explanation<'_>>) -> Result<()> {
    let changes = |changes: &[HeaderChange]| -> Vec<serde_json::Value> {
        let change = |change: &HeaderChange| match change {
            HeaderChange::Replace(name, value) => json!({ "set": name, "value": value }),
            HeaderChange::Add(name, value) => json!({ "add": name, "value": value }),
            HeaderChange::Remove(name) => json!({ "remove": name }),
        };
        changes.iter().map(change).collect()
    };
    let mut document = json!({ "decision": arguments.decision });
    match &answer.result {
        Some(Ok(Some(value))) => document["result"] = to_json(value),
        Some(Err(error)) => document["error"] = error.to_string().into(),
        Some(Ok(None)) | None => {}
    }
    if let Some(outcome) = &answer.outcome {
        let reason = outcome.reason();
        document["outcome"] = match outcome.clone().into_permit() {
            Ok(permit) => json!({
                "reason": reason,
                "allowed": true,
                "request": changes(permit.request_changes()),
                "response": changes(permit.response_changes()),
                "dynamic_metadata": permit.dynamic_metadata(),
            }),
            Err(response) => json!({
                "reason": reason,
                "allowed": false,
                "status": response.status,
                "headers": response.headers,
                "body": response.body,
            }),
        };
    }
    if let Some(explanation) = explanation {
        document["explanation"] = explanation.json();
    }
    println!("{}", serde_json::to_string_pretty(&document)?);
    Ok(())
}
