//! What `tenure` exits with, and why. Nowhere else does a number stand for an outcome.

use std::process::ExitCode;

use tenure::{Error, ErrorKind};

/// An exit code.
///
/// The numbers are those of `sysexits.h`, so that they stay clear of a command's own small ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Code(pub(crate) u8);

impl Code {
    /// All is well.
    pub(crate) const OK: Code = Code(0);
    /// `release` found nothing to release.
    pub(crate) const NOTHING: Code = Code(1);
    /// `lint` has something to say of a name.
    pub(crate) const ADVICE: Code = Code(1);
    /// The call is wrong, and nothing was changed.
    pub(crate) const USAGE: Code = Code(64);
    /// The store could not be asked.
    pub(crate) const UNAVAILABLE: Code = Code(69);
    /// A fault of `tenure` itself.
    pub(crate) const INTERNAL: Code = Code(70);
    /// Somebody else holds a name; `run -E` changes it.
    pub(crate) const BUSY: Code = Code(75);
    /// The lease was lost, and the command was killed before its names could pass on.
    pub(crate) const LOST: Code = Code(76);
    /// The command was found and cannot be executed.
    pub(crate) const CANNOT_EXECUTE: Code = Code(126);
    /// There is no such command.
    pub(crate) const NO_COMMAND: Code = Code(127);

    /// The code of a process that `signal` ended.
    pub(crate) fn of_signal(signal: i32) -> Code {
        Code(u8::try_from(signal.saturating_add(128)).unwrap_or(u8::MAX))
    }

    /// The code of an error of the library.
    pub(crate) fn of_error(error: &Error) -> Code {
        match error.kind() {
            ErrorKind::InvalidInput => Code::USAGE,
            ErrorKind::Unavailable => Code::UNAVAILABLE,
            ErrorKind::Lost => Code::LOST,
            _ => Code::INTERNAL,
        }
    }

    /// The code of whatever ended a command: that of the library's error in it, if there is one.
    pub(crate) fn of_failure(failure: &anyhow::Error) -> Code {
        failure.chain().find_map(|cause| cause.downcast_ref::<Error>()).map_or(Code::INTERNAL, Code::of_error)
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        ExitCode::from(code.0)
    }
}
