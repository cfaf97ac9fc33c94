//! `observer man`: one page, with a section for each verb.

use std::io::{self, Write};

use clap::CommandFactory;

use super::{Cli, Outcome};

/// Prints the page.
///
/// # Errors
/// What the system says of writing it.
pub fn print() -> anyhow::Result<Outcome> {
    io::stdout().write_all(&page()?)?;
    Ok(Outcome::Done)
}

pub(super) fn page() -> io::Result<Vec<u8>> {
    let mut command = Cli::command();
    // Without it, the verbs' own pages do not know the program's name.
    command.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone())
        .section("8")
        .render(&mut page)?;
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        let man = clap_mangen::Man::new(verb.clone());
        writeln!(page, ".SH \"OBSERVER {}\"", verb.get_name().to_uppercase())?;
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
        man.render_extra_section(&mut page)?;
    }
    Ok(page)
}
