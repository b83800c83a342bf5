//! The one error type of the crate.
//!
//! Variants say what happened to which resource; they know no transport. [`Display`](std::fmt::Display)
//! prints its own level only, the cause sits in `source`, and [`Chain`] prints the whole chain. The
//! mapping to gRPC codes is in `grpc/status.rs`, and nowhere else.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Result of everything below the command line.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Boxed cause from a library whose error type is not part of our interface.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What an [`Error`] is about, as a client named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// A snapshot by its key (active, view) or name (committed).
    Snapshot(String),
    /// A backing directory by its number.
    Layer(u64),
    /// A lease by its id.
    Lease(String),
    /// A namespace by its name.
    Namespace(String),
    /// A plugin by its type and id.
    Plugin(String),
    /// A blob by its digest.
    Blob(String),
    /// An upload in progress by its ref.
    Ingest(String),
    /// A directory by its path.
    Directory(String),
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resource::Snapshot(key) => write!(f, "snapshot {}", Shortened(key)),
            Resource::Layer(id) => write!(f, "layer {id}"),
            Resource::Lease(id) => write!(f, "lease {}", Shortened(id)),
            Resource::Blob(digest) => write!(f, "blob {}", Shortened(digest)),
            Resource::Ingest(name) => write!(f, "ingest {}", Shortened(name)),
            Resource::Directory(path) => write!(f, "directory {}", Shortened(path)),
            Resource::Plugin(name) => write!(f, "plugin {}", Shortened(name)),
            Resource::Namespace(name) => write!(f, "namespace {}", Shortened(name)),
        }
    }
}

/// Prints at most 256 characters of client input, escaped, so that a 10 KB key does not fill the logs.
struct Shortened<'a>(&'a str);

impl fmt::Display for Shortened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LIMIT: usize = 256;
        match self.0.char_indices().nth(LIMIT) {
            None => write!(f, "{:?}", self.0),
            Some((end, _)) => {
                let head = self.0.get(..end).unwrap_or_default();
                write!(f, "{head:?}... ({} bytes)", self.0.len())
            }
        }
    }
}

