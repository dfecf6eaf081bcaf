//! Messages of the client, built by hand: nothing here refuses nonsense.

/// Protocol 3.0.
pub const PROTOCOL_3_0: u32 = 0x0003_0000;
/// Protocol 3.2, with cancel keys of any length.
pub const PROTOCOL_3_2: u32 = 0x0003_0002;

const CANCEL_REQUEST: u32 = 80_877_102;
const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;

/// A sequence of messages, sent in one write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontend(Vec<u8>);

impl Frontend {
    /// Nothing yet.
    pub fn new() -> Frontend {
        Frontend::default()
    }

    /// What would be sent.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Any bytes.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Frontend {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Any message: tag, the length as it should be, body.
    #[must_use]
    pub fn message(mut self, tag: u8, body: &[u8]) -> Frontend {
        self.0.push(tag);
        self.untagged(body)
    }

    /// Startup parameters; `user` comes first as in libpq.
    #[must_use]
    pub fn startup(self, protocol: u32, parameters: &[(&str, &str)]) -> Frontend {
        let mut body = protocol.to_be_bytes().to_vec();
        for (name, value) in parameters {
            body.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
        }
        body.push(0);
        self.untagged(&body)
    }

    /// SSLRequest.
    #[must_use]
    pub fn ssl_request(self) -> Frontend {
        self.untagged(&SSL_REQUEST.to_be_bytes())
    }

    /// GSSENCRequest.
    #[must_use]
    pub fn gssenc_request(self) -> Frontend {
        self.untagged(&GSSENC_REQUEST.to_be_bytes())
    }

    /// CancelRequest.
    #[must_use]
    pub fn cancel(self, process: i32, secret: &[u8]) -> Frontend {
        self.untagged(&[&CANCEL_REQUEST.to_be_bytes(), &process.to_be_bytes(), secret].concat())
    }

    /// PasswordMessage with a string.
    #[must_use]
    pub fn password(self, password: &str) -> Frontend {
        self.message(b'p', &[password.as_bytes(), b"\0"].concat())
    }

    /// SASLInitialResponse.
    #[must_use]
    pub fn sasl_initial(self, mechanism: &str, data: &[u8]) -> Frontend {
        let mut body = [mechanism.as_bytes(), b"\0"].concat();
        put_value(&mut body, Some(data));
        self.message(b'p', &body)
    }

    /// SASLResponse.
    #[must_use]
    pub fn sasl(self, data: &[u8]) -> Frontend {
        self.message(b'p', data)
    }

    /// Query.
    #[must_use]
    pub fn query(self, sql: &str) -> Frontend {
        self.message(b'Q', &[sql.as_bytes(), b"\0"].concat())
    }

    /// Parse; `types` are object ids, 0 for a type to be found out.
    #[must_use]
    pub fn parse(self, statement: &str, sql: &str, types: &[u32]) -> Frontend {
        let mut body = [statement.as_bytes(), b"\0", sql.as_bytes(), b"\0"].concat();
        put_count(&mut body, types.len());
        body.extend(types.iter().flat_map(|oid| oid.to_be_bytes()));
        self.message(b'P', &body)
    }

    /// Bind with parameters and results as text.
    #[must_use]
    pub fn bind(self, portal: &str, statement: &str, values: &[Option<&str>]) -> Frontend {
        let values: Vec<_> = values.iter().map(|value| value.map(str::as_bytes)).collect();
        self.bind_formats(portal, statement, &[], &values, &[])
    }

    /// Bind with format codes: 0 is text, 1 binary.
    #[must_use]
    pub fn bind_formats(
        self,
        portal: &str,
        statement: &str,
        formats: &[u16],
        values: &[Option<&[u8]>],
        results: &[u16],
    ) -> Frontend {
        let mut body = [portal.as_bytes(), b"\0", statement.as_bytes(), b"\0"].concat();
        put_formats(&mut body, formats);
        put_count(&mut body, values.len());
        for value in values {
            put_value(&mut body, *value);
        }
        put_formats(&mut body, results);
        self.message(b'B', &body)
    }

    /// Describe of a statement.
    #[must_use]
    pub fn describe_statement(self, name: &str) -> Frontend {
        self.message(b'D', &[b"S", name.as_bytes(), b"\0"].concat())
    }

    /// Describe of a portal.
    #[must_use]
    pub fn describe_portal(self, name: &str) -> Frontend {
        self.message(b'D', &[b"P", name.as_bytes(), b"\0"].concat())
    }

    /// Execute; 0 rows means all.
    #[must_use]
    pub fn execute(self, portal: &str, rows: u32) -> Frontend {
        self.message(b'E', &[portal.as_bytes(), b"\0", &rows.to_be_bytes()].concat())
    }

    /// Close of a statement.
    #[must_use]
    pub fn close_statement(self, name: &str) -> Frontend {
        self.message(b'C', &[b"S", name.as_bytes(), b"\0"].concat())
    }

    /// Close of a portal.
    #[must_use]
    pub fn close_portal(self, name: &str) -> Frontend {
        self.message(b'C', &[b"P", name.as_bytes(), b"\0"].concat())
    }

    /// Flush.
    #[must_use]
    pub fn flush(self) -> Frontend {
        self.message(b'H', b"")
    }

    /// Sync.
    #[must_use]
    pub fn sync(self) -> Frontend {
        self.message(b'S', b"")
    }

    /// CopyData.
    #[must_use]
    pub fn copy_data(self, data: &[u8]) -> Frontend {
        self.message(b'd', data)
    }

    /// CopyDone.
    #[must_use]
    pub fn copy_done(self) -> Frontend {
        self.message(b'c', b"")
    }

    /// CopyFail.
    #[must_use]
    pub fn copy_fail(self, reason: &str) -> Frontend {
        self.message(b'f', &[reason.as_bytes(), b"\0"].concat())
    }

    /// FunctionCall with arguments and result as text.
    #[must_use]
    pub fn function_call(self, function: u32, arguments: &[Option<&[u8]>]) -> Frontend {
        let mut body = function.to_be_bytes().to_vec();
        put_formats(&mut body, &[]);
        put_count(&mut body, arguments.len());
        for argument in arguments {
            put_value(&mut body, *argument);
        }
        body.extend(0_u16.to_be_bytes());
        self.message(b'F', &body)
    }

    /// Terminate.
    #[must_use]
    pub fn terminate(self) -> Frontend {
        self.message(b'X', b"")
    }

    fn untagged(mut self, body: &[u8]) -> Frontend {
        let length = u32::try_from(body.len() + 4).expect("a message is smaller than 4 GiB");
        self.0.extend(length.to_be_bytes());
        self.0.extend_from_slice(body);
        self
    }
}

fn put_count(body: &mut Vec<u8>, count: usize) {
    body.extend(u16::try_from(count).expect("at most 65,535 of anything").to_be_bytes());
}

fn put_formats(body: &mut Vec<u8>, formats: &[u16]) {
    put_count(body, formats.len());
    body.extend(formats.iter().flat_map(|format| format.to_be_bytes()));
}

fn put_value(body: &mut Vec<u8>, value: Option<&[u8]>) {
    let length = value.map_or(-1, |value| i32::try_from(value.len()).expect("a value is smaller than 2 GiB"));
    body.extend(length.to_be_bytes());
    body.extend_from_slice(value.unwrap_or_default());
}
