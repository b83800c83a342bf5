//! In which namespace a command is.

use crate::Result;
use crate::types::Namespace;

/// What containerd's own clients look at, too.
const VARIABLE: &str = "CONTAINERD_NAMESPACE";
const DEFAULT: &str = "default";

/// For commands that are in one namespace.
#[derive(Debug, clap::Args)]
pub(super) struct One {
    /// containerd's namespace; otherwise $CONTAINERD_NAMESPACE, otherwise "default".
    #[arg(long, short, global = true, value_name = "NAMESPACE")]
    namespace: Option<String>,
}

/// For commands that show all, or one.
#[derive(Debug, clap::Args)]
pub(super) struct OneOrAll {
    /// Only what is in this namespace of containerd; otherwise in $CONTAINERD_NAMESPACE, otherwise in all.
    #[arg(long, short, global = true, value_name = "NAMESPACE")]
    namespace: Option<String>,
}

impl One {
    pub fn get(&self) -> Result<Namespace> {
        Namespace::parse(said(self.namespace.as_deref()).unwrap_or_else(|| DEFAULT.into()))
    }
}

impl OneOrAll {
    /// Returns the namespace that is asked for as requests say it: empty for all.
    pub fn get(&self) -> Result<String> {
        said(self.namespace.as_deref())
            .map_or(Ok(String::new()), |name| Ok(Namespace::parse(name)?.as_str().to_owned()))
    }
}

fn said(option: Option<&str>) -> Option<String> {
    option.map(str::to_owned).or_else(|| std::env::var(VARIABLE).ok()).filter(|name| !name.is_empty())
}
