//! Who may connect: root, and the group that the configuration names. A socket whose mode somebody has loosened serves
//! nobody else.

mod common;

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use common::daemon::Site;
use common::is_root;
use rustix::process::{Gid, Uid};

const LIMIT: Duration = Duration::from_secs(60);
/// A user and a group that are nobody's.
const OTHER: u32 = 54_321;

/// Whether a connection is served: the server greets first.
fn is_served(socket: &Path) -> bool {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.read(&mut [0; 9]).is_ok_and(|read| read > 0)
}

/// Runs `body` as another user, in a thread of its own, because that is all that can change its user.
fn as_other<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            rustix::thread::set_thread_groups(&[]).unwrap();
            let (uid, gid) = (Uid::from_raw(OTHER), Gid::from_raw(OTHER));
            rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
            rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
            body()
        });
        other.join().unwrap()
    })
}

/// Lets everybody get as far as the sockets.
fn open_dir(site: &Site) {
    fs::set_permissions(site.dir(), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn privileged_other_users_are_not_served_whatever_the_mode_of_the_socket_is() {
    if !is_root("other_users_are_not_served_whatever_the_mode_of_the_socket_is") {
        return;
    }
    let site = Site::new();
    open_dir(&site);
    let _daemon = site.start();
    for socket in [site.plugin_socket(), site.api_socket()] {
        assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o777, 0o600);
        assert!(is_served(&socket));
        assert!(as_other(|| UnixStream::connect(&socket).is_err()));
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(!as_other(|| is_served(&socket)));
        assert!(is_served(&socket));
    }
}

#[test]
fn privileged_the_configured_group_is_served_on_its_socket_only() {
    if !is_root("the_configured_group_is_served_on_its_socket_only") {
        return;
    }
    // Sections are only opened once in TOML, so the group is given in front of the paths' sections.
    let site = Site::new();
    open_dir(&site);
    let text = fs::read_to_string(site.config()).unwrap().replace("[api]\n", &format!("[api]\ngroup = \"{OTHER}\"\n"));
    let _daemon = site.start_with(|command| {
        // Written last: starting writes the site's own.
        fs::write(site.dir().join("config.toml"), &text).unwrap();
        // A umask must not take the group's rights.
        let daemon = std::mem::replace(command, std::process::Command::new("/bin/sh"));
        command.args(["-c", "umask 077; exec \"$0\" \"$@\""]).arg(daemon.get_program()).args(daemon.get_args());
        command.stderr(fs::File::create(site.log()).unwrap());
    });
    let socket = fs::metadata(site.api_socket()).unwrap();
    assert_eq!((socket.mode() & 0o777, socket.gid()), (0o660, OTHER));
    assert!(as_other(|| is_served(&site.api_socket())));
    assert!(as_other(|| UnixStream::connect(site.plugin_socket()).is_err()));
    assert!(is_served(&site.plugin_socket()));
}
