//! A document becomes scenarios: defaults are filled in, names are looked up, and each variant becomes one of its own.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value as Json;
use yaml_serde::Value as Yaml;

use super::{
    Answer, Bounds, Cluster, Event, EventKind, Expectation, Faults, Plugin, Rule, Scenario, Thread, Window,
    document::{self, Document, Expect},
    error::{Problem, did_you_mean, listed},
    parts, read,
};
use crate::{envoy::FailurePolicy, world::ANY_CLUSTER};

/// Modules that need no file.
const BUILT_IN: [&str; 2] = ["portcullis:filter", "portcullis:guests"];
/// What begins the name of such a module.
const BUILT_IN_PREFIX: &str = "portcullis:";
/// Name of the plugin of the short form.
const PLUGIN: &str = "plugin";
/// The cluster that requests are routed to, which is always there.
const UPSTREAM: &str = "upstream";
const WORKERS: usize = 2;
/// More workers than this cost memory and show nothing that fewer do not.
const MOST_WORKERS: usize = 64;
/// More faults of a kind than this are in no schedule that ends.
const MOST_FAULTS: u32 = 100;
/// A run of more steps than this is remembered nowhere.
const MOST_STEPS: usize = 1_000_000;
/// The oracle that no callback fails.
const TRAP: &str = "trap";

/// One scenario per variant; one when there are none.
pub(super) fn scenarios(document: &Document) -> Result<Vec<Scenario>, Problem> {
    kebab("scenario", &document.scenario)?;
    check_module(&document.module)?;
    let names = Names::of(document)?;
    let rules = rules(&document.must, &names)?;
    let mut tolerate: Vec<&str> = document.tolerate.iter().copied().map(tolerated).collect();
    // Where traps are counted, one is no finding by itself.
    if rules.iter().any(|rule| matches!(rule, Rule::AtMostTraps { .. })) && !tolerate.contains(&TRAP) {
        tolerate.push(TRAP);
    }
    let plain = Scenario {
        name: document.scenario.clone(),
        about: document.about.clone(),
        module: document.module.clone(),
        variant: String::new(),
        expect: document.expect.map(expectation),
        workers: names.workers,
        vm_id: document.vm_id.clone().unwrap_or_else(|| document.scenario.clone()),
        seed: document.seed,
        failure_policy: failure_policy(document.failure_policy),
        plugins: Vec::new(),
        clusters: clusters(document)?,
        events: Vec::new(),
        faults: faults(&document.faults)?,
        bounds: bounds(&document.bounds)?,
        rules,
        tolerate,
        source: None,
    };
    if document.variants.0.is_empty() {
        return Ok(vec![configured(plain, document, &names, "configuration", None)?]);
    }
    if document.expect.is_some() {
        let cure = "give each variant its own `expect`";
        return Err(Problem::new("expect", "what is expected differs by variant", cure));
    }
    let each = document.variants.0.iter().map(|(variant, settings)| {
        let path = format!("variants.{variant}");
        kebab(&path, variant)?;
        let mut scenario = plain.clone();
        scenario.variant.clone_from(variant);
        scenario.expect = settings.expect.map(expectation);
        if let Some(about) = &settings.about {
            scenario.about.clone_from(about);
        }
        let path = format!("{path}.configuration");
        configured(scenario, document, &names, &path, settings.configuration.as_ref())
    });
    each.collect()
}

/// What is named in a scenario, to which its parts refer.
pub(super) struct Names {
    pub(super) workers: usize,
    requests: Vec<String>,
    clusters: Vec<String>,
    plugins: Vec<String>,
}

/// What an event has that decides its kind.
const EVENT_KINDS: [&str; 6] = ["request", "cluster", "configure", "remove", "trap", "stall"];

// === impl Names ===

