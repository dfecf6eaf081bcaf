//! Certificates for TLS tests, made by the `openssl` command in memory-backed files.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::directory::Directory;

/// A certificate and its key, both PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
    /// The file with the certificate, for `sslcert`; it is there as long as the authority is.
    pub certificate_path: String,
    /// The file with the key, for `sslkey`.
    pub key_path: String,
}

/// A certificate authority of a test's own.
#[derive(Debug)]
pub struct Authority {
    identity: Identity,
    directory: Directory,
}

impl Identity {
    fn read(certificate_path: String, key_path: String) -> Identity {
        let read = |path| fs::read_to_string(path).expect("openssl has written it");
        Identity { certificate: read(&certificate_path), key: read(&key_path), certificate_path, key_path }
    }

    /// A server that shows this certificate and asks for none.
    pub fn acceptor(&self) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("a key in PEM");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.expect("the provider knows the default versions").with_no_client_auth();
        let config = builder.with_single_cert(vec![certificate(&self.certificate)], key);
        Arc::new(config.expect("they belong together"))
    }
}

/// What `openssl ca` wants to know: it alone signs for a time of one's own.
const PAST: &str = "
[ca]
default_ca = past
[past]
database = index.txt
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = names
x509_extensions = user
[names]
commonName = supplied
[user]
basicConstraints = critical,CA:FALSE
extendedKeyUsage = clientAuth
";

impl Authority {
    /// A new authority that nobody else trusts.
    pub fn create() -> Authority {
        let directory = Directory::create("certificates");
        let extensions = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign"];
        let identity =
            request(&directory, "authority", "test authority", &extensions, &EC.map(str::to_owned));
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
        self.issue(&format!("user-{name}"), name, "extendedKeyUsage=clientAuth")
    }

    /// The same, but it was valid in January 2020 only.
    pub fn expired_user(&self, name: &str) -> Identity {
        let (directory, file) = (self.directory.path(), format!("expired-{name}"));
        let path = |end: &str| directory.join(end).to_string_lossy().into_owned();
        let (key, request, certificate) =
            (path(&format!("{file}.key")), path(&format!("{file}.csr")), path(&format!("{file}.crt")));
        fs::write(path("ca.conf"), PAST).and_then(|()| fs::write(path("index.txt"), "")).expect("a file");
        let subject = format!("/CN={name}");
        let mut asked = Command::new("openssl");
        asked.args(["req", "-new", "-nodes", "-config", "/dev/null", "-subj", &subject, "-newkey", "ec"]);
        asked.args(["-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", &key, "-out", &request]);
        run(asked);
        let mut signed = Command::new("openssl");
        signed.current_dir(directory).args(["ca", "-batch", "-notext", "-config", "ca.conf"]);
        signed.args(["-cert", "authority.crt", "-keyfile", "authority.key", "-in", &request]);
        signed.args(["-startdate", "20200101000000Z", "-enddate", "20200131000000Z", "-out", &certificate]);
        run(signed);
        Identity::read(certificate, key)
    }

    /// An identity for a server at `localhost` that no authority has signed; `options` are those of `openssl req` that
    /// choose the key and the signature.
    pub fn self_signed(&self, options: &[&str]) -> Identity {
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let extensions = ["subjectAltName=DNS:localhost,IP:127.0.0.1"];
        request(&self.directory, "self-signed", "localhost", &extensions, &options)
    }

    fn issue(&self, file: &str, name: &str, extension: &str) -> Identity {
        let path = |end: &str| self.directory.path().join(end).to_string_lossy().into_owned();
        let signer = ["-CA".to_owned(), path("authority.crt"), "-CAkey".to_owned(), path("authority.key")];
        let options = [&EC.map(str::to_owned)[..], &signer].concat();
        request(&self.directory, file, name, &["basicConstraints=critical,CA:FALSE", extension], &options)
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

/// The key of every identity, unless a test wants another.
const EC: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];

/// `openssl req`: a key and a certificate, signed by itself unless `options` name an authority.
fn request(
    directory: &Directory,
    file: &str,
    name: &str,
    extensions: &[&str],
    options: &[String],
) -> Identity {
    let path = |end: &str| directory.path().join(format!("{file}.{end}")).to_string_lossy().into_owned();
    let (key, certificate) = (path("key"), path("crt"));
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
    openssl.args(options);
    for extension in extensions {
        openssl.args(["-addext", extension]);
    }
    openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    run(openssl);
    Identity::read(certificate, key)
}

fn run(mut openssl: Command) {
    let output = openssl.output().expect("openssl is installed");
    assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
}
