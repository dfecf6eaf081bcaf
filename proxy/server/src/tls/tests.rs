//! Handshakes in memory, with certificates made for each test.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pgwarden_config::{
    ChannelBinding, ClientCert, ClientTls, Identity, TlsMode, UpstreamTls, UpstreamTlsMode,
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, DnValue, IsCa, Issuer, KeyPair, SanType, date_time_ymd,
};
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, Error, ProtocolVersion, ServerConfig,
    ServerConnection,
};
use tempfile::TempDir;
use x509_cert::der::{Any, Decode, Encode, Reader, SliceReader, Tag, Tagged};

use super::*;

/// An authority, and a folder for what it signs.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        Self::named("an authority")
    }

    fn named(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key) }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn sign(&self, name: &str, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        write(self.folder.path(), name, &certificate.pem(), &key.serialize_pem())
    }

    /// The usual certificate of a server, for `localhost` and 127.0.0.1.
    fn server(&self) -> Identity {
        self.sign("server", &for_hosts(&["localhost", "127.0.0.1"]))
    }

    fn client(&self, common_name: &str) -> Identity {
        self.sign("client", &for_user(common_name))
    }
}

fn for_hosts(hosts: &[&str]) -> CertificateParams {
    CertificateParams::new(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>()).unwrap()
}