impl Names {
    fn of(document: &Document) -> Result<Names, Problem> {
        let workers = document.workers.unwrap_or(WORKERS);
        if workers == 0 {
            return Err(Problem::new("workers", "without a worker nothing runs", "give at least 1"));
        }
        if workers > MOST_WORKERS {
            let message = format!("{workers} are more than a search comes to");
            return Err(Problem::new("workers", message, format!("give at most {MOST_WORKERS}")));
        }
        let mut names = Names {
            workers,
            requests: Vec::new(),
            clusters: document.clusters.0.iter().map(|(name, _)| name.clone()).collect(),
            plugins: Vec::new(),
        };
        if !names.clusters.iter().any(|name| name == UPSTREAM) {
            names.clusters.push(UPSTREAM.to_owned());
        }
        match &document.plugins {
            None => names.plugins.push(PLUGIN.to_owned()),
            Some(_) if document.configuration.is_some() => {
                let message = "it is the short form for one plugin, and there are `plugins`";
                return Err(Problem::new("configuration", message, "move it into one of them"));
            }
            Some(plugins) if plugins.is_empty() => {
                return Err(Problem::new("plugins", "it is empty", "give a plugin, or remove the key"));
            }
            Some(plugins) => {
                for (index, plugin) in plugins.iter().enumerate() {
                    distinct(&format!("plugins[{index}].name"), "plugin", &plugin.name, &mut names.plugins)?;
                }
            }
        }
        for (index, event) in document.events.iter().enumerate() {
            let name = event.get("request").and_then(Yaml::as_str);
            // Whether it is a name at all is judged with the event.
            if let Some(name) = name {
                distinct(&format!("events[{index}].request"), "request", name, &mut names.requests)?;
            }
        }
        Ok(names)
    }

    pub(super) fn worker(&self, path: &str, worker: usize) -> Result<usize, Problem> {
        if worker < self.workers {
            return Ok(worker);
        }
        let message = format!(
            "there is no worker {worker}: they are counted from 0, and `workers` is {}",
            self.workers
        );
        Err(Problem::new(path, message, format!("give at most {}, or raise `workers`", self.workers - 1)))
    }

    fn thread(&self, path: &str, name: &str) -> Result<Thread, Problem> {
        if name == "main" {
            return Ok(Thread::Main);
        }
        match name.strip_prefix('w').map(str::parse::<usize>) {
            Some(Ok(worker)) => self.worker(path, worker).map(Thread::Worker),
            _ => {
                let message = format!("{name:?} is no thread");
                Err(Problem::new(path, message, "give `main`, or a worker such as `w0`"))
            }
        }
    }

    fn request(&self, path: &str, name: &str) -> Result<String, Problem> {
        known(path, "request", name, &self.requests, "give one of the events a `request` of that name")
    }

    fn cluster(&self, path: &str, name: &str) -> Result<String, Problem> {
        // With it every name is that of a cluster.
        if self.clusters.iter().any(|known| known == ANY_CLUSTER) {
            return Ok(name.to_owned());
        }
        known(path, "cluster", name, &self.clusters, "add it to `clusters`")
    }

    fn plugin(&self, path: &str, name: &str) -> Result<String, Problem> {
        known(path, "plugin", name, &self.plugins, "add it to `plugins`")
    }
}

fn known(path: &str, what: &str, name: &str, names: &[String], otherwise: &str) -> Result<String, Problem> {
    if names.iter().any(|known| known == name) {
        return Ok(name.to_owned());
    }
    let cure = if names.is_empty() {
        otherwise.to_owned()
    } else {
        format!(
            "{}, or {otherwise}",
            did_you_mean(name, names.iter().map(String::as_str)).trim_end_matches('?')
        )
    };
    Err(Problem::new(path, format!("there is no {what} `{name}`"), cure))
}

/// Adds a name that must be new.
fn distinct(path: &str, what: &str, name: &str, names: &mut Vec<String>) -> Result<(), Problem> {
    if name.is_empty() {
        return Err(Problem::new(path, "it is empty", format!("give the {what} a name")));
    }
    if names.iter().any(|known| known == name) {
        let message = format!("an earlier {what} is called `{name}`, too");
        return Err(Problem::new(path, message, "give each its own name"));
    }
    names.push(name.to_owned());
    Ok(())
}

fn kebab(path: &str, name: &str) -> Result<(), Problem> {
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    if name.split('-').all(part) {
        return Ok(());
    }
    let message = format!("`{name}` is not in kebab case");
    Err(Problem::new(path, message, "use lower-case letters and digits in words joined by `-`"))
}

