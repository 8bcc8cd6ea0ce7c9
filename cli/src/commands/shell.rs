//! `cloakroom completions` and `cloakroom man`: generated from the options themselves.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Command};
use clap_complete::Shell;

use crate::ending::{Ending, usage};
use crate::output::lines::{note, print, report};

const COMPLETIONS: &str = "\
Examples:
  # For this user:
  cloakroom completions bash > ~/.local/share/bash-completion/completions/cloakroom
  cloakroom completions fish > ~/.config/fish/completions/cloakroom.fish
  cloakroom completions zsh > ~/.zfunc/_cloakroom    # with fpath+=~/.zfunc before compinit in ~/.zshrc
  # For all users of this machine:
  cloakroom completions bash > /etc/bash_completion.d/cloakroom
  cloakroom completions fish > /usr/share/fish/vendor_completions.d/cloakroom.fish
  cloakroom completions zsh > /usr/local/share/zsh/site-functions/_cloakroom

Start a new shell to use them. The folder must exist; bash needs the package bash-completion.";

/// Print the shell completions
#[derive(Args)]
#[command(after_help = COMPLETIONS)]
pub(crate) struct CompletionsOptions {
    /// The shell
    shell: Shell,
}

const MAN: &str = "\
Examples:
  cloakroom man | man -l -
  cloakroom man revoke | man -l -
  # All pages, where man finds them:
  cloakroom man --out /usr/local/share/man
  # Elsewhere:
  cloakroom man --out ~/man && man -M ~/man cloakroom-revoke";

/// Print the man page, or that of one command, or write all pages
#[derive(Args)]
#[command(after_help = MAN)]
pub(crate) struct ManOptions {
    /// The command [default: the page of the whole program]
    command: Option<String>,
    /// Write all pages into the folder man1 in this folder
    #[arg(long, value_name = "FOLDER", conflicts_with = "command")]
    out: Option<PathBuf>,
}

pub(crate) fn completions(
    options: &CompletionsOptions,
    mut command: clap::Command,
) -> anyhow::Result<Ending> {
    let mut text = Vec::new();
    clap_complete::generate(options.shell, &mut command, "cloakroom", &mut text);
    print(&text)?;
    if std::io::stdout().is_terminal() {
        note("to use these, write them into a file: `cloakroom completions --help` has the places");
    }
    Ok(Ending::Well)
}

pub(crate) fn man(options: &ManOptions, command: clap::Command) -> anyhow::Result<Ending> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    if let Some(folder) = &options.out {
        let folder = folder.join("man1");
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let count = write_pages(&command, "cloakroom", &folder)?;
        report(false, &format!("{count} pages written to {}", folder.display()))?;
        return Ok(Ending::Well);
    }
    let (name, command) = match &options.command {
        Some(name) => {
            let found = find(&command, name.strip_prefix("cloakroom-").unwrap_or(name), "cloakroom");
            found.ok_or_else(|| usage("no command of this name; `cloakroom --help` lists them"))?
        }
        None => ("cloakroom".to_owned(), &command),
    };
    print(page(command, &name)?.as_bytes())?;
    Ok(Ending::Well)
}

/// Finds the command with this name below another, and its page's name: `user-sessions-revoke` is below
/// `user-sessions`.
fn find<'a>(above: &'a Command, name: &str, page: &str) -> Option<(String, &'a Command)> {
    above.get_subcommands().find_map(|command| {
        let rest = name.strip_prefix(command.get_name())?;
        let page = format!("{page}-{}", command.get_name());
        if rest.is_empty() { Some((page, command)) } else { find(command, rest.strip_prefix('-')?, &page) }
    })
}

/// Writes the pages of a command and of its subcommands; returns how many.
fn write_pages(command: &Command, name: &str, folder: &Path) -> anyhow::Result<u32> {
    let path = folder.join(format!("{name}.1"));
    std::fs::write(&path, page(command, name)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    let mut count = 1;
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        count += write_pages(command, &format!("{name}-{}", command.get_name()), folder)?;
    }
    Ok(count)
}

/// Renders the page with this name. clap's own page puts examples under EXTRA, where their lines run
/// together.
fn page(command: &Command, name: &str) -> anyhow::Result<String> {
    let mut text = Vec::new();
    let version = concat!("cloakroom ", env!("CARGO_PKG_VERSION"));
    clap_mangen::Man::new(command.clone()).title(name).source(version).render(&mut text)?;
    let text = String::from_utf8(text).context("the page is text")?;
    let mut page = String::new();
    let mut is_extra = false;
    for block in text.split("\n\n") {
        let block = match block.split_once(".SH EXTRA\n") {
            Some((before, block)) => {
                page += before;
                page += ".SH NOTES\n";
                is_extra = true;
                block
            }
            None => block,
        };
        let (block, rest) =
            block.split_once("\n.SH VERSION").map_or((block, None), |(block, rest)| (block, Some(rest)));
        // Lines of examples stay separate.
        if is_extra && block.lines().any(|line| line.starts_with("  ")) {
            page += &format!(".nf\n{block}\n.fi\n.PP\n");
        } else if is_extra {
            page += &format!("{block}\n.PP\n");
        } else {
            page += block;
            page += "\n\n";
        }
        if let Some(rest) = rest {
            page += &format!(".SH VERSION{rest}\n");
            is_extra = false;
        }
    }
    if let Some((above, _)) = name.rsplit_once('-').filter(|(above, _)| above.starts_with("cloakroom")) {
        // Some command names contain dashes.
        let above = if above == "cloakroom" || !name.starts_with("cloakroom-user-sessions-") {
            "cloakroom"
        } else {
            "cloakroom\\-user\\-sessions"
        };
        page += &format!(".SH SEE ALSO\n{above}(1)\n");
    }
    Ok(page)
}