fn for_user(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

fn expired(mut params: CertificateParams) -> CertificateParams {
    params.not_before = date_time_ymd(2001, 1, 1);
    params.not_after = date_time_ymd(2002, 1, 1);
    params
}

fn write(folder: &Path, name: &str, cert: &str, key: &str) -> Identity {
    let identity =
        Identity { cert: folder.join(format!("{name}.pem")), key: folder.join(format!("{name}.key")) };
    fs::write(&identity.cert, cert).unwrap();
    fs::write(&identity.key, key).unwrap();
    identity
}

fn offer(identity: Identity, client_cert: ClientCert) -> ClientTls {
    ClientTls { mode: TlsMode::Require, identity: Some(identity), client_cert }
}

fn accepting(identity: Identity) -> Acceptor {
    acceptor(&offer(identity, ClientCert::None)).unwrap().unwrap()
}

fn verifying(authority: &Authority) -> Acceptor {
    let client_cert = ClientCert::Verify { ca: authority.root() };
    acceptor(&offer(authority.server(), client_cert)).unwrap().unwrap()
}

fn ask(mode: UpstreamTlsMode, root: Option<&Authority>) -> UpstreamTls {
    UpstreamTls {
        mode,
        root_cert: root.map(Authority::root),
        identity: None,
        channel_binding: ChannelBinding::Prefer,
    }
}

/// One side of a handshake.
struct Target {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

fn target(tls: &UpstreamTls, host: &str) -> Target {
    let Connector { config, name, .. } = connector(tls, host).unwrap();
    Target { config: config.unwrap(), name }
}

/// A client that trusts everybody and shows a certificate if it has one.
fn client(identity: Option<Identity>) -> Target {
    target(&UpstreamTls { identity, ..ask(UpstreamTlsMode::Require, None) }, "localhost")
}

fn without_alpn(mut target: Target) -> Target {
    Arc::make_mut(&mut target.config).alpn_protocols.clear();
    target
}

fn offering(mut target: Target, protocols: &[&[u8]]) -> Target {
    let config = Arc::make_mut(&mut target.config);
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    target
}

/// Passes bytes to and fro until both sides are done; the error of the side that gave up first.
fn handshake(
    target: &Target,
    server: &Arc<ServerConfig>,
) -> Result<(ClientConnection, ServerConnection), Error> {
    let mut client = ClientConnection::new(Arc::clone(&target.config), target.name.clone()).unwrap();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    assert_eq!(peer_names(&server), [""; 0]);
    while client.is_handshaking() || server.is_handshaking() || client.wants_write() || server.wants_write() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut unread = wire.as_slice();
        while !unread.is_empty() {
            server.read_tls(&mut unread).unwrap();
            server.process_new_packets()?;
        }
        wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut unread = wire.as_slice();
        while !unread.is_empty() {
            client.read_tls(&mut unread).unwrap();
            client.process_new_packets()?;
        }
    }
    Ok((client, server))
}

fn error(target: &Target, server: &Arc<ServerConfig>) -> Error {
    handshake(target, server).map(|_| ()).unwrap_err()
}

fn names(client: &Target, acceptor: &Acceptor) -> Vec<String> {
    peer_names(&handshake(client, &acceptor.for_ssl_request).unwrap().1)
}

// Towards clients

#[test]
fn nothing_is_loaded_when_tls_is_off() {
    let missing = Identity { cert: "/nowhere".into(), key: "/nowhere".into() };
    let tls = ClientTls { mode: TlsMode::Disable, ..offer(missing, ClientCert::None) };
    assert!(acceptor(&tls).unwrap().is_none());
}

#[test]
fn a_client_may_leave_out_alpn_after_an_ssl_request() {
    let acceptor = accepting(Authority::new().server());
    let (_, server) = handshake(&without_alpn(client(None)), &acceptor.for_ssl_request).unwrap();
    assert_eq!(server.alpn_protocol(), None);
    let (_, server) = handshake(&client(None), &acceptor.for_ssl_request).unwrap();
    assert_eq!(server.alpn_protocol(), Some(ALPN));
}

#[test]
fn a_client_that_speaks_another_protocol_is_refused_both_ways() {
    let acceptor = accepting(Authority::new().server());
    let browser = offering(client(None), &[b"h2", b"http/1.1"]);
    assert_eq!(error(&browser, &acceptor.for_ssl_request), Error::NoApplicationProtocol);
    assert!(handshake(&browser, &acceptor.for_direct).is_err());
}

#[test]
fn direct_tls_demands_alpn() {
    let acceptor = accepting(Authority::new().server());
    assert!(handshake(&without_alpn(client(None)), &acceptor.for_direct).is_err());
    let several = offering(client(None), &[b"h2", ALPN]);
    for client in [client(None), several] {
        let (_, server) = handshake(&client, &acceptor.for_direct).unwrap();
        assert_eq!(server.alpn_protocol(), Some(ALPN));
    }
}

#[test]
fn direct_tls_demands_alpn_of_an_older_protocol_version_too() {
    let acceptor = accepting(Authority::new().server());
    assert!(handshake(&without_alpn(tls12(client(None))), &acceptor.for_direct).is_err());
    handshake(&tls12(client(None)), &acceptor.for_direct).unwrap();
}

/// The same client without TLS 1.3.
fn tls12(target: Target) -> Target {
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS12]).unwrap();
    let verifier = verifier::ServerVerifier::new(verifier::Trust::Anyone, &provider());
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = target.config.alpn_protocols.clone();
    Target { config: Arc::new(config), name: target.name }
}

