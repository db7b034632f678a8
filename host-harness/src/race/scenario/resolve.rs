//! A document becomes scenarios: defaults are filled in, names are looked up, and each variant becomes one of its own.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use yaml_serde::Value as Yaml;

use super::{
    Cluster, Expectation, Plugin, Rule, Scenario, Thread,
    bounds::{bounds, faults},
    document::{self, Document, Expect},
    error::{Problem, did_you_mean, listed},
    events::events,
    parts, replies,
    rules::rules,
};
use crate::{envoy::FailurePolicy, world::ANY_CLUSTER};

/// Modules that need no file.
const FILTER: &str = "portcullis:filter";
const BUILT_IN: [&str; 2] = [FILTER, "portcullis:guests"];
/// What begins the name of such a module.
const BUILT_IN_PREFIX: &str = "portcullis:";
/// Name of the plugin of the short form.
const PLUGIN: &str = "plugin";
/// The cluster that requests are routed to, which is always there.
const UPSTREAM: &str = "upstream";
/// Stands for every label in a rule.
const ANY_LABEL: &str = "*";
const WORKERS: usize = 2;
/// More workers than this cost memory and show nothing that fewer do not.
const MOST_WORKERS: usize = 64;
/// The oracle that no callback fails.
const TRAP: &str = "trap";

