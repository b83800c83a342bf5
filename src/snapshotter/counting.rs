//! Counts the disk usage of committed layers, off every RPC path.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::SystemTime;

use crate::background::Background;
use crate::metadata::{Metadata, Usage};
use crate::overlay::{self, Layout};
use crate::types::LayerId;
use crate::{Chain, Error, Result};

/// Layers that wait to be counted. When more are committed than are counted, the rest is counted when Usage asks.
const QUEUE: usize = 16_384;

/// The counter of committed layers' usage.
pub(super) struct Counting {
    queue: SyncSender<Message>,
    shared: Arc<Shared>,
    worker: Background,
}

enum Message {
    Count(LayerId),
    Stop,
}

struct Shared {
    metadata: Arc<Metadata>,
    layout: Layout,
    stopped: AtomicBool,
}

impl Counting {
    pub fn start(metadata: Arc<Metadata>, layout: Layout) -> Result<Counting> {
        let shared = Arc::new(Shared { metadata, layout, stopped: AtomicBool::new(false) });
        let (queue, waiting) = sync_channel(QUEUE);
        let counting = Counting { queue, shared, worker: Background::default() };
        let shared = counting.shared.clone();
        counting.worker.spawn("count-usage", move || shared.run(&waiting))?;
        Ok(counting)
    }

    /// Has a committed layer counted some time soon.
    pub fn enqueue(&self, layer: LayerId) {
        // A full queue is no loss: Usage counts what it finds uncounted.
        let _ = self.queue.try_send(Message::Count(layer));
    }

    /// Counts a layer now.
    pub fn count(&self, layer: LayerId) -> Result<Usage> {
        self.shared.count(layer)
    }

    /// Has the worker end, and waits for it.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        // Wakes a worker that has nothing to do; one that has, sees the flag.
        let _ = self.queue.try_send(Message::Stop);
        self.worker.join();
    }
}

impl Shared {
    fn run(&self, waiting: &Receiver<Message>) {
        while let Ok(Message::Count(layer)) = waiting.recv() {
            if self.stopped.load(Ordering::Relaxed) {
                return;
            }
            match self.count(layer) {
                Ok(_) => {}
                Err(err) => tracing::warn!(%layer, error = %Chain(&err), "usage of a layer cannot be counted"),
            }
        }
    }

    fn count(&self, layer: LayerId) -> Result<Usage> {
        // Removed meanwhile, or counted meanwhile: nothing to walk.
        match self.metadata.layer(layer)? {
            None => return Ok(Usage::default()),
            Some(record) => {
                if let Some(usage) = record.usage {
                    return Ok(usage);
                }
            }
        }
        let counted = overlay::disk_usage(Path::new(&self.layout.upperdir(layer)))?;
        let usage = Usage { size: counted.size, inodes: counted.inodes };
        match self.store(layer, usage) {
            // Counted again another time; reads go on while writes do not.
            Ok(()) | Err(Error::Suspended(_) | Error::NoSpace { .. }) => Ok(usage),
            Err(err) => Err(err),
        }
    }

    fn store(&self, layer: LayerId, usage: Usage) -> Result<()> {
        let mut txn = self.metadata.write(SystemTime::now())?;
        txn.set_usage(layer, usage)?;
        crate::failpoint::hit("count: before the record");
        // Lost in a power cut, it is counted again.
        txn.commit_unsynced()
    }
}
