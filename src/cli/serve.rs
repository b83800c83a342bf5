//! `leasehold serve`

use std::process::ExitCode;

use crate::app::App;
use crate::config::Config;
use crate::telemetry;

pub(super) fn run(config: Config) -> anyhow::Result<ExitCode> {
    telemetry::start_logs(&config.log)?;
    App::build(config)?.run()?;
    Ok(ExitCode::SUCCESS)
}