/// One scenario per variant; one when there are none.
pub(super) fn scenarios(document: &Document) -> Result<Vec<Scenario>, Problem> {
    kebab("scenario", &document.scenario)?;
    let module = module_of(document)?;
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
        module: module.clone(),
        variant: String::new(),
        expect: document.expect.map(expectation),
        workers: names.workers,
        vm_id: document.vm_id.clone().unwrap_or_else(|| document.scenario.clone()),
        seed: document.seed,
        failure_policy: failure_policy(document.failure_policy),
        // Ours is configured with it wherever it runs; Envoy's default is without.
        allow_on_headers_stop_iteration: document.allow_on_headers_stop_iteration.unwrap_or(is_ours(&module)),
        plugins: Vec::new(),
        clusters: clusters(document)?,
        events: Vec::new(),
        faults: faults(&document.faults)?,
        bounds: bounds(&document.bounds)?,
        rules,
        serializable: document.serializable,
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
        if let Some(module) = &settings.module {
            check_module(&format!("{path}.module"), module)?;
            scenario.module.clone_from(module);
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
    /// Labels in order of appearance, each with its requests.
    labels: Vec<(String, Vec<String>)>,
}

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
            labels: Vec::new(),
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
            // Whether it is a name at all is checked with the event.
            if let Some(name) = name {
                distinct(&format!("events[{index}].request"), "request", name, &mut names.requests)?;
            }
            if let (Some(name), Some(label)) = (name, event.get("label").and_then(Yaml::as_str)) {
                match names.labels.iter_mut().find(|(known, _)| known == label) {
                    Some((_, requests)) => requests.push(name.to_owned()),
                    None => names.labels.push((label.to_owned(), vec![name.to_owned()])),
                }
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

    pub(super) fn thread(&self, path: &str, name: &str) -> Result<Thread, Problem> {
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

    pub(super) fn request(&self, path: &str, name: &str) -> Result<String, Problem> {
        known(path, "request", name, &self.requests, "give one of the events a `request` of that name")
    }

    /// The requests with a label, or with each of them.
    pub(super) fn labelled(&self, path: &str, label: &str) -> Result<Vec<(String, Vec<String>)>, Problem> {
        if label == ANY_LABEL && !self.labels.is_empty() {
            return Ok(self.labels.clone());
        }
        let labels: Vec<String> = self.labels.iter().map(|(label, _)| label.clone()).collect();
        known(path, "label", label, &labels, "give several of the requests a `label` of that name")?;
        Ok(self.labels.iter().filter(|(known, _)| known == label).cloned().collect())
    }

    /// A label of which no rule asks would say nothing.
    pub(super) fn check_labels(&self, rules: &[Rule]) -> Result<(), Problem> {
        let asked = |label: &String| {
            rules.iter().any(|rule| matches!(rule, Rule::Same { label: Some(asked), .. } if asked == label))
        };
        match self.labels.iter().find(|(label, _)| !asked(label)) {
            None => Ok(()),
            Some((label, _)) => {
                let message = format!("no rule asks for the label `{label}`");
                Err(Problem::new("must.same", message, format!("add `{{label: {label}}}`")))
            }
        }
    }

    pub(super) fn cluster(&self, path: &str, name: &str) -> Result<String, Problem> {
        // With it every name is that of a cluster.
        if self.clusters.iter().any(|known| known == ANY_CLUSTER) {
            return Ok(name.to_owned());
        }
        known(path, "cluster", name, &self.clusters, "add it to `clusters`")
    }

    pub(super) fn plugin(&self, path: &str, name: &str) -> Result<String, Problem> {
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

/// The module of all variants that have none of their own; empty where all have.
fn module_of(document: &Document) -> Result<String, Problem> {
    let variants = &document.variants.0;
    if let Some(module) = &document.module {
        check_module("module", module)?;
        if !variants.is_empty() && variants.iter().all(|(_, settings)| settings.module.is_some()) {
            let message = "every variant has a module of its own, so nothing runs this one";
            return Err(Problem::new("module", message, "remove it, or that of a variant"));
        }
        return Ok(module.clone());
    }
    match variants.iter().find(|(_, settings)| settings.module.is_none()) {
        None if !variants.is_empty() => Ok(String::new()),
        Some((variant, _)) if variants.iter().any(|(_, settings)| settings.module.is_some()) => {
            let path = format!("variants.{variant}");
            Err(Problem::new(path, "it has no module", "give it one, or give one for the whole file"))
        }
        _ => Err(Problem::new("", "the key `module` is missing", "give `module`")),
    }
}

fn check_module(path: &str, module: &str) -> Result<(), Problem> {
    if module.is_empty() {
        let cure = format!("give the path of a module, or one of {}", listed(BUILT_IN));
        return Err(Problem::new(path, "it is empty", cure));
    }
    if module.starts_with(BUILT_IN_PREFIX) && !BUILT_IN.contains(&module) {
        let message = format!("there is no built-in module `{module}`");
        return Err(Problem::new(path, message, did_you_mean(module, BUILT_IN)));
    }
    Ok(())
}

/// Whether a module is the filter of this project.
pub(super) fn is_ours(module: &str) -> bool {
    module == FILTER
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
        document::Tolerated::LostUpdate => "lost-update",
        document::Tolerated::LostItem => "lost-item",
        document::Tolerated::LateRefusal => "late-refusal",
        document::Tolerated::StuckStream => "stuck-stream",
        document::Tolerated::CallLeak => "call-leak",
    }
}

fn clusters(document: &Document) -> Result<BTreeMap<String, Cluster>, Problem> {
    let mut clusters = BTreeMap::new();
    for (name, cluster) in &document.clusters.0 {
        let path = format!("clusters.{name}");
        let answers = replies::replies(&format!("{path}.answers"), &cluster.answers)?;
        let mut carrying = BTreeMap::new();
        for (text, answers) in &cluster.carrying.0 {
            let at = format!("{path}.carrying.{text}");
            if text.is_empty() || answers.is_empty() {
                let cure = "give the text that calls carry, and an answer";
                return Err(Problem::new(at, "it has no text or no answer", cure));
            }
            carrying.insert(text.clone(), replies::replies(&at, answers)?);
        }
        let mut paths = BTreeMap::new();
        for (of, answers) in &cluster.paths.0 {
            let at = format!("{path}.paths.{of}");
            parts::check_path(&at, of)?;
            paths.extend(replies::path_answers(&at, of, answers)?);
        }
        let mut grpc = BTreeMap::new();
        for (method, answers) in &cluster.grpc.0 {
            let at = format!("{path}.grpc.{method}");
            replies::check_grpc_method(&at, method)?;
            if answers.is_empty() {
                return Err(Problem::new(at, "it has no answer", "give one, or remove the method"));
            }
            grpc.insert(method.clone(), replies::grpc_replies(&at, answers)?);
        }
        clusters.insert(name.clone(), Cluster { answers, carrying, paths, grpc });
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
    let end = scenario.bounds.until.saturating_add(scenario.bounds.settle);
    scenario.events = events(&document.events, names, end, &configuration)?;
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
