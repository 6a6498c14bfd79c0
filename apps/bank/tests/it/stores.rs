//! The servers that the tests share, and the books over them.

use std::sync::{Arc, OnceLock};

use bank::ledger::{Memory, Postgres, Sqlite, Store};
use tempfile::TempDir;
use tenure_testkit::PostgresServer;

/// The PostgreSQL server of this run.
pub(crate) fn postgres() -> &'static PostgresServer {
    static SERVER: OnceLock<PostgresServer> = OnceLock::new();
    SERVER.get_or_init(PostgresServer::start)
}

/// Fresh books of each kind. A file lives as long as its directory.
pub(crate) async fn all() -> (Vec<Arc<dyn Store>>, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let sqlite = Sqlite::open(&dir.path().join("bank.db")).unwrap();
    let database = tokio::task::spawn_blocking(|| postgres().url(&postgres().database())).await.unwrap();
    let postgres = Postgres::connect(&database).await.unwrap();
    (vec![Arc::new(Memory::default()), Arc::new(sqlite), Arc::new(postgres)], dir)
}
