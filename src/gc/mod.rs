//! The collector: what is held, and by what.
//!
//! The [`Collector`] is a thread that waits for the next lease to end, and for holds that are taken away. It reads the
//! records (`feed.rs`), has them marked, and sweeps what is not (`trace.rs`). All else is pure
//! and knows no database and no clock: objects are fed to a [`Builder`], one after the other,
//! which makes a [`Graph`] of what refers to what; [`Graph::mark`] gives the [`Marks`], and whoever sweeps asks them. A
//! [`Barrier`] takes down what writers use meanwhile. [`Graph::why`] tells what keeps a resource.
//!
//! The [`Evictor`] is another thread: what only the daemon's own leases hold goes early when space runs short. `stock.rs`
//! says what of it.
//!
//! | type | root | refers to, beside labels | labels that count |
//! |---|---|---|---|
//! | lease | until it expires | its members | `gc.expire`, `gc.flat` |
//! | image | until it expires | its target | `gc.ref`, `gc.cond`, `gc.expire`; once expired `gc.bref` |
//! | snapshot | by label | its parent | `gc.root`, `gc.ref`, `gc.bref`, `gc.cond.value` |
//! | content | by label | | `gc.root`, `gc.ref`, `gc.bref`, `gc.cond` |
//! | ingest | until it expires, if it does | the blob that it will become | |
//! | container | always | its snapshot | `gc.ref`, `gc.bref` |
//! | sandbox | always | | `gc.ref` |
//!
//! What containerd has, or removed, is not in that graph. What leases hold below the documents of images that containerd
//! removed is found by reading these (`trees.rs`).
//!
//! The meaning of everything is containerd's, as of 2.4. References never leave a namespace. (Namespaces that share
//! content share files and not records: the file of a blob goes when no namespace has a record of it.)

mod barrier;
mod bits;
mod blobs;
mod build;
mod collect;
mod collector;
mod condition;
mod duration;
mod evictor;
mod explain;
mod feed;
mod give_up;
mod graph;
mod intern;
mod labels;
mod mark;
mod names;
mod object;
mod plan;
mod pool;
mod report;
mod resource;
mod retainers;
mod schedule;
mod stock;
mod sweepable;
mod trace;
mod trees;
mod why;

#[cfg(test)]
mod tests;

pub use barrier::{Barrier, Shaded};
pub use build::Builder;
pub use collect::Collected;
pub use collector::Collector;
pub use evictor::{EvictionLimits, Evictor};
pub use explain::{Explained, Reason};
pub use graph::{EdgeKind, Graph, Hold, RootKind};
pub use intern::HashKey;
pub use mark::Marks;
pub use object::Object;
pub use plan::{Garbage, GarbageKind, Plan};
pub use pool::Collectible;
pub use report::{BadExpiry, Report};
pub use resource::{Name, Resource, ResourceType, Types};
pub use schedule::Schedule;
pub use trace::Statistics;
pub use why::{Chain, Link};
