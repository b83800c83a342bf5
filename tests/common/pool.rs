//! A pool with its daemon, into which images are unpacked and from which they are removed as containerd does it.

use std::fs::File;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate};

use super::client::{Client, UPPERDIR_SETTING, upperdir_of_mounts};
use super::daemon::{Daemon, Site};
use super::wait_for;

const LIMIT: Duration = Duration::from_secs(30);

pub struct Pool {
    pub site: Site,
    pub daemon: Daemon,
    /// What containerd is, on the plugin socket.
    pub containerd: Client,
    /// Somebody on the API socket, in the namespace `default`.
    pub operator: Client,
}

impl Pool {
    /// Makes a pool with more settings, as TOML sections, and starts its daemon.
    pub fn start(settings: &str) -> Pool {
        Pool::serve(Pool::site(settings))
    }

    /// Makes a site with more settings.
    pub fn site(settings: &str) -> Site {
        Site::with_settings(&format!("{UPPERDIR_SETTING}{settings}"))
    }

    /// Starts the daemon of a site.
    pub fn serve(site: Site) -> Pool {
        let daemon = site.start();
        let (containerd, operator) = (Client::new(&daemon), Client::api(&daemon, "default"));
        Pool { site, daemon, containerd, operator }
    }

    /// Starts the daemon again, after a kill or a stop.
    pub fn restart(self, kill: bool) -> Pool {
        let Pool { site, daemon, .. } = self;
        if kill {
            daemon.kill();
        } else {
            assert!(daemon.stop().success());
        }
        Pool::serve(site)
    }

    /// Unpacks an image of three empty layers into a namespace; `first` is the first of its numbers.
    pub fn pull(&self, namespace: &str, first: u32) {
        self.unpack(namespace, first, &["chain-1", "chain-2", "chain-3"], 0);
    }

    /// Unpacks layers of so many bytes, each on the one before.
    pub fn unpack(&self, namespace: &str, first: u32, chains: &[&str], bytes: u64) {
        let mut parent = String::new();
        for (number, chain) in (first..).step_by(2).zip(chains) {
            let key = format!("{namespace}/{number}/extract {chain}");
            let name = format!("{namespace}/{}/{chain}", number + 1);
            let mounts = self.containerd.prepare(&key, &parent).unwrap();
            if bytes > 0 {
                let file = File::create(upperdir_of_mounts(&mounts).join("file")).unwrap();
                fallocate(&file, FallocateFlags::empty(), 0, bytes).unwrap();
            }
            self.containerd.commit(&name, &key).unwrap();
            parent = name;
        }
    }

    /// Removes all that containerd knows, children first, and returns when its trash is gone.
    pub fn remove_all(&self) {
        let mut names: Vec<String> = self.containerd.list(&[]).unwrap().into_iter().map(|info| info.name).collect();
        let number = |name: &String| name.split('/').nth(1).and_then(|number| number.parse::<u32>().ok());
        names.sort_by_key(|name| std::cmp::Reverse(number(name)));
        for name in names {
            self.containerd.remove(&name).unwrap();
        }
        self.containerd.cleanup().unwrap();
        assert_eq!(self.containerd.list(&[]).unwrap().len(), 0);
    }

    pub fn layers(&self) -> usize {
        self.site.layer_dirs().len()
    }

    /// Waits until no layer is left, and checks that it took no longer than `limit`.
    pub fn expect_gone(&self, limit: Duration) {
        let began = Instant::now();
        wait_for("the end of all layers", LIMIT, || self.layers() == 0 && self.site.trash_dirs().is_empty());
        assert!(began.elapsed() < limit, "{:?}", began.elapsed());
        self.expect_whole();
    }

    /// Checks that records and directories agree.
    pub fn expect_whole(&self) {
        assert_eq!(self.site.fsck(false), Vec::<String>::new());
    }
}
