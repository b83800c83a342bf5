//! The one mapping from errors to gRPC codes, in the vocabulary of containerd's `errdefs`.

use tonic::{Code, Status};

use crate::{Chain, Error};

impl From<Error> for Status {
    fn from(err: Error) -> Status {
        let code = match &err {
            Error::NotFound(_) => Code::NotFound,
            Error::AlreadyExists(_) => Code::AlreadyExists,
            // containerd's collector skips this code and aborts on any other.
            Error::HasChildren(_) => Code::FailedPrecondition,
            Error::WrongState { .. } | Error::Mismatch { .. } | Error::NoNamespace => Code::FailedPrecondition,
            Error::OutOfRange { .. } => Code::OutOfRange,
            Error::Invalid { .. } => Code::InvalidArgument,
            Error::Unsupported(_) => Code::Unimplemented,
            Error::NoSpace { .. } => Code::ResourceExhausted,
            // containerd tries again, or reports it as passing.
            Error::Locked(_) | Error::NotDurable { .. } | Error::Suspended(_) | Error::ShuttingDown => {
                Code::Unavailable
            }
            Error::Corrupt(_) => Code::DataLoss,
            Error::Fs { .. } | Error::Database { .. } | Error::Pool(_) | Error::Lost(_) => Code::Internal,
        };
        Status::new(code, Chain(&err).to_string())
    }
}
