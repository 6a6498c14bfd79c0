//! G10: the store keeps nothing per name but what is held or waited for.

use std::time::Duration;

use tenure::lease::Claimed;

use crate::client::Asking;
use crate::conformance::SHORT;
use crate::stand::{Stage, everything};

/// After ten thousand names that were used once the store is as empty as before.
pub async fn names_that_were_used_once_leave_nothing(stage: Stage) {
    let client = stage.client().await;
    let before = stage.records().await;
    for round in 0..stage.rounds(100) {
        let claims: Vec<_> = (0..100)
            .map(|n| match n % 4 {
                0 => client.ask(&format!("job:{round}:{n}")).shared(),
                1 => client.ask(&format!("job:{round}:{n}")).permits(1, 2),
                2 => client.ask(&format!("job:{round}:{n} job:{round}:{n}:b")),
                _ => client.ask(&format!("job:{round}:{n}")).reserving(8),
            })
            .collect();
        for answer in client.provider().claim(&claims).await {
            assert!(matches!(answer, Ok(Claimed::Granted(_))), "{answer:?}");
        }
        let leases: Vec<_> = claims.iter().map(|claim| claim.lease).collect();
        assert!(client.provider().end(&leases).await.iter().all(Result::is_ok));
    }
    assert_eq!(everything(&client).await.len(), 0);
    if let (Some(before), Some(after)) = (before, stage.records().await) {
        assert!(after <= before + 10, "{before} records became {after}");
    }
}

/// Waiters that came and went, served or not, leave nothing either.
pub async fn waiters_that_left_leave_nothing(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let before = stage.records().await;
    for round in 0..stage.rounds(1_000) {
        let names = format!("job:{round} job:{round}:b");
        let (held, served, gone) = (a.ask(&names), b.ask(&names).waiting(), b.ask(&names).shared().waiting());
        a.hold(&held).await;
        b.queue(&served).await;
        b.queue(&gone).await;
        b.end(&gone).await;
        a.end(&held).await;
        b.renew(&served).await;
        b.end(&served).await;
    }
    stage.quiet(&a, Duration::ZERO).await;
    if let (Some(before), Some(after)) = (before, stage.records().await) {
        assert!(after <= before + 10, "{before} records became {after}");
    }
}

/// Leases that ran out are not listed any more, whether or not anybody asked for their names again.
pub async fn leases_that_ran_out_are_not_listed(stage: Stage) {
    let client = stage.client().await;
    for n in 0..20 {
        client.hold(&client.ask(&format!("job:{n}")).lasting(SHORT)).await;
    }
    assert_eq!(everything(&client).await.len(), 20);
    stage.pass(SHORT + stage.slack()).await;
    assert_eq!(everything(&client).await.len(), 0);
}
