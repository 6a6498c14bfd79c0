//! `tenure lint`.

use std::io::{self, BufRead as _, Write as _};

use tenure::Name;

use crate::args::LintArgs;
use crate::exit::Code;
use crate::show;

/// Prints what the convention has to say against names: those of the call, or the lines of stdin.
pub(crate) fn lint(args: &LintArgs) -> anyhow::Result<Code> {
    let mut code = Code::OK;
    if args.names.is_empty() {
        for line in io::stdin().lock().lines() {
            code = code.max(lint_one(&line?));
        }
    }
    Ok(args.names.iter().map(|name| lint_one(name)).fold(code, Ord::max))
}

/// Prints what is to be said of a name, a line each.
fn lint_one(text: &str) -> Code {
    let mut out = io::stdout();
    // Who reads no further (`| head`) has what it wants.
    let mut say = |what: &dyn std::fmt::Display| drop(writeln!(out, "{}: {what}", show::clean(text)));
    match Name::new(text) {
        Ok(name) => name.advice().fold(Code::OK, |_, advice| {
            say(&advice);
            Code::ADVICE
        }),
        Err(error) => {
            say(&error.what());
            Code::USAGE
        }
    }
}
