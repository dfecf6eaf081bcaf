//! Why TLS cannot be set up.

use std::io;
use std::path::PathBuf;

/// Why TLS cannot be set up: which file, and what is wrong with it; never anything of a key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What stops it.
        source: io::Error,
    },
    /// A file is longer than any certificate chain.
    #[error("{} is longer than {limit} bytes", .path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// A block of PEM is broken.
    #[error("{} is malformed PEM", .path.display())]
    MalformedPem {
        /// The file.
        path: PathBuf,
    },
    /// There is no certificate.
    #[error("{} holds no certificate in PEM", .path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A certificate cannot be used.
    #[error("{} holds a certificate that cannot be used", .path.display())]
    BadCertificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// There is no private key.
    #[error("{} holds no private key in PEM", .path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The private key has a passphrase.
    #[error("{} holds a private key with a passphrase, which is not supported", .path.display())]
    EncryptedKey {
        /// The file.
        path: PathBuf,
    },
    /// The private key is broken, too weak, or of an unknown type.
    #[error("{} holds a private key that is not RSA (2048 bits or more), ECDSA or Ed25519", .path.display())]
    BadKey {
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key do not belong together.
    #[error("the key in {} does not belong to the certificate in {}", .key.display(), .cert.display())]
    KeyMismatch {
        /// The file with the certificate.
        cert: PathBuf,
        /// The file with the key.
        key: PathBuf,
    },
    /// TLS is offered without a certificate to show.
    #[error("TLS towards clients needs a certificate and its key")]
    NoIdentity,
    /// A certificate is to be verified, and nothing says against what.
    #[error("{mode} needs a root certificate")]
    NoRoot {
        /// The `sslmode`.
        mode: &'static str,
    },
    /// Nobody is trusted.
    #[error("this system has no root certificates, and no file of them is named")]
    NoAuthorities,
    /// The host cannot stand in a certificate.
    #[error("{host:?} is neither a host name nor an address that TLS can use")]
    BadHost {
        /// The host.
        host: String,
    },
    /// The library refuses its own algorithms: a mistake of ours.
    #[error("TLS cannot be set up")]
    Library(#[source] rustls::Error),
}
