//! The command line, run to its end.

use std::process::{Command, Stdio};

use super::daemon::Site;

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Site {
    /// Runs `leasehold <args>` for this site, with nothing of containerd's in the environment.
    pub fn cli(&self, args: &[&str]) -> Said {
        self.cli_with(args, |command| command.env_remove("CONTAINERD_NAMESPACE").env_remove("CONTAINERD_ADDRESS"))
    }

    /// Like [`cli`](Self::cli), with changes to the command, such as environment variables.
    pub fn cli_with(&self, args: &[&str], change: impl FnOnce(&mut Command) -> &mut Command) -> Said {
        let mut command = self.command();
        change(command.args(args).stdin(Stdio::null()));
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Said {
    /// Returns what was printed, of a command that must succeed without a complaint.
    pub fn ok(self) -> String {
        assert!(self.code == 0 && self.err.is_empty(), "{self:?}");
        self.out
    }

    /// Returns what was printed and what was remarked, of a command that must succeed.
    pub fn noted(self) -> (String, String) {
        assert!(self.code == 0 && !self.err.is_empty(), "{self:?}");
        (self.out, self.err)
    }

    /// Returns the JSON that was printed.
    pub fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.ok()).unwrap()
    }

    /// Returns the complaint of a command that must end with `code`.
    pub fn fails(self, code: i32) -> String {
        assert!(self.code == code && self.out.is_empty(), "{self:?}");
        self.err
    }
}