#[test]
fn a_session_is_not_resumed() {
    let acceptor = accepting(Authority::new().server());
    for mut client in [client(None), tls12(client(None))] {
        Arc::make_mut(&mut client.config).resumption = rustls::client::Resumption::in_memory_sessions(8);
        for _ in 0..2 {
            let (_, server) = handshake(&client, &acceptor.for_ssl_request).unwrap();
            assert_ne!(server.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
        }
    }
}

#[test]
fn a_client_without_certificate_has_no_name() {
    let authority = Authority::new();
    assert_eq!(names(&client(None), &verifying(&authority)), [""; 0]);
    let unasked = accepting(authority.server());
    assert_eq!(names(&client(Some(authority.client("alice"))), &unasked), [""; 0]);
}

#[test]
fn a_clients_names_are_the_common_name_and_then_the_others() {
    let authority = Authority::new();
    let mut params = for_user("alice");
    params.subject_alt_names = vec![
        SanType::Rfc822Name("alice@example.com".try_into().unwrap()),
        SanType::URI("spiffe://example.com/alice".try_into().unwrap()),
        SanType::DnsName("alice.example.com".try_into().unwrap()),
        SanType::IpAddress([10, 0, 0, 1].into()),
    ];
    let client = client(Some(authority.sign("alice", &params)));
    let expected = ["alice", "alice@example.com", "alice.example.com"];
    assert_eq!(names(&client, &verifying(&authority)), expected);
}

#[test]
fn a_clients_name_may_be_of_any_string_type() {
    let authority = Authority::new();
    let acceptor = verifying(&authority);
    for value in [
        DnValue::Utf8String("Zoë".to_owned()),
        DnValue::PrintableString("Zoe".try_into().unwrap()),
        DnValue::BmpString("Zoë".try_into().unwrap()),
    ] {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, value);
        let found = names(&client(Some(authority.sign("zoe", &params))), &acceptor);
        assert!(matches!(found.as_slice(), [name] if name == "Zoë" || name == "Zoe"), "{found:?}");
    }
}

#[test]
fn a_name_with_a_zero_byte_stays_whole() {
    let authority = Authority::new();
    let client = client(Some(authority.client("alice\0.example.com")));
    assert_eq!(names(&client, &verifying(&authority)), ["alice\0.example.com"]);
}

#[test]
fn a_client_certificate_of_another_authority_is_refused() {
    let acceptor = verifying(&Authority::new());
    let stranger = (Authority::named("a stranger"), CertificateError::UnknownIssuer);
    let namesake = (Authority::new(), CertificateError::BadSignature);
    for (authority, expected) in [stranger, namesake] {
        let client = client(Some(authority.client("alice")));
        assert_eq!(error(&client, &acceptor.for_ssl_request), Error::from(expected.clone()));
        assert_eq!(error(&client, &acceptor.for_direct), Error::from(expected));
    }
}

#[test]
fn an_expired_client_certificate_is_refused() {
    let authority = Authority::new();
    let client = client(Some(authority.sign("old", &expired(for_user("alice")))));
    let error = error(&client, &verifying(&authority).for_ssl_request);
    assert!(matches!(error, Error::InvalidCertificate(CertificateError::ExpiredContext { .. })), "{error:?}");
}

// Towards the server

#[test]
fn a_connection_without_tls_needs_no_files_and_no_name() {
    let tls = UpstreamTls { root_cert: Some("/nowhere".into()), ..ask(UpstreamTlsMode::Disable, None) };
    assert!(connector(&tls, "/run/postgresql").unwrap().config.is_none());
}

