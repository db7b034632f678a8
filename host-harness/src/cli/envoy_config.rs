//! `portcullis envoy-config`: a complete Envoy configuration around a plugin configuration.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;
use host_harness::real_envoy::{BootstrapOptions, PolicyRoute, Upstream, bootstrap, review::review, to_yaml};
use portcullis_filter::{
    config::{Config, Paths},
    plugin,
};

use super::check;

#[derive(Args)]
pub(super) struct Arguments {
    /// The plugin configuration, YAML or JSON; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Where Envoy takes connections
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:10000")]
    listen: SocketAddr,
    /// Where permitted requests go
    #[arg(long, value_name = "HOST:PORT")]
    upstream: String,
    /// The filter's module, as `portcullis filter` wrote it
    #[arg(long, value_name = "FILE", default_value = "portcullis.wasm")]
    module: PathBuf,
    /// Where Envoy's admin interface listens; it has none without
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin: Option<SocketAddr>,
    /// How many workers Envoy will run; only its circuit breakers depend on it
    #[arg(long, value_name = "N", default_value_t = 4)]
    concurrency: u32,
    /// Routes by prefix, each with the policy that decides it; the first that matches is taken
    #[arg(long = "route", value_name = "PREFIX=POLICY")]
    routes: Vec<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let text = check::read(&arguments.config)?;
    let config = match Config::parse(&text) {
        Ok(config) => config,
        Err(error) => bail!("{}: {}", arguments.config.display(), plugin::refusal(&error)),
    };
    let document = String::from_utf8(text).context("the configuration is not UTF-8")?;
    let mut options = BootstrapOptions::new(&arguments.module, document, upstream(&arguments.upstream)?);
    options.listen = arguments.listen;
    options.admin = arguments.admin;
    options.concurrency = arguments.concurrency;
    for route in &arguments.routes {
        options.routes.push(policy_route(route, &config)?);
    }
    let bootstrap = bootstrap(&config, &options);
    // With strict paths, what we write leaves nothing to warn of.
    for finding in review(&bootstrap).iter().filter(|_| config.paths == Paths::Opa) {
        eprintln!("warning: {}: {}", finding.place, finding.message);
    }
    print!("{}", to_yaml(&bootstrap));
    Ok(ExitCode::SUCCESS)
}

fn upstream(text: &str) -> Result<Upstream> {
    let parsed = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let Some((host, port)) = parsed else {
        bail!("--upstream: it is not HOST:PORT; write it as 127.0.0.1:9000");
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(Upstream { host, port })
}

fn policy_route(text: &str, config: &Config) -> Result<PolicyRoute> {
    let Some((prefix, policy)) = text.split_once('=').filter(|(prefix, _)| prefix.starts_with('/')) else {
        bail!("--route {text}: it is not PREFIX=POLICY; write it as /t/=tenants");
    };
    if prefix.contains(['?', '#', ';', '\\'])
        || prefix.contains("//")
        || prefix.split('/').any(|part| part == "." || part == "..")
    {
        bail!(
            "--route {text}: no path begins so once it has one reading; leave out `?`, `#`, `;`, `\\`, `//`, `.` and `..`"
        );
    }
    if !config.policies.contains_key(policy) {
        bail!("--route {text}: there is no policy `{policy}`; add it to `portcullis.policies`");
    }
    Ok(PolicyRoute { prefix: prefix.to_owned(), policy: policy.to_owned() })
}
