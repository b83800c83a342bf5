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
}

impl Column {
    /// Every column.
    pub const ALL: [Column; 5] = [Column::Meta, Column::Snapshots, Column::Children, Column::Layers, Column::Trash];

    /// Returns the column family's name on disk.
    pub const fn name(self) -> &'static str {
        match self {
            Column::Meta => "meta",
            Column::Snapshots => "snapshots",
            Column::Children => "children",
            Column::Layers => "layers",
            Column::Trash => "trash",
        }
    }
}
