use rustix::io::Errno;

use super::{Refusal, Trial};
use crate::overlay::testing::{self, TestFs};
use crate::overlay::{Dir, HostFeatures, Layout};

fn host() -> HostFeatures {
    HostFeatures {
        kernel: "6.1.0".into(),
        file_system: "ext2/3/4".into(),
        index_off: true,
        userns: false,
        userxattr: false,
        idmapped: true,
        openat2: true,
        redirects: false,
    }
}

#[test]
fn refusals_say_what_to_do() {
    let layout = Layout::new("/var/lib/leasehold").unwrap();
    let explain = |err, host: HostFeatures, messages: &str| {
        let refusal = Refusal { err, messages: messages.into() };
        refusal.explain::<()>(&layout, &host).unwrap_err().to_string()
    };
    let shown = [
        explain(Errno::NODEV, host(), ""),
        explain(Errno::PERM, host(), ""),
        explain(Errno::PERM, HostFeatures { userns: true, ..host() }, ""),
        explain(Errno::INVAL, HostFeatures { file_system: "nfs".into(), ..host() }, "overlay: upper fs is remote"),
    ]
    .join("\n");
    insta::assert_snapshot!(shown, @r"
    /var/lib/leasehold (ext2/3/4) cannot hold a pool: the kernel 6.1.0 has no overlayfs: load it with `modprobe overlay`, or use a kernel built with CONFIG_OVERLAY_FS
    /var/lib/leasehold (ext2/3/4) cannot hold a pool: overlayfs may not be mounted: run as root with CAP_SYS_ADMIN
    /var/lib/leasehold (ext2/3/4) cannot hold a pool: overlayfs may not be mounted in this user namespace by the kernel 6.1.0: use Linux 5.11 or later, or run outside of it
    /var/lib/leasehold (nfs) cannot hold a pool: overlayfs cannot be mounted on it (Invalid argument (os error 22)): use ext4, xfs or btrfs. The kernel says: overlay: upper fs is remote
    ");
}

#[test]
fn privileged_both_ways_of_mounting_work_and_leave_nothing_mounted() {
    testing::privileged("both ways of mounting an overlay", || {
        for fs in TestFs::each() {
            let layout = Layout::new(fs.path().join("pool")).unwrap();
            layout.create().unwrap();
            let staging = Dir::open(layout.staging()).unwrap();
            let host = host();
            for attached in [false, true] {
                let trial = Trial::new(&layout, &staging, &host).unwrap();
                let merged = if attached { trial.mount_attached().unwrap() } else { trial.mount_detached().unwrap() };
                trial.check_merged(&merged).unwrap();
                assert!(!std::fs::read_to_string("/proc/thread-self/mounts").unwrap().contains(".trial"));
            }
        }
    });
}
