//! All that pgwarden listens on: inherited from a service manager, taken over from another process, or opened.

use crate::activation::Inherited;
use crate::listen::{self, Listener, SocketFile};
use crate::start_error::StartError;
use crate::takeover::{Estate, Predecessor};
use pgwarden_config::{Admin, Endpoint, Settings};
use std::io;
use std::net::TcpListener;
use std::sync::Arc;

/// All that pgwarden listens on.
#[derive(Debug)]
pub(crate) struct Sockets {
    /// For clients.
    pub(crate) clients: Vec<Listener>,
    /// For health checks and metrics.
    pub(crate) admin: Option<TcpListener>,
}

impl Sockets {
    /// What was inherited; else what the settings name, from the predecessor where it has it.
    ///
    /// # Errors
    /// [`StartError::System`] naming the address that cannot be opened.
    pub(crate) fn open(
        inherited: Inherited,
        predecessor: &mut Option<Predecessor>,
        settings: &Settings,
    ) -> Result<Self, StartError> {
        let Inherited { mut clients, mut admin } = inherited;
        if clients.is_empty() {
            for endpoint in &settings.listen {
                let taken = predecessor.as_mut().and_then(|predecessor| predecessor.clients(endpoint));
                clients.push(
                    taken.map_or_else(|| Listener::open(endpoint, settings.unix_socket_permissions), Ok)?,
                );
            }
        }
        if let (None, Some(asked)) = (&admin, &settings.admin) {
            let address = address(asked);
            let taken = predecessor.as_mut().and_then(|predecessor| predecessor.admin(&address));
            admin = Some(taken.map_or_else(
                || {
                    listen::bind_tcp(&asked.host, asked.port)
                        .map_err(StartError::system(format!("cannot listen on {address} (admin)")))
                },
                Ok,
            )?);
        }
        Ok(Self { clients, admin })
    }

    /// What can be handed over to another process.
    ///
    /// # Errors
    /// When the system has no more file descriptors.
    pub(crate) fn estate(&self, settings: &Settings) -> io::Result<Estate> {
        let mut estate = Estate::default();
        self.clients.iter().try_for_each(|listener| estate.add(listener))?;
        if let (Some(listener), Some(asked)) = (&self.admin, &settings.admin) {
            estate.add_admin(listener, address(asked))?;
        }
        Ok(estate)
    }

    /// The files of unix sockets that this process removes, once they are its own.
    pub(crate) fn files(&self) -> Vec<Arc<SocketFile>> {
        self.clients.iter().filter_map(Listener::file).collect()
    }
}

/// The admin listener as the settings name it.
fn address(admin: &Admin) -> String {
    Endpoint::Tcp(admin.host.clone(), admin.port).to_string()
}
