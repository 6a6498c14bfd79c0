//! Names come and go.

use tenure_testkit::Asking;

use super::{client, rounds, sql, url};
use crate::stands::{database, postgres};

/// Claims of one call.
const BATCH: usize = 250;

/// 100,000 names are used once each (`TENURE_ROUNDS` times as many where it is set): no row is left, and the tables stay far below what the rows
/// would take together, 25 MB. Prints their size.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_names_that_were_used_once_leave_small_tables() {
    let names = rounds(100_000);
    let database = database().await;
    let client = client(&url(&database)).await;
    for batch in 0..names / BATCH {
        let claims: Vec<_> =
            (0..BATCH).map(|name| client.ask(&format!("name:{batch}:{name}")).local()).collect();
        let granted = client.provider().claim(&claims).await;
        assert!(granted.iter().all(Result::is_ok), "{granted:?}");
        let leases: Vec<_> = claims.iter().map(|claim| claim.lease).collect();
        assert!(client.provider().end(&leases).await.iter().all(Result::is_ok));
    }
    let rows = "select (select count(*) from tenure.leases) + (select count(*) from tenure.places) + (select count(*) from tenure.ended)";
    assert_eq!(sql(postgres(), &database, rows).await, "0");
    let size = "select pg_total_relation_size('tenure.leases') + pg_total_relation_size('tenure.places')
        + pg_total_relation_size('tenure.ended')";
    let bytes: u64 = sql(postgres(), &database, size).await.parse().unwrap();
    eprintln!("{names} names: the tables take {bytes} bytes");
    sql(postgres(), &database, "vacuum tenure.leases").await;
    sql(postgres(), &database, "vacuum tenure.places").await;
    let bytes: u64 = sql(postgres(), &database, size).await.parse().unwrap();
    eprintln!("after a vacuum {bytes} bytes");
    assert!(bytes < 20_000_000, "bytes={bytes}");
}
