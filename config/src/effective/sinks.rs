//! `[audit.postgres]`, `[audit.otlp]` and `[audit.syslog]` as TOML.

use super::{Page, upstream_url};
use crate::secret::HIDDEN;
use crate::sinks::{OtlpSink, PostgresSink, Sinks, SyslogSink};
use crate::units;

impl Page {
    /// `[audit.postgres]`, `[audit.otlp]` and `[audit.syslog]`, as far as they are there.
    pub(super) fn sinks(&mut self, sinks: &Sinks) {
        if let Some(PostgresSink { server, timeout, batch }) = &sinks.postgres {
            self.section("audit.postgres");
            let mut url = upstream_url(server);
            let said = &server.tls;
            let files = [
                ("sslrootcert", said.root_cert.as_ref()),
                ("sslcert", said.identity.as_ref().map(|identity| &identity.cert)),
                ("sslkey", said.identity.as_ref().map(|identity| &identity.key)),
            ];
            let files = files.into_iter().filter_map(|(name, path)| Some((name, path?.to_string_lossy())));
            let words = [("sslmode", said.mode.as_str()), ("channel_binding", said.channel_binding.as_str())];
            let words = words.into_iter().map(|(name, word)| (name, word.into()));
            for (index, (name, value)) in words.chain(files).enumerate() {
                url.push(if index == 0 { '?' } else { '&' });
                url.push_str(&format!("{name}={}", crate::url::encode(&value)));
            }
            self.text("url", &url);
            self.optional("password", server.password.as_ref().map(|_| HIDDEN));
            self.text("timeout", &units::show(*timeout));
            self.bare("batch", batch);
        }
        if let Some(otlp) = &sinks.otlp {
            self.otlp(otlp);
        }
        if let Some(syslog) = &sinks.syslog {
            self.syslog(syslog);
        }
    }

    fn otlp(&mut self, otlp: &OtlpSink) {
        self.section("audit.otlp");
        self.text("endpoint", &otlp.endpoint);
        if !otlp.headers.is_empty() {
            self.list("headers", otlp.headers.iter().map(|(name, _)| format!("{name}={HIDDEN}")));
        }
        if !otlp.resource.is_empty() {
            self.list("resource", otlp.resource.iter().map(|(name, value)| format!("{name}={value}")));
        }
        self.path("root_cert", otlp.root_cert.as_deref());
        self.text("timeout", &units::show(otlp.timeout));
        self.bare("batch", otlp.batch);
    }

    fn syslog(&mut self, syslog: &SyslogSink) {
        self.section("audit.syslog");
        self.text("address", &syslog.address.to_string());
        self.text("facility", syslog.facility.as_str());
        self.path("root_cert", syslog.root_cert.as_deref());
        self.text("timeout", &units::show(syslog.timeout));
        self.bare("batch", syslog.batch);
    }
}