fn check_module(module: &str) -> Result<(), Problem> {
    if module.is_empty() {
        let cure = format!("give the path of a module, or one of {}", listed(BUILT_IN));
        return Err(Problem::new("module", "it is empty", cure));
    }
    if module.starts_with(BUILT_IN_PREFIX) && !BUILT_IN.contains(&module) {
        let message = format!("there is no built-in module `{module}`");
        return Err(Problem::new("module", message, did_you_mean(module, BUILT_IN)));
    }
    Ok(())
}

/// Whether a module is one that needs no file.
pub(in crate::race) fn is_built_in(module: &str) -> bool {
    BUILT_IN.contains(&module)
}

fn expectation(expect: Expect) -> Expectation {
    match expect {
        Expect::Broken => Expectation::Broken,
        Expect::Clean => Expectation::Clean,
    }
}

/// Envoy's own default is to fail closed.
fn failure_policy(policy: Option<document::FailurePolicy>) -> FailurePolicy {
    match policy {
        None | Some(document::FailurePolicy::Closed) => FailurePolicy::FailClosed,
        Some(document::FailurePolicy::Open) => FailurePolicy::FailOpen,
        Some(document::FailurePolicy::Reload) => FailurePolicy::FailReload,
    }
}

fn tolerated(tolerated: document::Tolerated) -> &'static str {
    match tolerated {
        document::Tolerated::Trap => TRAP,
        document::Tolerated::Crossing => "crossing",
        document::Tolerated::Views => "views",
        document::Tolerated::Growth => "growth",
        document::Tolerated::Livelock => "livelock",
        document::Tolerated::TickStarvation => "tick-starvation",
        document::Tolerated::StuckStream => "stuck-stream",
        document::Tolerated::CallLeak => "call-leak",
    }
}

fn faults(faults: &document::Faults) -> Result<Faults, Problem> {
    let document::Faults { resets, refusals, timeouts, connect_failures, duplicates } = *faults;
    let named = [
        ("resets", resets),
        ("refusals", refusals),
        ("timeouts", timeouts),
        ("connect_failures", connect_failures),
        ("duplicates", duplicates),
    ];
    if let Some((name, count)) = named.into_iter().find(|(_, count)| *count > MOST_FAULTS) {
        let message = format!("{count} are more than a search comes to");
        return Err(Problem::new(format!("faults.{name}"), message, format!("give at most {MOST_FAULTS}")));
    }
    Ok(Faults { resets, refusals, timeouts, connect_failures, duplicates })
}

fn bounds(bounds: &document::Bounds) -> Result<Bounds, Problem> {
    let default = Bounds::default();
    let or = |given: Option<document::Time>, otherwise: Duration| given.map_or(otherwise, |given| given.0);
    if bounds.steps == Some(0) {
        return Err(Problem::new("bounds.steps", "a run without a step shows nothing", "give at least 1"));
    }
    if let Some(steps) = bounds.steps.filter(|steps| *steps > MOST_STEPS) {
        let message = format!("{steps} are more than a search comes to");
        return Err(Problem::new("bounds.steps", message, format!("give at most {MOST_STEPS}")));
    }
    let until = or(bounds.until, default.until);
    let bounded = bounds.bounded.as_ref().map(|window| Window { from: window.from.0, until: window.until.0 });
    if bounded.is_some_and(|window| window.from >= window.until || window.until > until) {
        let message = "the bounded search decides at no time that lies in the run";
        let hint = "give a `from` before its `until`, and that not after `bounds.until`";
        return Err(Problem::new("bounds.bounded", message, hint));
    }
    Ok(Bounds {
        until,
        settle: or(bounds.settle, default.settle),
        slack: or(bounds.slack, default.slack),
        steps: bounds.steps.unwrap_or(default.steps),
        clock_step: or(bounds.clock_step, default.clock_step),
        bounded,
    })
}

fn clusters(document: &Document) -> Result<BTreeMap<String, Cluster>, Problem> {
    let mut clusters = BTreeMap::new();
    for (name, cluster) in &document.clusters.0 {
        let path = format!("clusters.{name}");
        let answers = parts::replies(&format!("{path}.answers"), &cluster.answers)?;
        let mut paths = BTreeMap::new();
        for (of, answers) in &cluster.paths.0 {
            let path = format!("{path}.paths.{of}");
            parts::check_path(&path, of)?;
            if answers.is_empty() {
                return Err(Problem::new(path, "it has no answer", "give one, or remove the path"));
            }
            paths.insert(of.clone(), parts::replies(&path, answers)?);
        }
        clusters.insert(name.clone(), Cluster { answers, paths });
    }
    Ok(clusters)
}

