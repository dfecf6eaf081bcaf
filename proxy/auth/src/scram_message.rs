//! The texts of SCRAM messages, RFC 5802 section 7, as far as both roles need them.

/// The longest nonce that a client may choose, in bytes (PostgreSQL's own clients send 24).
pub(crate) const MAX_CLIENT_NONCE: usize = 256;

/// The longest nonce that a server may send back, in bytes, the client's part included.
pub(crate) const MAX_SERVER_NONCE: usize = 1024;

/// A `client-first-message`, taken apart.
pub(crate) struct ClientFirst<'a> {
    /// `n`, `y` or `p=<channel binding type>`.
    pub(crate) binding_flag: &'a str,
    /// The GS2 header, with its closing comma.
    pub(crate) gs2_header: &'a str,
    /// `a=<name>`, or empty.
    pub(crate) authorization_identity: &'a str,
    /// `client-first-message-bare`, of which the proof is made.
    pub(crate) bare: &'a str,
    /// The client's nonce.
    pub(crate) nonce: &'a str,
}

/// A `client-final-message`, taken apart.
pub(crate) struct ClientFinal<'a> {
    /// The channel binding, still in base64.
    pub(crate) channel_binding: &'a str,
    /// The nonce of both sides.
    pub(crate) nonce: &'a str,
    /// `client-final-message-without-proof`.
    pub(crate) without_proof: &'a str,
    /// The proof, still in base64.
    pub(crate) proof: &'a str,
}

/// A `server-first-message`, taken apart.
pub(crate) struct ServerFirst<'a> {
    /// The nonce of both sides.
    pub(crate) nonce: &'a str,
    /// The salt, still in base64.
    pub(crate) salt: &'a str,
    /// The iteration count, still in decimal.
    pub(crate) iterations: &'a str,
}

/// What is wrong with the text of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageError {
    /// It does not follow the grammar; the text says where.
    Malformed(&'static str),
    /// It demands an extension (`m=`), of which there are none.
    MandatoryExtension,
}

impl<'a> ClientFirst<'a> {
    pub(crate) fn parse(data: &'a [u8]) -> Result<Self, MessageError> {
        let text = utf8(data)?;
        let (binding_flag, rest) =
            text.split_once(',').ok_or(MessageError::Malformed("the GS2 header is cut"))?;
        let (authorization_identity, bare) =
            rest.split_once(',').ok_or(MessageError::Malformed("the GS2 header is cut"))?;
        let gs2_header = text.strip_suffix(bare).unwrap_or(text);
        refuse_mandatory(bare)?;
        let (_user, rest) = attribute(bare, "n=", "a user name attribute is expected")?;
        let (nonce, extensions) = attribute(rest, "r=", "a nonce attribute is expected")?;
        check_extensions(extensions)?;
        check_nonce(nonce)?;
        Ok(ClientFirst { binding_flag, gs2_header, authorization_identity, bare, nonce })
    }
}

impl<'a> ClientFinal<'a> {
    pub(crate) fn parse(data: &'a [u8]) -> Result<Self, MessageError> {
        let text = utf8(data)?;
        let (without_proof, proof) =
            text.rsplit_once(",p=").ok_or(MessageError::Malformed("a proof attribute is expected"))?;
        if proof.contains(',') {
            return Err(MessageError::Malformed("something follows the proof"));
        }
        refuse_mandatory(without_proof)?;
        let (channel_binding, rest) =
            attribute(without_proof, "c=", "a channel binding attribute is expected")?;
        let (nonce, extensions) = attribute(rest, "r=", "a nonce attribute is expected")?;
        check_extensions(extensions)?;
        Ok(ClientFinal { channel_binding, nonce, without_proof, proof })
    }
}

impl<'a> ServerFirst<'a> {
    pub(crate) fn parse(data: &'a [u8]) -> Result<Self, MessageError> {
        let text = utf8(data)?;
        refuse_mandatory(text)?;
        let (nonce, rest) = attribute(text, "r=", "a nonce attribute is expected")?;
        let (salt, rest) = attribute(rest, "s=", "a salt attribute is expected")?;
        let (iterations, extensions) = attribute(rest, "i=", "an iteration count attribute is expected")?;
        check_extensions(extensions)?;
        check_nonce(nonce)?;
        Ok(ServerFirst { nonce, salt, iterations })
    }
}

fn utf8(data: &[u8]) -> Result<&str, MessageError> {
    let text = std::str::from_utf8(data).map_err(|_| MessageError::Malformed("the message is not UTF-8"))?;
    if text.contains('\0') {
        return Err(MessageError::Malformed("the message contains a zero byte"));
    }
    Ok(text)
}

/// Reads one `x=value` attribute; returns the value and what follows its comma, empty at the end.
fn attribute<'a>(
    text: &'a str,
    name: &str,
    missing: &'static str,
) -> Result<(&'a str, &'a str), MessageError> {
    let rest = text.strip_prefix(name).ok_or(MessageError::Malformed(missing))?;
    Ok(rest.split_once(',').unwrap_or((rest, "")))
}

fn refuse_mandatory(text: &str) -> Result<(), MessageError> {
    if text.starts_with("m=") { Err(MessageError::MandatoryExtension) } else { Ok(()) }
}

/// Accepts optional extensions (`a=value,b=value`), which RFC 5802 section 5.1 says to ignore.
fn check_extensions(text: &str) -> Result<(), MessageError> {
    if text.is_empty() {
        return Ok(());
    }
    for extension in text.split(',') {
        refuse_mandatory(extension)?;
        let mut characters = extension.chars();
        let name = characters.next().is_some_and(|name| name.is_ascii_alphabetic());
        if !name || characters.next() != Some('=') {
            return Err(MessageError::Malformed("an extension is no attribute"));
        }
    }
    Ok(())
}

/// `printable` of RFC 5802: visible ASCII without the comma, at least one character.
fn check_nonce(nonce: &str) -> Result<(), MessageError> {
    if nonce.is_empty() {
        return Err(MessageError::Malformed("the nonce is empty"));
    }
    if !nonce.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',') {
        return Err(MessageError::Malformed("the nonce contains an unprintable character"));
    }
    Ok(())
}