#[test]
fn the_chain_is_checked_by_verify_ca_and_verify_full() {
    let authority = Authority::new();
    let server = accepting(authority.server()).for_ssl_request;
    for mode in [UpstreamTlsMode::VerifyCa, UpstreamTlsMode::VerifyFull] {
        let (client, _) = handshake(&target(&ask(mode, Some(&authority)), "localhost"), &server).unwrap();
        assert_eq!(client.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        assert_eq!(client.alpn_protocol(), Some(ALPN));
        let stranger = (Authority::named("a stranger"), CertificateError::UnknownIssuer);
        let namesake = (Authority::new(), CertificateError::BadSignature);
        for (authority, expected) in [stranger, namesake] {
            let client = target(&ask(mode, Some(&authority)), "localhost");
            assert_eq!(error(&client, &server), Error::from(expected));
        }
    }
}

#[test]
fn the_name_is_checked_by_verify_full_alone() {
    let authority = Authority::new();
    let server = accepting(authority.server()).for_ssl_request;
    for (host, fits) in
        [("localhost", true), ("127.0.0.1", true), ("db.example.com", false), ("10.0.0.1", false)]
    {
        let full = handshake(&target(&ask(UpstreamTlsMode::VerifyFull, Some(&authority)), host), &server);
        assert_eq!(full.is_ok(), fits, "{host}");
        handshake(&target(&ask(UpstreamTlsMode::VerifyCa, Some(&authority)), host), &server).unwrap();
    }
}

#[test]
fn a_common_name_is_no_host() {
    let authority = Authority::new();
    let server = accepting(authority.sign("server", &for_user("localhost"))).for_ssl_request;
    let client = target(&ask(UpstreamTlsMode::VerifyFull, Some(&authority)), "localhost");
    assert!(handshake(&client, &server).is_err());
}

#[test]
fn an_expired_server_certificate_is_refused_where_the_chain_is_checked() {
    let authority = Authority::new();
    let identity = authority.sign("old", &expired(for_hosts(&["localhost"])));
    let server = accepting(identity).for_ssl_request;
    for mode in [UpstreamTlsMode::VerifyCa, UpstreamTlsMode::VerifyFull] {
        let error = error(&target(&ask(mode, Some(&authority)), "localhost"), &server);
        assert!(
            matches!(error, Error::InvalidCertificate(CertificateError::ExpiredContext { .. })),
            "{error:?}"
        );
    }
    handshake(&target(&ask(UpstreamTlsMode::Require, None), "localhost"), &server).unwrap();
}

#[test]
fn prefer_and_require_trust_anybody_unless_a_root_is_given() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = accepting(authority.server()).for_ssl_request;
    for mode in [UpstreamTlsMode::Prefer, UpstreamTlsMode::Require] {
        handshake(&target(&ask(mode, None), "db.example.com"), &server).unwrap();
        handshake(&target(&ask(mode, Some(&authority)), "db.example.com"), &server).unwrap();
        assert!(handshake(&target(&ask(mode, Some(&stranger)), "localhost"), &server).is_err());
    }
}

/// A server that shows this certificate, whatever is wrong with it.
fn showing(shown: CertifiedKey) -> Arc<ServerConfig> {
    let builder = ServerConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(shown))))
}

#[test]
fn a_server_without_the_key_of_its_certificate_is_refused_in_every_mode() {
    let authority = Authority::new();
    let shown = pem::identity(&authority.server(), &provider()).unwrap();
    let own = pem::identity(&authority.sign("thief", &for_hosts(&["localhost"])), &provider()).unwrap();
    let server = showing(CertifiedKey::new(shown.cert, own.key));
    let bad = Error::from(CertificateError::BadSignature);
    for mode in [UpstreamTlsMode::Prefer, UpstreamTlsMode::Require] {
        assert_eq!(error(&target(&ask(mode, None), "localhost"), &server), bad);
    }
    for mode in [UpstreamTlsMode::VerifyCa, UpstreamTlsMode::VerifyFull] {
        assert_eq!(error(&target(&ask(mode, Some(&authority)), "localhost"), &server), bad);
    }
    assert_eq!(error(&tls12(client(None)), &server), bad);
}

/// The certificate without version number and extensions, which is how version 1 looks.
fn as_version_1(certificate: &[u8]) -> Vec<u8> {
    let parts = |bytes: &[u8]| -> Vec<Any> {
        let mut reader = SliceReader::new(bytes).unwrap();
        std::iter::from_fn(|| (!reader.is_finished()).then(|| Any::decode(&mut reader).unwrap())).collect()
    };
    let sequence = |parts: &[Any]| {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.to_der().unwrap()).collect();
        Any::new(Tag::Sequence, bytes).unwrap()
    };
    let mut outer = parts(Any::from_der(certificate).unwrap().value());
    let mut inner = parts(outer[0].value());
    inner.retain(|part| !part.tag().is_context_specific());
    outer[0] = sequence(&inner);
    sequence(&outer).to_der().unwrap()
}

