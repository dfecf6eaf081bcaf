//! Certificates for TLS tests, made by the `openssl` command in memory-backed files.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::directory::Directory;

/// A certificate and its key, both PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

/// A certificate authority of a test's own.
#[derive(Debug)]
pub struct Authority {
    identity: Identity,
    directory: Directory,
}

impl Authority {
    /// A new authority that nobody else trusts.
    pub fn create() -> Authority {
        let directory = Directory::create("certificates");
        let extensions = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign"];
        let identity = request(&directory, "authority", "test authority", &extensions, &[]);
        Authority { identity, directory }
    }

    /// The authority's certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.identity.certificate
    }

    /// The path of a file with [`Authority::certificate`], for `sslrootcert`.
    pub fn path(&self) -> String {
        self.directory.path().join("authority.crt").to_string_lossy().into_owned()
    }

    /// An identity for a server at `localhost` and 127.0.0.1.
    pub fn server(&self) -> Identity {
        self.issue("server", "localhost", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    }

    /// An identity for a server of another name, which a careful client refuses.
    pub fn stranger(&self) -> Identity {
        self.issue("stranger", "elsewhere.test", "subjectAltName=DNS:elsewhere.test")
    }

    /// An identity for the database user `name`.
    pub fn user(&self, name: &str) -> Identity {
        self.issue("user", name, "extendedKeyUsage=clientAuth")
    }

    fn issue(&self, file: &str, name: &str, extension: &str) -> Identity {
        let path = |end: &str| self.directory.path().join(end).to_string_lossy().into_owned();
        let signer = ["-CA".to_owned(), path("authority.crt"), "-CAkey".to_owned(), path("authority.key")];
        request(&self.directory, file, name, &["basicConstraints=critical,CA:FALSE", extension], &signer)
    }

    /// A client that trusts this authority alone, shows `user` when asked, and speaks the ALPN
    /// protocols given: direct TLS needs `postgresql`.
    pub fn client(&self, user: Option<&Identity>, protocols: &[&str]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate(self.certificate())).expect("an authority is a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider knows the default versions")
            .with_root_certificates(roots);
        let mut config = match user {
            None => builder.with_no_client_auth(),
            Some(user) => {
                let key = PrivateKeyDer::from_pem_slice(user.key.as_bytes()).expect("a key in PEM");
                builder
                    .with_client_auth_cert(vec![certificate(&user.certificate)], key)
                    .expect("they belong together")
            }
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate in PEM")
}

/// `openssl req`: a key and a certificate, signed by itself unless `signer` names an authority.
fn request(
    directory: &Directory,
    file: &str,
    name: &str,
    extensions: &[&str],
    signer: &[String],
) -> Identity {
    let (key, certificate) =
        (directory.path().join(format!("{file}.key")), directory.path().join(format!("{file}.crt")));
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-nodes",
        "-days",
        "2",
        "-config",
        "/dev/null",
        "-subj",
        &format!("/CN={name}"),
    ]);
    openssl.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]).args(signer);
    for extension in extensions {
        openssl.args(["-addext", extension]);
    }
    openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    let output = openssl.output().expect("openssl is installed");
    assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    let read = |path| fs::read_to_string(path).expect("openssl has written it");
    Identity { certificate: read(certificate), key: read(key) }
}
