//! What happens outside, each event by its kind, and when.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value as Json;
use yaml_serde::Value as Yaml;

use super::{
    Due, Event, EventKind,
    document::{self, After, Has, Time},
    error::{Problem, did_you_mean, listed},
    parts, read, replies,
    resolve::Names,
};

/// Setting up takes time with the square of their number, and a run looks at all that may come next.
const MOST_EVENTS: usize = 1000;

/// What an event has that decides its kind.
const EVENT_KINDS: [&str; 6] = ["request", "cluster", "configure", "remove", "trap", "stall"];

/// The events of a scenario whose run is over after `end`: those that wait for no request by time, then the others.
pub(super) fn events(
    trees: &[Yaml],
    names: &Names,
    end: Duration,
    configuration: &impl Fn(&str, Option<&Json>) -> Result<Vec<u8>, Problem>,
) -> Result<Vec<Event>, Problem> {
    if trees.len() > MOST_EVENTS {
        let message = format!("{} are more than a search comes to", trees.len());
        return Err(Problem::new("events", message, format!("give at most {MOST_EVENTS}")));
    }
    let each = trees.iter().enumerate();
    let each = each.map(|(index, tree)| event(&format!("events[{index}]"), tree, names, configuration));
    let mut events: Vec<Event> = each.collect::<Result<_, _>>()?;
    check_times(&events, end)?;
    // A stable sort: what is due at the same time stays in the order of the file.
    events.sort_by_key(|event| match event.due {
        Due::At(at) => at,
        Due::After { .. } => Duration::MAX,
    });
    Ok(events)
}

fn event(
    path: &str,
    tree: &Yaml,
    names: &Names,
    configuration: &impl Fn(&str, Option<&Json>) -> Result<Vec<u8>, Problem>,
) -> Result<Event, Problem> {
    let Some(mapping) = tree.as_mapping() else {
        return Err(Problem::new(path, "an event is a mapping", "give `at` or `after`, and what happens"));
    };
    let kinds: Vec<&str> = EVENT_KINDS.into_iter().filter(|kind| mapping.contains_key(kind)).collect();
    let (at, after, kind) = match kinds.as_slice() {
        ["request"] => {
            let event: document::Request = read::part(path, tree.clone())?;
            (event.at, event.after.clone(), request(path, &event, names)?)
        }
        ["cluster"] if mapping.contains_key("grpc") => {
            let event: document::GrpcAnswersEvent = read::part(path, tree.clone())?;
            replies::check_grpc_method(&format!("{path}.grpc"), &event.grpc)?;
            let kind = EventKind::GrpcAnswers {
                cluster: names.cluster(&format!("{path}.cluster"), &event.cluster)?,
                method: event.grpc,
                answers: replies::grpc_replies(&format!("{path}.answers"), &event.answers)?,
            };
            (event.at, event.after, kind)
        }
        ["cluster"] => {
            let event: document::AnswersEvent = read::part(path, tree.clone())?;
            if let Some(of) = &event.path {
                parts::check_path(&format!("{path}.path"), of)?;
            }
            if let Some(method) = &event.method {
                let at = format!("{path}.method");
                parts::check_method(&at, method)?;
                if event.path.is_none() {
                    return Err(Problem::new(at, "it is the method of no path", "give `path`, or remove it"));
                }
            }
            let kind = EventKind::Answers {
                cluster: names.cluster(&format!("{path}.cluster"), &event.cluster)?,
                path: event.path,
                method: event.method,
                answers: replies::replies(&format!("{path}.answers"), &event.answers)?,
            };
            (event.at, event.after, kind)
        }
        ["configure"] => {
            let event: document::ConfigureEvent = read::part(path, tree.clone())?;
            let given = event.configuration.as_ref();
            let kind = EventKind::Configure {
                plugin: names.plugin(&format!("{path}.configure"), &event.configure)?,
                configuration: configuration(&format!("{path}.configuration"), given)?,
            };
            (event.at, event.after, kind)
        }
        ["remove"] => {
            let event: document::RemoveEvent = read::part(path, tree.clone())?;
            let plugin = names.plugin(&format!("{path}.remove"), &event.remove)?;
            (event.at, event.after, EventKind::Remove { plugin })
        }
        ["trap"] => {
            let event: document::TrapEvent = read::part(path, tree.clone())?;
            let thread = names.thread(&format!("{path}.trap"), &event.trap)?;
            (event.at, event.after, EventKind::Trap { thread })
        }
        ["stall"] => {
            let event: document::StallEvent = read::part(path, tree.clone())?;
            let thread = names.thread(&format!("{path}.stall"), &event.stall)?;
            (event.at, event.after, EventKind::Stall { thread, span: event.span.0 })
        }
        [] => {
            let keys = mapping.keys().filter_map(Yaml::as_str).filter(|key| !["at", "after"].contains(key));
            let near = keys.map(|key| did_you_mean(key, EVENT_KINDS)).find(|cure| cure.starts_with("did"));
            let cure = near.unwrap_or_else(|| format!("give one of {}", listed(EVENT_KINDS)));
            return Err(Problem::new(path, "it does not say what happens", cure));
        }
        several => {
            let message = format!("{} happen at once", listed(several.iter().copied()));
            return Err(Problem::new(path, message, "make an event of each"));
        }
    };
    Ok(Event { due: due(path, at, after.as_ref(), names)?, kind })
}