#[test]
fn a_server_with_a_certificate_of_version_1_is_accepted_where_nothing_of_it_is_checked() {
    let authority = Authority::new();
    let own = pem::identity(&authority.server(), &provider()).unwrap();
    let other = pem::identity(&authority.sign("thief", &for_hosts(&["localhost"])), &provider()).unwrap();
    let old = vec![as_version_1(&own.cert[0]).into()];
    let server = showing(CertifiedKey::new(old.clone(), own.key));
    handshake(&client(None), &server).unwrap();
    let checked = target(&ask(UpstreamTlsMode::VerifyCa, Some(&authority)), "localhost");
    assert!(handshake(&checked, &server).is_err());
    let impostor = showing(CertifiedKey::new(old, other.key));
    assert_eq!(error(&client(None), &impostor), CertificateError::BadSignature.into());
}

/// A self-signed certificate of a single server, marked as an authority as `openssl req -x509` does.
fn self_signed(folder: &Path, mut params: CertificateParams) -> Identity {
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    write(folder, "self", &params.self_signed(&key).unwrap().pem(), &key.serialize_pem())
}

#[test]
fn a_self_signed_certificate_that_is_the_root_itself_is_accepted_with_its_dates_and_name_checked() {
    let folder = tempfile::tempdir().unwrap();
    let trusting = |mode, identity: &Identity, host| {
        let root_cert = Some(identity.cert.clone());
        target(
            &UpstreamTls { mode, root_cert, identity: None, channel_binding: ChannelBinding::Prefer },
            host,
        )
    };
    let identity = self_signed(folder.path(), for_hosts(&["localhost"]));
    let server = accepting(identity.clone()).for_ssl_request;
    handshake(&trusting(UpstreamTlsMode::VerifyFull, &identity, "localhost"), &server).unwrap();
    handshake(&trusting(UpstreamTlsMode::VerifyCa, &identity, "other"), &server).unwrap();
    assert!(handshake(&trusting(UpstreamTlsMode::VerifyFull, &identity, "other"), &server).is_err());

    let identity = self_signed(folder.path(), expired(for_hosts(&["localhost"])));
    let server = accepting(identity.clone()).for_ssl_request;
    let error = error(&trusting(UpstreamTlsMode::VerifyCa, &identity, "localhost"), &server);
    assert_eq!(error, CertificateError::Expired.into());
}

#[test]
fn a_server_that_asks_for_a_certificate_gets_pgwardens() {
    let authority = Authority::new();
    let client = UpstreamTls {
        identity: Some(authority.client("pgwarden")),
        ..ask(UpstreamTlsMode::VerifyFull, Some(&authority))
    };
    assert_eq!(names(&target(&client, "localhost"), &verifying(&authority)), ["pgwarden"]);
}

#[test]
fn an_alert_of_the_server_reaches_the_client_as_an_error() {
    let mut refused = client(None);
    Arc::make_mut(&mut refused.config).alpn_protocols.clear();
    let acceptor = accepting(Authority::new().server());
    let mut client = ClientConnection::new(refused.config, refused.name).unwrap();
    let mut server = ServerConnection::new(acceptor.for_direct).unwrap();
    let (mut there, mut back) = (Vec::new(), Vec::new());
    client.write_tls(&mut there).unwrap();
    server.read_tls(&mut there.as_slice()).unwrap();
    server.process_new_packets().unwrap_err();
    server.write_tls(&mut back).unwrap();
    client.read_tls(&mut back.as_slice()).unwrap();
    let error = client.process_new_packets().unwrap_err();
    assert_eq!(error, Error::AlertReceived(AlertDescription::AccessDenied));
}

#[test]
fn a_host_may_be_a_name_or_an_address() {
    let name = |host| connector(&ask(UpstreamTlsMode::Require, None), host).map(|connector| connector.name);
    assert_eq!(name("my_db").unwrap(), ServerName::try_from("my_db").unwrap());
    assert!(matches!(name("::1").unwrap(), ServerName::IpAddress(_)));
    assert!(matches!(name("no host").unwrap_err(), TlsError::BadHost { .. }));
}

