//! The column families.

/// A RocksDB column family. What is in each is drawn in `metadata/mod.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Column {
    /// Schema version, pool id, counters.
    Meta,
    /// Snapshots by key.
    Snapshots,
    /// Parent to child.
    Children,
    /// Backing directories.
    Layers,
    /// Backing directories to reclaim.
    Trash,
    /// Leases by namespace and id.
    Leases,
    /// Lease to what it names.
    Members,
    /// What is named to the leases that name it.
    Leased,
    /// Leases by the time at which they end.
    Expiry,
    /// Namespaces by name.
    Namespaces,
    /// Removed snapshots that a lease holds.
    Retained,
    /// Blobs by namespace and digest.
    Blobs,
    /// Files of blobs by digest.
    Files,
    /// Uploads under way by namespace and ref.
    Ingests,
    /// Deleted blobs that a lease holds.
    RetainedBlobs,
    /// What was applied to active layers.
    Applied,
    /// Layers by what they hold.
    LayersByDiff,
    /// Layers by the blobs that it came in.
    LayersByBlob,
}

impl Column {
    /// Every column.
    pub const ALL: [Column; 18] = [
        Column::Meta,
        Column::Snapshots,
        Column::Children,
        Column::Layers,
        Column::Trash,
        Column::Leases,
        Column::Members,
        Column::Leased,
        Column::Expiry,
        Column::Namespaces,
        Column::Retained,
        Column::Blobs,
        Column::Files,
        Column::Ingests,
        Column::RetainedBlobs,
        Column::Applied,
        Column::LayersByDiff,
        Column::LayersByBlob,
    ];

    /// Returns the column family's name on disk.
    pub const fn name(self) -> &'static str {
        match self {
            Column::Meta => "meta",
            Column::Snapshots => "snapshots",
            Column::Children => "children",
            Column::Layers => "layers",
            Column::Trash => "trash",
            Column::Leases => "leases",
            Column::Members => "members",
            Column::Leased => "leased",
            Column::Expiry => "expiry",
            Column::Namespaces => "namespaces",
            Column::Retained => "retained",
            Column::Blobs => "blobs",
            Column::Files => "files",
            Column::Ingests => "ingests",
            Column::RetainedBlobs => "retained_blobs",
            Column::Applied => "applied",
            Column::LayersByDiff => "layers_by_diff",
            Column::LayersByBlob => "layers_by_blob",
        }
    }
}
