//! A value in Redis behind a fence: [`SCRIPT`].

/// A script that carries out a command on a value, unless its token is older than one that was here before.
///
/// `KEYS[1]` is the value and `KEYS[2]` its fence. `ARGV[1]` is the token as a decimal string, `ARGV[2]` a command whose first
/// argument is the value's key, and the rest are its further arguments. Answers what the command answers. The comparison, the fence and the command
/// are one atomic step.
///
/// A holder *opens* the value with its first command, which should be its first read (`GET`): that raises the fence, so that a late
/// write of an older holder cannot come between this read and the write that is made of it. It *writes* (`SET`, `INCRBY`, …)
/// with the same token, as often as it likes: equal tokens pass.
///
/// # Errors
/// A reply with the code `STALE` when a greater token was here; its text ends with `fence=` and that token. Nothing was
/// changed: stop, the lock has passed to somebody else. `ERR` when the token is not a decimal number from 1 to 2^63-1, or what
/// is in the fence is none; nothing was changed either. What the command itself is refused for is passed on; the fence is raised then.
///
/// # Limits
/// - It protects from writers that go through it. *Every* writer must.
/// - The fence must not expire or be evicted before the last late writer has given up: without it every token passes. It has no ttl.
/// - In a cluster both keys need the same `{tag}`.
///
/// ```text
/// EVAL <SCRIPT> 2 order:42 order:42:fence 4503599627370497 GET
/// EVAL <SCRIPT> 2 order:42 order:42:fence 4503599627370497 SET settled
/// ```
pub const SCRIPT: &str = include_str!("redis.lua");