// Files

/// What is said about a server certificate and its key, sources included.
fn complaint(identity: &Identity) -> String {
    let error = acceptor(&offer(identity.clone(), ClientCert::None)).map(|_| ()).unwrap_err();
    let text = match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    let folder = identity.cert.parent().unwrap().to_string_lossy().into_owned();
    text.replace(&format!("{folder}/"), "")
}

#[test]
fn each_mistake_in_a_file_is_named_with_the_file() {
    let authority = Authority::new();
    let (good, other) = (authority.server(), authority.client("other"));
    let cert = fs::read_to_string(&good.cert).unwrap();
    let key = fs::read_to_string(&good.key).unwrap();
    let other_key = fs::read_to_string(&other.key).unwrap();
    let broken = cert.replacen("MII", "M I*", 1);
    let not_x509 = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let not_a_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let cut = key.replace("-----END", "");
    let long = "\n".repeat(1024 * 1024 + 1);
    for (cert, key, expected) in [
        (cert.as_str(), other_key.as_str(), "the key in it.key does not belong to the certificate in it.pem"),
        ("", &key, "it.pem holds no certificate in PEM"),
        (&key, &key, "it.pem holds no certificate in PEM"),
        (&broken, &key, "it.pem is malformed PEM"),
        (&long, &key, "it.pem is longer than 1048576 bytes"),
        (
            not_x509,
            &key,
            "it.pem holds a certificate that cannot be used: invalid peer certificate: BadEncoding",
        ),
        (&cert, &cert, "it.key holds no private key in PEM"),
        (&cert, &cut, "it.key is malformed PEM"),
        (&cert, locked, "it.key holds a private key with a passphrase, which is not supported"),
        (
            &cert,
            not_a_key,
            "it.key holds a private key that is not RSA (2048 bits or more), ECDSA or Ed25519",
        ),
    ] {
        assert_eq!(complaint(&write(authority.folder.path(), "it", cert, key)), expected);
    }
    fs::remove_file(&good.cert).unwrap();
    assert!(complaint(&good).starts_with("cannot read server.pem: No such file"), "{}", complaint(&good));
}

#[test]
fn certificate_and_key_may_share_a_file() {
    let authority = Authority::new();
    let mut identity = authority.server();
    let key = fs::read_to_string(&identity.key).unwrap();
    fs::write(&identity.cert, key + &fs::read_to_string(&identity.cert).unwrap()).unwrap();
    identity.key = identity.cert.clone();
    accepting(identity);
}

#[test]
fn a_missing_authority_is_an_error_not_an_open_door() {
    let authority = Authority::new();
    let nowhere = ClientCert::Verify { ca: authority.folder.path().join("nowhere") };
    let tls = offer(authority.server(), nowhere);
    assert!(matches!(acceptor(&tls).unwrap_err(), TlsError::Unreadable { .. }));
    let empty = authority.folder.path().join("empty.pem");
    fs::write(&empty, "").unwrap();
    let tls = offer(authority.server(), ClientCert::Verify { ca: empty.clone() });
    assert!(matches!(acceptor(&tls).unwrap_err(), TlsError::NoCertificate { .. }));
    let tls = UpstreamTls { root_cert: Some(empty), ..ask(UpstreamTlsMode::VerifyCa, None) };
    assert!(matches!(connector(&tls, "localhost").unwrap_err(), TlsError::NoCertificate { .. }));
    let tls = ask(UpstreamTlsMode::VerifyFull, None);
    assert_eq!(connector(&tls, "localhost").unwrap_err().to_string(), "verify-full needs a root certificate");
    let tls = ClientTls { identity: None, ..offer(authority.server(), ClientCert::None) };
    assert!(matches!(acceptor(&tls).unwrap_err(), TlsError::NoIdentity));
}
