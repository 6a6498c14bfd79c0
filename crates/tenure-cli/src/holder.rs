//! What a `tenure run` says of itself in lists.

use std::env;
use std::ffi::OsStr;
use std::path::Path;

use rustix::process::{Pid, getuid};
use rustix::system::uname;
use tenure::{Meta, Result};

/// The longest field: all of them fit into the bound of a holder's metadata.
const MAX_FIELD: usize = 200;

/// The host, the user, the process to look at and the program that it runs. Its arguments are nobody's business: they may be
/// secrets.
///
/// # Errors
/// None in practice: the fields are made to fit.
pub(crate) fn holder(front: Pid, program: &OsStr) -> Result<Meta> {
    let host = uname().nodename().to_string_lossy().into_owned();
    let user = ["USER", "LOGNAME"].iter().find_map(|name| env::var(name).ok());
    let user = user.unwrap_or_else(|| getuid().as_raw().to_string());
    let program = Path::new(program).file_name().unwrap_or(program).to_string_lossy().into_owned();
    let pid = front.as_raw_nonzero().to_string();
    let fields = [("host", host), ("user", user), ("pid", pid), ("command", program)];
    Meta::new(fields.map(|(key, value)| (key, fitting(&value))))
}

/// `text` without control characters, cut to fit.
fn fitting(text: &str) -> String {
    let mut fit = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        if fit.len() + c.len_utf8() > MAX_FIELD {
            break;
        }
        fit.push(c);
    }
    fit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_directories_and_control_characters_are_left_out() {
        let meta = holder(Pid::from_raw(7).unwrap(), OsStr::new("/usr/bin/py\nthon3")).unwrap();
        let fields: Vec<_> = meta.iter().collect();
        assert!(fields.contains(&("command", "python3")) && fields.contains(&("pid", "7")));
        assert_eq!(fields.len(), 4);
    }

    #[test]
    fn a_program_with_an_endless_name_still_fits() {
        assert!(holder(Pid::INIT, OsStr::new(&"ü".repeat(10_000))).is_ok());
    }
}
