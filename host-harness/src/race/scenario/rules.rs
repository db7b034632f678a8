//! What must hold.

use super::{
    Answer, Rule,
    document::{self, Part},
    error::Problem,
    parts,
    resolve::Names,
};
use crate::world::ANY_CLUSTER;

pub(super) fn rules(must: &document::Must, names: &Names) -> Result<Vec<Rule>, Problem> {
    let always = must.always.iter().enumerate();
    let always = always.map(|(index, rule)| always_rule(&format!("must.always[{index}]"), rule, names));
    let eventually = must.eventually.iter().enumerate();
    let eventually =
        eventually.map(|(index, rule)| eventually_rule(&format!("must.eventually[{index}]"), rule, names));
    let at_most = must.at_most.iter().enumerate();
    let at_most = at_most.map(|(index, rule)| at_most_rule(&format!("must.at_most[{index}]"), rule, names));
    let mut rules: Vec<Rule> = always.chain(eventually).chain(at_most).collect::<Result<_, _>>()?;
    for (index, rule) in must.same.iter().enumerate() {
        rules.extend(same_rules(&format!("must.same[{index}]"), rule, names)?);
    }
    names.check_labels(&rules)?;
    Ok(rules)
}

fn at_most_rule(path: &str, rule: &document::AtMost, names: &Names) -> Result<Rule, Problem> {
    let document::AtMost { cluster, path: of, method, calls, traps, thread, ticks, queue, items } = rule;
    let counted = [
        ("calls", calls.is_some()),
        ("traps", traps.is_some()),
        ("ticks", ticks.is_some()),
        ("items", items.is_some()),
    ];
    let counted: Vec<&str> = counted.into_iter().filter(|(_, given)| *given).map(|(key, _)| key).collect();
    let counted = match counted.as_slice() {
        [one] => *one,
        [] if cluster.is_some() => {
            return Err(Problem::new(path, "the key `calls` is missing", "give `calls`"));
        }
        [] => {
            let message = "it does not say what is counted";
            return Err(Problem::new(path, message, "give one of `calls`, `traps`, `ticks`, `items`"));
        }
        [_, rest @ ..] => {
            let message = "it counts more than one thing";
            let cure = format!("make a rule of `{}` alone", rest.last().unwrap_or(&"calls"));
            return Err(Problem::new(path, message, cure));
        }
    };
    // What each count may be narrowed to.
    let narrowed = [
        ("cluster", cluster.is_some(), "calls"),
        ("path", of.is_some(), "calls"),
        ("method", method.is_some(), "calls"),
        ("thread", thread.is_some(), "ticks"),
        ("queue", queue.is_some(), "items"),
    ];
    if let Some((key, _, of)) = narrowed.iter().find(|(_, given, of)| *given && *of != counted) {
        let message = format!("it narrows `{of}`, and this counts `{counted}`");
        return Err(Problem::new(format!("{path}.{key}"), message, "remove it"));
    }
    match (calls, traps, ticks, items) {
        (_, Some(traps), ..) => Ok(Rule::AtMostTraps { traps: *traps }),
        (_, _, Some(ticks), _) => {
            let thread = thread.as_ref().map(|name| names.thread(&format!("{path}.thread"), name));
            Ok(Rule::AtMostTicks { thread: thread.transpose()?, ticks: *ticks })
        }
        (.., Some(items)) => Ok(Rule::AtMostItems { queue: queue.clone(), items: *items }),
        (calls, ..) => at_most_calls(path, rule, calls.unwrap_or_default(), names),
    }
}

