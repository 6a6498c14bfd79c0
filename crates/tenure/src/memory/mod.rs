//! Locks inside this process.
