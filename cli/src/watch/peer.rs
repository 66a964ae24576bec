//! Whose process is at the other end of a Unix socket.
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;

/// Whether it is this user's.
pub(super) fn is_own(stream: &UnixStream) -> io::Result<bool> {
    // SAFETY: a question about this process, which always has an answer.
    let own = unsafe { libc::geteuid() };
    Ok(user(stream)? == own)
}

#[cfg(target_os = "linux")]
fn user(stream: &UnixStream) -> io::Result<libc::uid_t> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut bytes = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the descriptor is open, and the system writes at most `bytes` to `peer`.
    let asked = unsafe {
        let at = (&raw mut peer).cast();
        libc::getsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, at, &raw mut bytes)
    };
    if asked == 0 { Ok(peer.uid) } else { Err(io::Error::last_os_error()) }
}

#[cfg(not(target_os = "linux"))]
fn user(stream: &UnixStream) -> io::Result<libc::uid_t> {
    let (mut uid, mut gid) = (0, 0);
    // SAFETY: the descriptor is open, and the system writes one number to each of the two.
    let asked = unsafe { libc::getpeereid(stream.as_raw_fd(), &raw mut uid, &raw mut gid) };
    if asked == 0 { Ok(uid) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_this_user_s() {
        let (one, other) = UnixStream::pair().unwrap();
        assert!(is_own(&one).unwrap() && is_own(&other).unwrap());
    }
}