fn due(path: &str, at: Option<Time>, after: Option<&After>, names: &Names) -> Result<Due, Problem> {
    match (at, after) {
        (Some(at), None) => Ok(Due::At(at.0)),
        (None, Some(after)) => Ok(Due::After {
            request: names.request(&format!("{path}.after"), &after.request)?,
            begun: after.has == Has::Begun,
            delay: after.delay.0,
        }),
        (None, None) => {
            Err(Problem::new(path, "it does not say when", "give `at`, or `after` with a request"))
        }
        (Some(_), Some(_)) => {
            let cure = "keep one of the two; `after: {request: …, delay: …}` waits so long after a request";
            Err(Problem::new(path, "it has both `at` and `after`", cure))
        }
    }
}

fn request(path: &str, event: &document::Request, names: &Names) -> Result<EventKind, Problem> {
    Ok(EventKind::Request {
        name: event.request.clone().unwrap_or_default(),
        worker: names.worker(&format!("{path}.worker"), event.worker.unwrap_or(0))?,
        leaves_after: event.leaves_after.map(|time| time.0),
        request: Box::new(parts::request(path, event)?),
    })
}

/// What waits for a request must not be what that waits for, and must be due before the run is over.
fn check_times(events: &[Event], end: Duration) -> Result<(), Problem> {
    let requests: BTreeMap<&str, &Due> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Request { name, .. } => Some((name.as_str(), &event.due)),
            _ => None,
        })
        .collect();
    for (index, event) in events.iter().enumerate() {
        let (mut due, mut waits, mut delays) = (&event.due, Vec::new(), Duration::ZERO);
        let own = match &event.kind {
            EventKind::Request { name, .. } => Some(name.as_str()),
            _ => None,
        };
        let at = loop {
            match due {
                Due::At(at) => break at.saturating_add(delays),
                Due::After { request, delay, .. } => {
                    waits.push(request.as_str());
                    delays = delays.saturating_add(*delay);
                    if own == Some(request.as_str()) {
                        let chain = own.into_iter().chain(waits);
                        let chain: Vec<String> = chain.map(|name| format!("`{name}`")).collect();
                        let message = format!("it waits for itself: {}", chain.join(" after "));
                        let cure = "give one of them `at`";
                        return Err(Problem::new(format!("events[{index}].after"), message, cure));
                    }
                    match requests.get(request.as_str()) {
                        Some(earlier) if waits.len() <= requests.len() => due = earlier,
                        // A circle of others, which is said of one of them.
                        _ => break Duration::ZERO,
                    }
                }
            }
        };
        if at > end {
            let key = if waits.is_empty() { "at" } else { "after" };
            let message = format!("the run is over after {end:?}, and this is at {at:?}");
            return Err(Problem::new(format!("events[{index}].{key}"), message, "raise `bounds.until`"));
        }
    }
    Ok(())
}
