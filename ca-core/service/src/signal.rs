//! When to stop, and telling the service manager that the process is ready.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::OnceLock;

use tokio::sync::watch;

/// Ends at SIGINT or SIGTERM, or with the parent where [`stop_with_parent`] was called. Both are caught from the call on: one that comes before the future is awaited is not lost,
/// and does not end the process halfway. Must be called within a tokio runtime.
pub fn until_signal() -> impl Future<Output = ()> + Send {
    use tokio::signal::unix::{SignalKind, signal};
    let caught = signal(SignalKind::terminate()).and_then(|terminate| Ok((terminate, signal(SignalKind::interrupt())?)));
    async move {
        match caught {
            Ok((mut terminate, mut interrupt)) => tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                () = until_parent_is_gone() => tracing::warn!("the parent process is gone"),
            },
            Err(error) => {
                tracing::warn!(%error, "SIGTERM can't be awaited");
                let _ = tokio::signal::ctrl_c().await;
            }
        }
    }
}

/// Whether the parent is gone, where [`stop_with_parent`] asked.
static PARENT: OnceLock<watch::Receiver<bool>> = OnceLock::new();

/// From here on the end of standard input stops the process like a signal: its other end is the parent's, which so leaves
/// nothing behind, however it ends. Call it before [`until_signal`].
pub fn stop_with_parent() {
    let (gone, seen) = watch::channel(false);
    if PARENT.set(seen).is_ok() {
        std::thread::spawn(move || {
            // Nothing is ever sent; an error ends it as well.
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            gone.send_replace(true);
        });
    }
}

async fn until_parent_is_gone() {
    match PARENT.get() {
        // An error means that the thread died with its sender: then nobody watches any more, and the process stops.
        Some(seen) => drop(seen.clone().wait_for(|gone| *gone).await),
        None => std::future::pending().await,
    }
}

/// Tells systemd that the service is ready, where it asked to be told (sd_notify(3): `NOTIFY_SOCKET`).
pub fn notify_ready() {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return };
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name),
        None => SocketAddr::from_pathname(&name),
    };
    let told = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address));
    if let Err(error) = told {
        tracing::warn!(%error, "the service manager could not be told that this is ready");
    }
}
