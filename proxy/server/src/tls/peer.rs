//! The names in a client's certificate.

use rustls::ServerConnection;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// The names that a client's certificate vouches for: the common name, then the DNS names and
/// e-mail addresses among the subject alternative names, as they are written.
///
/// Empty without a certificate, before the end of the handshake, and for a certificate that cannot be
/// parsed. The handshake has verified it; this only reads. Compare byte by byte with the database
/// user: nothing is folded or expanded (`*.example.com` is that text).
pub(crate) fn peer_names(connection: &ServerConnection) -> Vec<String> {
    if connection.is_handshaking() {
        return Vec::new();
    }
    let shown = connection.peer_certificates().and_then(|chain| chain.first());
    shown.and_then(|shown| Certificate::from_der(shown).ok()).map_or_else(Vec::new, |parsed| names(&parsed))
}

fn names(certificate: &Certificate) -> Vec<String> {
    let certificate = certificate.tbs_certificate();
    let common = certificate.subject().common_name().ok().flatten().map(String::from);
    let alternative = certificate.get_extension::<SubjectAltName>().ok().flatten();
    let alternative = alternative.into_iter().flat_map(|(_, names)| names.0);
    common.into_iter().chain(alternative.filter_map(user_name)).collect()
}

fn user_name(name: GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(text) | GeneralName::Rfc822Name(text) => Some(text.to_string()),
        _ => None,
    }
}