/// What the crate can fail with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The resource does not exist.
    #[error("{0} not found")]
    NotFound(Resource),
    /// A resource of that name exists.
    #[error("{0} already exists")]
    AlreadyExists(Resource),
    /// A snapshot cannot be removed while others name it as parent.
    #[error("cannot remove {0}: it has children")]
    HasChildren(Resource),
    /// The resource exists, but not in the state that the call needs.
    #[error("{resource} {problem}")]
    WrongState {
        /// What was named.
        resource: Resource,
        /// Why it cannot be used, as the end of a sentence ("is not active").
        problem: &'static str,
    },
    /// Somebody else has the resource to himself at the moment.
    #[error("{0} is in use by another writer")]
    Locked(Resource),
    /// What was sent is not what it was said to be.
    #[error("{resource}: {problem}")]
    Mismatch {
        /// What was named.
        resource: Resource,
        /// What was expected and what came.
        problem: String,
    },
    /// A position is not where it can be.
    #[error("{resource}: {problem}")]
    OutOfRange {
        /// What was named.
        resource: Resource,
        /// Which position it is, and which ones there are.
        problem: String,
    },
    /// The caller sent something that can never be right.
    #[error("{what}: {problem}")]
    Invalid {
        /// The field or value that is wrong.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The caller asked for something that does not exist here, but may elsewhere or later.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// A request on the API socket came without a namespace.
    #[error("namespace is required")]
    NoNamespace,
    /// A file system call failed.
    #[error("{op} {path:?}")]
    Fs {
        /// The call.
        op: FsOp,
        /// What it was applied to.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The file system or the pool has no room left; a later try may succeed.
    #[error("no space: {what}")]
    NoSpace {
        /// What could not be written.
        what: String,
        /// The kernel's or the database's answer, where there is one.
        #[source]
        source: Option<Cause>,
    },
    /// What was written may not be on the disk. A later try may succeed.
    #[error("{what} cannot be made durable")]
    NotDurable {
        /// What was written.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The metadata database failed.
    #[error("metadata database: {op}")]
    Database {
        /// What was being done.
        op: &'static str,
        /// The database's answer.
        #[source]
        source: Cause,
    },
    /// A record cannot be decoded, or records contradict each other.
    #[error("corrupt record: {0}")]
    Corrupt(String),
    /// The pool cannot be opened; the text says why and what to do.
    #[error("{0}")]
    Pool(String),
    /// Writes are refused until the database has been reopened after a failed sync.
    #[error("writes are suspended: {0}")]
    Suspended(String),
    /// The daemon is shutting down.
    #[error("shutting down")]
    ShuttingDown,
    /// A background task or a blocking worker ended without an answer.
    #[error("{0} ended unexpectedly")]
    Lost(&'static str),
}

/// The file system calls that [`Error::Fs`] names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FsOp {
    /// `mkdir`
    CreateDir,
    /// `open`
    Open,
    /// `read`
    Read,
    /// `write`
    Write,
    /// `ftruncate`
    Truncate,
    /// `link`
    Link,
    /// `symlink`
    Symlink,
    /// `readlink`
    ReadLink,
    /// `mknod`
    MakeNode,
    /// `rename`
    Rename,
    /// `unlink` and `rmdir`
    Remove,
    /// `readdir`
    List,
    /// `stat`
    Stat,
    /// `statfs`
    StatFs,
    /// `chown`
    Chown,
    /// `chmod`
    Chmod,
    /// `setxattr`, `getxattr` and `listxattr`
    Xattr,
    /// `utimensat`
    SetTimes,
    /// `fsync`, `fdatasync` and `syncfs`
    Sync,
    /// `mount` and `umount`
    Mount,
    /// `flock`
    Lock,
    /// `bind` and `listen`
    Bind,
}

impl fmt::Display for FsOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FsOp::CreateDir => "mkdir",
            FsOp::Open => "open",
            FsOp::Read => "read",
            FsOp::Write => "write",
            FsOp::Truncate => "truncate",
            FsOp::Link => "link",
            FsOp::Symlink => "symlink",
            FsOp::ReadLink => "readlink",
            FsOp::MakeNode => "mknod",
            FsOp::Rename => "rename",
            FsOp::Remove => "remove",
            FsOp::List => "readdir",
            FsOp::Stat => "stat",
            FsOp::StatFs => "statfs",
            FsOp::Chown => "chown",
            FsOp::Chmod => "chmod",
            FsOp::Xattr => "xattr",
            FsOp::SetTimes => "utimensat",
            FsOp::Sync => "sync",
            FsOp::Mount => "mount",
            FsOp::Lock => "lock",
            FsOp::Bind => "bind",
        })
    }
}

impl Error {
    /// Returns a closure for `map_err` that adds the operation and the path to an I/O error.
    ///
    /// A full disk or an exhausted quota becomes [`Error::NoSpace`], because callers act on it.
    pub fn fs<E: Into<io::Error>>(op: FsOp, path: &Path) -> impl FnOnce(E) -> Error + use<'_, E> {
        move |err| {
            let source = err.into();
            match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Error::NoSpace { what: format!("{op} {}", path.display()), source: Some(Box::new(source)) }
                }
                _ => Error::Fs { op, path: path.to_owned(), source },
            }
        }
    }

    /// Builds [`Error::Invalid`].
    pub fn invalid(what: &'static str, problem: impl Into<String>) -> Error {
        Error::Invalid { what, problem: problem.into() }
    }
}

/// Prints an error and everything below it, outermost first, separated by `: `.
pub struct Chain<'a>(pub &'a (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(err) = cause {
            write!(f, ": {err}")?;
            cause = err.source();
        }
        Ok(())
    }
}
