//! Rows of a database behind a fence: a guard that makes a stale write fail inside its own transaction.
//!
//! The fences are a table of their own beside the data, by resource: any text, such as the name of the lock. Whoever works on
//! the resource passes its fence first, in the same transaction, reads included: the fence goes up, and a late transaction of
//! an older holder fails as a whole. Equal tokens pass, as often as they like.
//!
//! It does not matter where the locks are kept. `docs/fencing.md` has the same for a column in the guarded table itself.
//!
//! # Limits
//! - It protects from writers that pass it. *Every* writer must.
//! - A fence may be deleted only when no late writer can come any more: without it every token passes.
//!
//! ```
//! # fn main() -> Result<(), rusqlite::Error> {
//! use tenure::fence::sql;
//!
//! let mut db = rusqlite::Connection::open_in_memory()?;
//! db.execute_batch(sql::SQLITE)?;
//! let (older, newer) = (7_i64, 8_i64);
//!
//! let work = db.transaction()?;
//! work.execute(sql::SQLITE_PASS, ("order:42", newer))?;
//! // … read and write the order …
//! work.commit()?;
//!
//! let late = db.transaction()?;
//! let refused = late.execute(sql::SQLITE_PASS, ("order:42", older));
//! assert!(refused.unwrap_err().to_string().starts_with(sql::STALE_TEXT));
//! # Ok(())
//! # }
//! ```

/// Makes the table and the function for PostgreSQL. A migration of the application runs it once.
pub const POSTGRES: &str = include_str!("postgres.sql");

/// Passes a fence in PostgreSQL: `$1` is the resource as text, `$2` the token as bigint.
///
/// A stale token is refused with the SQLSTATE [`STALE`], and the transaction can then only be rolled back. With a savepoint
/// before it, roll back to that and *stop* all the same. A token that is not positive violates a check (`23514`).
pub const POSTGRES_PASS: &str = "select tenure_fence($1, $2)";

/// The SQLSTATE of PostgreSQL's refusal.
pub const STALE: &str = "TN001";

/// Makes the table, the view and the trigger for SQLite. A migration of the application runs it once.
pub const SQLITE: &str = include_str!("sqlite.sql");

/// Passes a fence in SQLite: `?1` is the resource as text, `?2` the token as integer.
///
/// A stale token is refused with `SQLITE_CONSTRAINT` (in its trigger form) and a text that begins with [`STALE_TEXT`]; the
/// transaction is rolled back already. Begin it with `BEGIN IMMEDIATE`, as any that is going to write.
pub const SQLITE_PASS: &str = "insert into tenure_fence_pass values (?1, ?2)";

/// What the text of a refusal begins with, in both.
pub const STALE_TEXT: &str = "STALE";
