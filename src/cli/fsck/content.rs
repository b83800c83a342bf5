//! `leasehold fsck --content`: the digests of all blobs, computed again.

use std::ops::ControlFlow;

use anyhow::ensure;

use crate::app::OpenPool;
use crate::content::{self, Crew, Event};
use crate::grpc::proto::leasehold::admin::v1::{Problem, Progress, VerifyRequest, VerifyResponse};

use super::super::daemon::Daemon;
use super::super::progress::Meter;

/// What was read, and what is wrong with it.
pub(super) struct Verified {
    pub progress: Progress,
    pub problems: Vec<Problem>,
}

/// Has the daemon do it.
pub(super) fn with_daemon(daemon: &mut Daemon, request: VerifyRequest) -> anyhow::Result<Verified> {
    let (mut meter, mut problems) = (Meter::new(), Vec::new());
    let mut last = None;
    daemon.stream_blobs(
        async |client| client.verify(request).await,
        |message: VerifyResponse| {
            problems.extend(message.problems);
            if let Some(progress) = message.progress {
                meter.show(&progress);
                last = message.done.then_some(progress);
            }
        },
    )?;
    ensure!(last.is_some(), "the daemon ended before the check did");
    Ok(Verified { progress: last.unwrap_or_default(), problems })
}

/// Does it here.
pub(super) fn without_daemon(pool: &OpenPool, request: VerifyRequest) -> anyhow::Result<Verified> {
    let (mut meter, mut problems) = (Meter::new(), Vec::new());
    let crew = Crew::new(content::threads_to_read(request.jobs));
    let progress = content::verify_offline(&pool.metadata, &pool.files, &crew, request.repair, &mut |event| {
        match event {
            Event::Progress(progress) => meter.show(&progress.into()),
            Event::Found(damage) => problems.push(damage.into()),
        }
        ControlFlow::Continue(())
    })?;
    Ok(Verified { progress: progress.into(), problems })
}
