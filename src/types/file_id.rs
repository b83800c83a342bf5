//! The number that names the file of an ingest.

use std::fmt;

use super::LayerId;

/// Number of an ingest's file, which stays the number of that file when it becomes a blob.
///
/// Numbers of files and of layers are from one sequence, so that both can wait in one trash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(LayerId);

impl FileId {
    /// Wraps a number that was allocated by the metadata store.
    pub const fn new(number: LayerId) -> FileId {
        FileId(number)
    }

    /// Returns the number that the file has in trash.
    pub const fn in_trash(self) -> LayerId {
        self.0
    }

    /// Parses the name of a file in `ingests`. `None` for every name that [`Display`](fmt::Display) would not have
    /// written.
    pub fn from_name(name: &str) -> Option<FileId> {
        LayerId::from_dir_name(name).map(FileId)
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
