//! `[audit.postgres]`: the trail as a table.

use std::time::Duration;

use super::{pace, surroundings};
use crate::endpoint::Endpoint;
use crate::mistake::Fault;
use crate::reader::Reader;
use crate::tls::Identity;
use crate::upstream::{ChannelBinding, Pooler, Upstream, UpstreamTls, UpstreamTlsMode};
use crate::url::{self, UpstreamUrl};
use crate::word::Word;

const SECTION: &str = "audit.postgres";
const URL: &str = "audit.postgres.url";
const PASSWORD: &str = "audit.postgres.password";
const OTHERS: [&str; 3] = [PASSWORD, "audit.postgres.timeout", "audit.postgres.batch"];
const SHAPE: &str = "postgres://writer:password@host:port/database";
const TIMEOUT: Duration = Duration::from_secs(30);

/// A table that holds the trail, of several pgwardens if need be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresSink {
    /// The server, the login and the database; the user is always there.
    pub server: Upstream,
    /// How long a batch may take, the connection included.
    pub timeout: Duration,
    /// The most records of one batch.
    pub batch: usize,
}

/// Reads `[audit.postgres]`; nothing without a URL.
pub(super) fn resolve(reader: &mut Reader<'_>) -> Option<PostgresSink> {
    surroundings(reader, URL, &OTHERS, SHAPE);
    let (timeout, batch) = pace(reader, SECTION, TIMEOUT);
    let password = reader.secret(PASSWORD);
    let url = reader.parse(URL, url::parse)?;
    if url.user.is_none() {
        reader.wrong(URL, Fault::new("names no user", SHAPE));
    }
    if url.password.is_some() && reader.is_written(PASSWORD) {
        reader.wrong(PASSWORD, Fault::new("the URL has a password already", "the password in one place"));
    }
    let tls = tls(reader, &url);
    let server = Upstream {
        endpoint: url.endpoint,
        user: Some(url.user?),
        password: url.password.or(password),
        database: url.database,
        tls,
        downstream_pooler: Pooler::No,
        max_backends: None,
        connect_timeout: timeout,
    };
    Some(PostgresSink { server, timeout, batch })
}

fn tls(reader: &mut Reader<'_>, url: &UpstreamUrl) -> UpstreamTls {
    let said = &url.parameters;
    for path in [&said.root_cert, &said.cert, &said.key].into_iter().flatten() {
        let readable = reader.readable(path);
        let origin = reader.origin(URL);
        reader.keep(readable, &origin, URL);
    }
    if said.cert.is_some() != said.key.is_some() {
        reader.wrong(URL, Fault::new("has one of sslcert and sslkey", "both or none"));
    }
    let mode = said.tls_mode.unwrap_or(UpstreamTlsMode::Prefer);
    let binding = said.channel_binding.unwrap_or(ChannelBinding::Prefer);
    if matches!(mode, UpstreamTlsMode::VerifyCa | UpstreamTlsMode::VerifyFull) && said.root_cert.is_none() {
        let problem = format!("{} without a root certificate", mode.as_str());
        reader.wrong(URL, Fault::new(problem, "sslrootcert in the URL"));
    }
    let is_local = matches!(url.endpoint, Endpoint::Unix { .. });
    if is_local && !matches!(mode, UpstreamTlsMode::Disable | UpstreamTlsMode::Prefer) {
        reader.wrong(URL, Fault::new("there is no TLS on a unix socket", UpstreamTlsMode::listed()));
    }
    if binding == ChannelBinding::Require && (is_local || mode == UpstreamTlsMode::Disable) {
        reader.wrong(URL, Fault::new("channel binding needs TLS", "another sslmode, and no unix socket"));
    }
    UpstreamTls {
        mode: if is_local { UpstreamTlsMode::Disable } else { mode },
        root_cert: said.root_cert.clone(),
        identity: said.cert.clone().zip(said.key.clone()).map(|(cert, key)| Identity { cert, key }),
        channel_binding: binding,
    }
}
