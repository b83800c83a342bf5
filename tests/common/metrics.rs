//! A daemon's metrics, as Prometheus reads them.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

/// Where a daemon is to serve its metrics.
pub struct Metrics {
    port: u16,
}

impl Metrics {
    /// Chooses a port that is free now.
    pub fn somewhere() -> Metrics {
        Metrics { port: TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port() }
    }

    /// Returns the settings of the daemon.
    pub fn settings(&self) -> String {
        format!("[metrics]\nlisten = \"127.0.0.1:{}\"\n", self.port)
    }

    /// Reads all of them; nothing where they are not served yet.
    pub fn read(&self) -> String {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return String::new() };
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }
}
