//! Logs and metrics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};
use crate::content::Content;
use crate::snapshotter::Snapshotter;
use crate::{Error, Result};

/// How often gauges of the pool are renewed.
const REPORT_PERIOD: Duration = Duration::from_secs(5);
/// Upper bounds of the buckets of request times, in seconds.
const BUCKETS: [f64; 14] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

/// Sends logs to standard error, as text or as JSON, one event a line.
///
/// # Errors
/// [`Error::Invalid`] for a level that cannot be parsed.
pub fn start_logs(log: &Log) -> Result<()> {
    let filter = EnvFilter::try_new(&log.level).map_err(|err| Error::invalid("log.level", err.to_string()))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => builder.with_ansi(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}

/// Serves Prometheus metrics on `address`.
///
/// # Errors
/// [`Error::Pool`] when the address cannot be bound.
pub fn serve_metrics(address: SocketAddr) -> Result<()> {
    let failed = |err| Error::Pool(format!("metrics cannot be served on {address}: {err}"));
    PrometheusBuilder::new()
        .set_buckets(&BUCKETS)
        .map_err(failed)?
        .with_http_listener(address)
        .install()
        .map_err(failed)
}

/// Renews the gauges of the pool for as long as the daemon runs.
pub async fn report_pool(snapshotter: Arc<Snapshotter>, content: Arc<Content>) {
    let mut ticks = tokio::time::interval(REPORT_PERIOD);
    loop {
        ticks.tick().await;
        let snapshotter = snapshotter.clone();
        let read = tokio::task::spawn_blocking(move || {
            (snapshotter.metadata().totals(), snapshotter.trash_len(), snapshotter.free_bytes())
        });
        metrics::gauge!("leasehold_ingests").set(content.ingests_open() as f64);
        let Ok((totals, trash, free)) = read.await else { continue };
        if let Ok(totals) = totals {
            metrics::gauge!("leasehold_snapshots").set(totals.snapshots as f64);
            metrics::gauge!("leasehold_layers").set(totals.layers as f64);
            metrics::gauge!("leasehold_blobs").set(totals.blobs as f64);
        }
        metrics::gauge!("leasehold_trash_layers").set(trash as f64);
        if let Ok(free) = free {
            metrics::gauge!("leasehold_free_bytes").set(free as f64);
        }
    }
}