// === Configurations, and what of them a variant changes ===

/// The scenario with its plugins and events, whose configurations a variant may change.
fn configured(
    mut scenario: Scenario,
    document: &Document,
    names: &Names,
    patch_path: &str,
    patch: Option<&Json>,
) -> Result<Scenario, Problem> {
    let configuration = |path: &str, given: Option<&Json>| {
        let given = given.unwrap_or(&Json::Null);
        match patch {
            Some(patch) if fits(given, patch) => bytes(path, &merged(given, patch)),
            _ => bytes(path, given),
        }
    };
    if let Some(patch) = patch {
        let plugins = document.plugins.iter().flatten().map(|plugin| plugin.configuration.as_ref());
        let short = document.plugins.is_none().then_some(document.configuration.as_ref());
        if !plugins.chain(short).any(|given| fits(given.unwrap_or(&Json::Null), patch)) {
            let message = "no plugin has a configuration that it can change";
            return Err(Problem::new(
                patch_path,
                message,
                "give a mapping for mappings, a string for strings",
            ));
        }
    }
    scenario.plugins = match &document.plugins {
        None => vec![Plugin {
            name: PLUGIN.to_owned(),
            configuration: configuration("configuration", document.configuration.as_ref())?,
            singleton: false,
        }],
        Some(plugins) => {
            let each = plugins.iter().enumerate().map(|(index, plugin)| {
                let path = format!("plugins[{index}].configuration");
                Ok(Plugin {
                    name: plugin.name.clone(),
                    configuration: configuration(&path, plugin.configuration.as_ref())?,
                    singleton: plugin.singleton,
                })
            });
            each.collect::<Result<_, Problem>>()?
        }
    };
    let events = document.events.iter().enumerate();
    let events = events.map(|(index, tree)| event(&format!("events[{index}]"), tree, names, &configuration));
    scenario.events = events.collect::<Result<_, Problem>>()?;
    let end = scenario.bounds.until.saturating_add(scenario.bounds.settle);
    if let Some((index, late)) = scenario.events.iter().enumerate().find(|(_, event)| event.at > end) {
        let message = format!("the run is over after {end:?}, and this is at {:?}", late.at);
        return Err(Problem::new(format!("events[{index}].at"), message, "raise `bounds.until`"));
    }
    // A stable sort: what is due at the same time stays in the order of the file.
    scenario.events.sort_by_key(|event| event.at);
    Ok(scenario)
}

/// The bytes that a plugin is given: nothing, a string as it is, or JSON.
fn bytes(path: &str, configuration: &Json) -> Result<Vec<u8>, Problem> {
    match configuration {
        Json::Null => Ok(Vec::new()),
        Json::String(text) => Ok(text.clone().into_bytes()),
        Json::Object(_) | Json::Array(_) => Ok(configuration.to_string().into_bytes()),
        Json::Bool(_) | Json::Number(_) => {
            let message = format!("`{configuration}` is neither a mapping nor a string");
            Err(Problem::new(path, message, "put it in quotes to send it as it is"))
        }
    }
}

/// Whether a variant changes this configuration: it is of the same kind, or there is none.
fn fits(given: &Json, patch: &Json) -> bool {
    given.is_null()
        || matches!((given, patch), (Json::Object(_), Json::Object(_)) | (Json::String(_), Json::String(_)))
}

fn merged(given: &Json, patch: &Json) -> Json {
    let mut merged = given.clone();
    merge(&mut merged, patch);
    merged
}

/// JSON Merge Patch, RFC 7396.
fn merge(target: &mut Json, patch: &Json) {
    let Json::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Json::Object(serde_json::Map::new());
    }
    let Json::Object(target) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key).or_insert(Json::Null), value);
        }
    }
}

// === Events ===

