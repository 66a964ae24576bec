//! The socket of `--watch-socket`: opened before anything else is done, so that a path where none can be is refused at
//! once, and removed when the command ends, by Ctrl-C too. That of a command that was killed stays until the next run there
//! takes its place.
use crate::interrupt::{self, OnInterrupt};
use anyhow::{Context, bail};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Bytes of a socket's path at most: the system has room for one more, which ends it.
const PATH_BYTES_MOST: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// A socket to which this user's processes can connect.
pub(crate) struct Socket {
    pub(super) listener: UnixListener,
    place: Place,
    _tidy: OnInterrupt,
}

/// Where the socket lies, and which file it is there: another that took its place is not ours to remove.
#[derive(Clone)]
struct Place {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Socket {
    /// Opens a socket at a path where nothing is, or a socket at which nobody listens any more. Only this user may
    /// connect from the first moment on. No other thread of this process must be making files meanwhile.
    pub(crate) fn bind(path: &Path) -> anyhow::Result<Socket> {
        let bytes = path.as_os_str().len();
        if bytes > PATH_BYTES_MOST {
            bail!(
                "the path of --watch-socket has {bytes} bytes, expected at most {PATH_BYTES_MOST}, for which sockets have \
                 room: name a shorter one"
            );
        }
        make_room(path)?;
        let fault = || format!("cannot open a socket at {}", path.display());
        let listener = for_owner(|| UnixListener::bind(path)).with_context(fault)?;
        let meta = fs::symlink_metadata(path).with_context(fault)?;
        // Taken as it is now: the command may change its folder.
        let path = std::path::absolute(path).with_context(fault)?;
        let place = Place { path, device: meta.dev(), inode: meta.ino() };
        let left = place.clone();
        let tidy = interrupt::on_interrupt(move || left.remove());
        let socket = Socket { listener, place, _tidy: tidy };
        // Whoever accepts looks at other things, too.
        socket.listener.set_nonblocking(true).with_context(fault)?;
        Ok(socket)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.place.remove();
    }
}

impl Place {
    fn remove(&self) {
        let is_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|meta| (meta.dev(), meta.ino()) == (self.device, self.inode));
        if is_ours {
            // What cannot be removed is a dead socket, which the next command replaces.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes a socket at which nobody listens; refuses whatever else is there.
fn make_room(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    let meta = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        meta => meta.with_context(|| format!("cannot open a socket at {shown}"))?,
    };
    if !meta.file_type().is_socket() {
        bail!("{shown} is there and is no socket: name another path for --watch-socket, or remove it");
    }
    match UnixStream::connect(path) {
        Ok(_) => bail!("another process listens at {shown}: name another path for --watch-socket"),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).with_context(|| format!("cannot replace the dead socket {shown}"))
        }
        Err(error) => Err(error)
            .with_context(|| format!("{shown} is there, and whether anybody listens cannot be found out")),
    }
}

/// Does something by which files come to be for their owner alone, as no moment later would do.
fn for_owner<T>(deed: impl FnOnce() -> T) -> T {
    // SAFETY: it changes which rights new files of this process do not get, and nothing else.
    let before = unsafe { libc::umask(0o177) };
    let done = deed();
    // SAFETY: as above.
    unsafe { libc::umask(before) };
    done
}