fn at_most_calls(path: &str, rule: &document::AtMost, calls: usize, names: &Names) -> Result<Rule, Problem> {
    let Some(cluster) = &rule.cluster else {
        if rule.path.is_some() || rule.method.is_some() {
            let message = "it does not say of which cluster";
            return Err(Problem::new(path, message, "give `cluster`"));
        }
        return Ok(Rule::AtMostCalls { calls });
    };
    if let Some(of) = &rule.path {
        parts::check_path(&format!("{path}.path"), of)?;
    }
    if let Some(method) = &rule.method {
        parts::check_method(&format!("{path}.method"), method)?;
    }
    if cluster == ANY_CLUSTER {
        let message = format!("`{ANY_CLUSTER}` is no single cluster");
        return Err(Problem::new(format!("{path}.cluster"), message, "name the one that is meant"));
    }
    let cluster = names.cluster(&format!("{path}.cluster"), cluster)?;
    Ok(Rule::AtMost { cluster, path: rule.path.clone(), method: rule.method.clone(), calls })
}

/// One rule for each label that is meant.
fn same_rules(path: &str, rule: &document::Same, names: &Names) -> Result<Vec<Rule>, Problem> {
    let document::Same { requests, label, parts, headers } = rule;
    let groups = match (requests, label) {
        (Some(requests), None) => {
            let mut group: Vec<String> = Vec::new();
            for (index, name) in requests.iter().enumerate() {
                let path = format!("{path}.requests[{index}]");
                let name = names.request(&path, name)?;
                if group.contains(&name) {
                    return Err(Problem::new(path, "it is named twice", "name each request once"));
                }
                group.push(name);
            }
            vec![(None, group)]
        }
        (None, Some(label)) => {
            let labelled = names.labelled(&format!("{path}.label"), label)?;
            labelled.into_iter().map(|(label, requests)| (Some(label), requests)).collect()
        }
        (None, None) => {
            let message = "it does not say whose answers";
            return Err(Problem::new(path, message, "give `requests`, or `label`"));
        }
        (Some(_), Some(_)) => {
            return Err(Problem::new(path, "it has both `requests` and `label`", "keep one of the two"));
        }
    };
    let wanted = |part| match (parts, headers) {
        // Without either, what every answer has.
        (None, None) => true,
        (parts, _) => parts.iter().flatten().any(|wanted| *wanted == part),
    };
    let (status, body) = (wanted(Part::Status), wanted(Part::Body));
    let headers = headers.iter().flatten();
    let headers = headers.map(|name| parts::header_name(&format!("{path}.headers"), name));
    let headers: Vec<String> = headers.collect::<Result<_, _>>()?;
    if !status && !body && headers.is_empty() {
        let cure = "give `parts` (`status`, `body`) or `headers`";
        return Err(Problem::new(path, "it compares nothing", cure));
    }
    let each = groups.into_iter().map(|(label, requests)| match (&label, requests.as_slice()) {
        (Some(label), [only]) => {
            let message = format!("request `{only}` alone has the label `{label}`");
            Err(Problem::new(path, message, "give it to another request as well"))
        }
        (None, [] | [_]) => {
            Err(Problem::new(path, "it takes two answers to compare", "name at least two requests"))
        }
        _ => Ok(Rule::Same { label, requests, status, body, headers: headers.clone() }),
    });
    each.collect()
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
            Ok(Rule::Never { when, requests, answer: parts::answer(&format!("{path}.never"), never, names)? })
        }
        (None, Some(answer), None) => {
            let answers = vec![parts::answer(&format!("{path}.answer"), answer, names)?];
            Ok(Rule::Always { when, requests, answers })
        }
        (None, None, Some(several)) if !several.is_empty() => {
            let each = several.iter().enumerate();
            let each =
                each.map(|(index, answer)| parts::answer(&format!("{path}.one_of[{index}]"), answer, names));
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
    Ok((name, parts::when(path, when, names)?))
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
        let headers = !rule.without.contains(&document::Without::Headers);
        return Ok(Rule::Agreement { request: probe("agree", agree)?, headers });
    }
    if !rule.without.is_empty() {
        return Err(Problem::new(format!("{path}.without"), "it belongs to `agree`", "remove it"));
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
        answer: parts::answer(&format!("{path}.answer"), answer, names)?,
    })
}