fn event(
    path: &str,
    tree: &Yaml,
    names: &Names,
    configuration: &impl Fn(&str, Option<&Json>) -> Result<Vec<u8>, Problem>,
) -> Result<Event, Problem> {
    let Some(mapping) = tree.as_mapping() else {
        return Err(Problem::new(path, "an event is a mapping", "give `at` and what happens"));
    };
    let kinds: Vec<&str> = EVENT_KINDS.into_iter().filter(|kind| mapping.contains_key(kind)).collect();
    let (at, kind) = match kinds.as_slice() {
        ["request"] => request_event(path, &read::part(path, tree.clone())?, names)?,
        ["cluster"] => {
            let event: document::AnswersEvent = read::part(path, tree.clone())?;
            if let Some(of) = &event.path {
                parts::check_path(&format!("{path}.path"), of)?;
            }
            let kind = EventKind::Answers {
                cluster: names.cluster(&format!("{path}.cluster"), &event.cluster)?,
                path: event.path,
                answers: parts::replies(&format!("{path}.answers"), &event.answers)?,
            };
            (event.at, kind)
        }
        ["configure"] => {
            let event: document::ConfigureEvent = read::part(path, tree.clone())?;
            let given = event.configuration.as_ref();
            let kind = EventKind::Configure {
                plugin: names.plugin(&format!("{path}.configure"), &event.configure)?,
                configuration: configuration(&format!("{path}.configuration"), given)?,
            };
            (event.at, kind)
        }
        ["remove"] => {
            let event: document::RemoveEvent = read::part(path, tree.clone())?;
            let plugin = names.plugin(&format!("{path}.remove"), &event.remove)?;
            (event.at, EventKind::Remove { plugin })
        }
        ["trap"] => {
            let event: document::TrapEvent = read::part(path, tree.clone())?;
            let thread = names.thread(&format!("{path}.trap"), &event.trap)?;
            (event.at, EventKind::Trap { thread })
        }
        ["stall"] => {
            let event: document::StallEvent = read::part(path, tree.clone())?;
            let thread = names.thread(&format!("{path}.stall"), &event.stall)?;
            (event.at, EventKind::Stall { thread, span: event.span.0 })
        }
        [] => {
            let keys = mapping.keys().filter_map(Yaml::as_str).filter(|key| *key != "at");
            let near = keys.map(|key| did_you_mean(key, EVENT_KINDS)).find(|cure| cure.starts_with("did"));
            let cure = near.unwrap_or_else(|| format!("give one of {}", listed(EVENT_KINDS)));
            return Err(Problem::new(path, "it does not say what happens", cure));
        }
        several => {
            let message = format!("{} happen at once", listed(several.iter().copied()));
            return Err(Problem::new(path, message, "make an event of each"));
        }
    };
    Ok(Event { at: at.0, kind })
}

fn request_event(
    path: &str,
    event: &document::Request,
    names: &Names,
) -> Result<(document::Time, EventKind), Problem> {
    let Some(at) = event.at else {
        return Err(Problem::new(path, "the key `at` is missing", "give `at`"));
    };
    let kind = EventKind::Request {
        name: event.request.clone().unwrap_or_default(),
        worker: names.worker(&format!("{path}.worker"), event.worker.unwrap_or(0))?,
        leaves_after: event.leaves_after.map(|time| time.0),
        request: Box::new(parts::request(path, event)?),
    };
    Ok((at, kind))
}

// === Rules ===

fn rules(must: &document::Must, names: &Names) -> Result<Vec<Rule>, Problem> {
    let always = must.always.iter().enumerate();
    let always = always.map(|(index, rule)| always_rule(&format!("must.always[{index}]"), rule, names));
    let eventually = must.eventually.iter().enumerate();
    let eventually =
        eventually.map(|(index, rule)| eventually_rule(&format!("must.eventually[{index}]"), rule, names));
    let at_most = must.at_most.iter().enumerate();
    let at_most = at_most.map(|(index, rule)| at_most_rule(&format!("must.at_most[{index}]"), rule, names));
    always.chain(eventually).chain(at_most).collect()
}

