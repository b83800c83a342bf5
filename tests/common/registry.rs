//! An image registry on a free port of the loopback device.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::tools::installed;
use super::wait_for;

const START: Duration = Duration::from_secs(30);
/// Between choosing a free port and binding it, another process may take it.
const ATTEMPTS: usize = 5;

/// A running registry. Dropping it kills it and deletes its images.
pub struct Registry {
    child: Child,
    address: SocketAddr,
    // Last: deleted when the process is gone.
    dir: TempDir,
}

impl Registry {
    /// Starts an empty registry and waits until it serves.
    pub fn start() -> Registry {
        (0..ATTEMPTS).find_map(|_| Registry::try_start()).expect("no registry could be started")
    }

    /// Returns the reference of a repository and tag, such as `test:full`, in this registry.
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// Returns how many documents and blobs were downloaded so far, by its log.
    pub fn downloads(&self) -> usize {
        let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap();
        let is_download =
            |line: &&str| line.contains("\"GET /v2/") && (line.contains("/blobs/") || line.contains("/manifests/"));
        log.lines().filter(is_download).count()
    }

    fn try_start() -> Option<Registry> {
        let dir = tempfile::Builder::new().prefix("lhreg").tempdir().unwrap();
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let config = dir.path().join("config.yml");
        let text = format!(
            "version: 0.1\n\
             log: {{level: warn}}\n\
             storage: {{filesystem: {{rootdirectory: {:?}}}}}\n\
             http: {{addr: {:?}, headers: {{X-Directory: [{:?}]}}}}\n",
            dir.path().join("images"),
            address.to_string(),
            dir.path(),
        );
        std::fs::write(&config, text).unwrap();
        let log = File::create(dir.path().join("log")).unwrap();
        let child = Command::new(installed("docker-registry"))
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut registry = Registry { child, address, dir };
        let mut ended = false;
        wait_for("the registry's start", START, || {
            ended = registry.child.try_wait().unwrap().is_some();
            ended || registry.answers()
        });
        (!ended).then_some(registry)
    }

    /// Whether it is this registry that answers on the port, and not another that was faster.
    fn answers(&self) -> bool {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(self.address)?;
            stream.set_read_timeout(Some(START))?;
            stream.write_all(b"GET /v2/ HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().is_ok_and(|answer| answer.contains(&self.dir.path().display().to_string()))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
