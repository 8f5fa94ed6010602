//! Tells systemd that the program is ready, for units of `Type=notify`.

/// Says that the program is ready; nothing happens where nobody asked
#[cfg(target_os = "linux")]
pub(crate) fn ready() {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else { return };
    if let Err(error) = linux::send(&path, b"READY=1") {
        tracing::warn!(%error, "systemd can't be told that this program is ready");
    }
}

/// Says that the program is ready; there is no systemd here
#[cfg(not(target_os = "linux"))]
pub(crate) fn ready() {}

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::OsStr;
    use std::io;
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    /// Sends one datagram; a name that begins with `@` is of the abstract kind
    pub(super) fn send(path: &OsStr, text: &[u8]) -> io::Result<()> {
        let address = match path.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(path)?,
        };
        UnixDatagram::unbound()?.send_to_addr(text, &address).map(drop)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn datagram_arrives_at_both_kinds_of_socket() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("notify");
            let name = format!("natsbridge-{}", std::process::id());
            let plain = UnixDatagram::bind(&path).unwrap();
            let address = SocketAddr::from_abstract_name(&name).unwrap();
            let hidden = UnixDatagram::bind_addr(&address).unwrap();
            for (socket, at) in [(plain, path.into_os_string()), (hidden, format!("@{name}").into())] {
                send(&at, b"READY=1").unwrap();
                let mut came = [0; 16];
                let length = socket.recv(&mut came).unwrap();
                assert_eq!(came.get(..length), Some(&b"READY=1"[..]));
            }
        }
    }
}