fn at_most_rule(path: &str, rule: &document::AtMost, names: &Names) -> Result<Rule, Problem> {
    let document::AtMost { cluster, path: of, calls, traps } = rule;
    let cluster = match (cluster, traps) {
        (None, Some(traps)) if of.is_none() && calls.is_none() => {
            return Ok(Rule::AtMostTraps { traps: *traps });
        }
        (_, Some(_)) => {
            let message = "it counts more than one thing";
            return Err(Problem::new(path, message, "make a rule of `traps` alone"));
        }
        (None, None) => {
            let message = "it does not say what is counted";
            return Err(Problem::new(path, message, "give `cluster` and `calls`, or `traps`"));
        }
        (Some(cluster), None) => cluster,
    };
    let Some(calls) = *calls else {
        return Err(Problem::new(path, "the key `calls` is missing", "give `calls`"));
    };
    if let Some(of) = of {
        parts::check_path(&format!("{path}.path"), of)?;
    }
    if cluster == ANY_CLUSTER {
        let message = format!("`{ANY_CLUSTER}` is no single cluster");
        return Err(Problem::new(format!("{path}.cluster"), message, "name the one that is meant"));
    }
    let cluster = names.cluster(&format!("{path}.cluster"), cluster)?;
    Ok(Rule::AtMost { cluster, path: of.clone(), calls })
}

fn always_rule(path: &str, rule: &document::Always, names: &Names) -> Result<Rule, Problem> {
    let requests = match (&rule.request, &rule.requests) {
        (None, None) => Vec::new(),
        (Some(name), None) => vec![names.request(&format!("{path}.request"), name)?],
        (None, Some(several)) => {
            let each = several.iter().enumerate();
            let each = each.map(|(index, name)| names.request(&format!("{path}.requests[{index}]"), name));
            each.collect::<Result<_, _>>()?
        }
        (Some(_), Some(_)) => {
            return Err(Problem::new(path, "it has both `request` and `requests`", "keep one of the two"));
        }
    };
    let when = rule.when.as_ref().map(|when| when_answered(&format!("{path}.when"), when, names));
    let when = when.transpose()?;
    match (&rule.never, &rule.answer, &rule.one_of) {
        (Some(never), None, None) => {
            Ok(Rule::Never { when, requests, answer: parts::answer(&format!("{path}.never"), never)? })
        }
        (None, Some(answer), None) => {
            let answers = vec![parts::answer(&format!("{path}.answer"), answer)?];
            Ok(Rule::Always { when, requests, answers })
        }
        (None, None, Some(several)) if !several.is_empty() => {
            let each = several.iter().enumerate();
            let each = each.map(|(index, answer)| parts::answer(&format!("{path}.one_of[{index}]"), answer));
            Ok(Rule::Always { when, requests, answers: each.collect::<Result<_, _>>()? })
        }
        (None, None, _) => {
            let message = "it does not say what the answer must be";
            Err(Problem::new(path, message, "give `never`, `answer` or `one_of`"))
        }
        _ => {
            Err(Problem::new(path, "it says more than one thing", "keep one of `never`, `answer`, `one_of`"))
        }
    }
}

fn when_answered(path: &str, when: &document::When, names: &Names) -> Result<(String, Answer), Problem> {
    let name = names.request(&format!("{path}.request"), &when.request)?;
    Ok((name, parts::when(path, when)?))
}

fn eventually_rule(path: &str, rule: &document::Eventually, names: &Names) -> Result<Rule, Problem> {
    let probe = |key: &str, request: &document::Request| {
        let path = format!("{path}.{key}");
        parts::probe(&path, request).map(Box::new)
    };
    if let Some(agree) = &rule.agree {
        if rule.when.is_some() || rule.workers.is_some() || rule.request.is_some() || rule.answer.is_some() {
            let message = "with `agree`, every worker is asked and any answer will do";
            return Err(Problem::new(path, message, "remove the other keys, or make a rule of them"));
        }
        return Ok(Rule::Agreement { request: probe("agree", agree)? });
    }
    let (Some(request), Some(answer)) = (&rule.request, &rule.answer) else {
        let message = "it does not say what is asked and answered";
        return Err(Problem::new(path, message, "give `request` and `answer`, or `agree`"));
    };
    let when = rule.when.as_ref().map(|when| when_answered(&format!("{path}.when"), when, names));
    let when = when.transpose()?;
    let workers = rule.workers.iter().flatten().enumerate();
    let workers = workers.map(|(index, worker)| names.worker(&format!("{path}.workers[{index}]"), *worker));
    Ok(Rule::Eventually {
        when,
        workers: workers.collect::<Result<_, _>>()?,
        request: probe("request", request)?,
        answer: parts::answer(&format!("{path}.answer"), answer)?,
    })
}
