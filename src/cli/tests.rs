use clap::CommandFactory as _;
use insta::assert_snapshot;

use super::Cli;

fn help(path: &[&str]) -> String {
    let mut command = Cli::command().term_width(100);
    command.build();
    let mut found = &mut command;
    for name in path {
        found = found.find_subcommand_mut(name).unwrap_or_else(|| panic!("no command {name}"));
    }
    found.render_long_help().to_string()
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn help_says_what_there_is() {
    assert_snapshot!("leasehold", help(&[]));
    for command in ["lease", "snapshot", "content", "du", "fsck", "why"] {
        assert_snapshot!(command, help(&[command]));
    }
    for command in ["ls", "create", "rm", "add", "drop", "show"] {
        assert_snapshot!(format!("lease-{command}"), help(&["lease", command]));
    }
    for command in ["ls", "check", "import"] {
        assert_snapshot!(format!("content-{command}"), help(&["content", command]));
    }
    for command in ["ls", "tree"] {
        assert_snapshot!(format!("snapshot-{command}"), help(&["snapshot", command]));
    }
}
