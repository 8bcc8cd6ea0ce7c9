//! `cloakroom completions` and `cloakroom man`: made from the options themselves.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::lines::print;
use crate::{Arguments, Ending, usage};

const COMPLETIONS: &str = "\
Examples:
  cloakroom completions bash > /etc/bash_completion.d/cloakroom
  cloakroom completions zsh > \"${fpath[1]}/_cloakroom\"
  cloakroom completions fish > ~/.config/fish/completions/cloakroom.fish";

/// Print the completions for a shell
#[derive(Args)]
#[command(after_help = COMPLETIONS)]
pub(crate) struct CompletionsOptions {
    /// Which shell
    shell: Shell,
}

const MAN: &str = "\
Examples:
  cloakroom man | man -l -
  cloakroom man > /usr/local/share/man/man1/cloakroom.1
  cloakroom man copy > /usr/local/share/man/man1/cloakroom-copy.1";

/// Print the man page, or that of one command
#[derive(Args)]
#[command(after_help = MAN)]
pub(crate) struct ManOptions {
    /// Which command; unless given, the page of them all
    command: Option<String>,
}

pub(crate) fn completions(options: &CompletionsOptions) -> anyhow::Result<Ending> {
    let mut text = Vec::new();
    clap_complete::generate(options.shell, &mut Arguments::command(), "cloakroom", &mut text);
    print(&text)?;
    Ok(Ending::Well)
}

pub(crate) fn man(options: &ManOptions) -> anyhow::Result<Ending> {
    let mut command = Arguments::command().disable_help_subcommand(true);
    command.build();
    if let Some(name) = &options.command {
        let found = command.find_subcommand(name);
        let found = found.ok_or_else(|| usage("no command of this name; `cloakroom --help` lists them"))?;
        command = found.clone();
    }
    let mut text = Vec::new();
    clap_mangen::Man::new(command).render(&mut text)?;
    print(&text)?;
    Ok(Ending::Well)
}
