//! The dashboard in a real browser.

use serde_json::json;
use tenure_server::Config;
use tenure_testkit::Browser;

use crate::served::{Served, lease_id};

/// A lease taken by one client and a waiter of another are on the page without a reload, in words and not as markup; the
/// release takes them off it; a server that has gone is told.
#[tokio::test]
async fn the_page_shows_live_who_holds_and_who_waits_and_when_the_server_is_gone() {
    let server = Served::start().await;
    let browser = Browser::start(1250, 900).await;
    browser.open(&server.url("/")).await;
    browser.until("document.getElementById('state').textContent === 'live'").await;
    browser.until("document.getElementById('empty').textContent === 'Nothing is held.'").await;

    let holder = json!({"host": "<img src=x onerror=document.title='run'>"});
    let names = ["order:process:42", "account:7"];
    let held =
        server.post("/v1/acquire", json!({"names": names, "ttl_ms": 60000, "holder": holder})).await.ok(201);
    let waiting =
        json!({"lease": lease_id(), "name": "account:7", "wait_ms": 60000, "holder": {"host": "node-9"}});
    let waiter = server.post("/v1/acquire", waiting);
    let look = async {
        let row = |index: u32, text: &str| {
            format!("document.getElementById('rows').rows[{index}]?.innerText.includes({})", json!(text))
        };
        for text in
            ["account:7", "order:process:42", "exclusive", held.json["token"].as_str().unwrap(), "<img src=x"]
        {
            browser.until(&row(0, text)).await;
        }
        browser.until(&row(1, "1. waits for account:7")).await;
        browser.until(&row(1, "node-9")).await;
        browser.until("document.getElementById('waiters').textContent === '1'").await;
        assert_ne!(browser.eval("document.title").await, "run");
        assert!(
            !browser
                .eval("document.documentElement.outerHTML")
                .await
                .as_str()
                .unwrap()
                .contains(&held.lease())
        );
        picture(&browser, "dashboard").await;
        server.post("/v1/release", json!({"lease": held.lease()})).await.ok(204);
    };
    let (granted, ()) = tokio::join!(waiter, look);
    let granted = granted.ok(201);
    browser.until("document.getElementById('waiters').textContent === '0'").await;
    server.post("/v1/release", json!({"lease": granted.lease()})).await.ok(204);
    browser.until("document.getElementById('leases').textContent === '0'").await;

    drop(server);
    browser.until("document.getElementById('state').textContent === 'connection lost, trying again'").await;
    browser.close().await;
}

/// Thirty busy answers are on the page as what is wrong, and no more when it has healed.
#[tokio::test]
async fn the_page_shows_what_is_wrong_until_it_has_healed() {
    let mut config = Config::default();
    config.monitor.interval = std::time::Duration::from_millis(500);
    let server = Served::with(config).await;
    let browser = Browser::start(1250, 900).await;
    browser.open(&server.url("/")).await;
    browser.until("document.getElementById('state').textContent === 'live'").await;
    browser.until("document.getElementById('alerts').hidden").await;
    server.post("/v1/acquire", json!({"name": "a", "ttl_ms": 60000})).await.ok(201);
    let asks: Vec<_> = (0..30).map(|_| json!({"name": "a"})).collect();
    server.post("/v1/batch", json!({"acquire": asks})).await.ok(200);
    let shown = "document.querySelector('#alerts:not([hidden]) .critical')?.innerText";
    browser.until(&format!("{shown}.includes('of attempts get their lock; 95 % should')")).await;
    picture(&browser, "alerts").await;
    browser.until("document.getElementById('alerts').hidden").await;
    browser.close().await;
}

/// A picture for whoever wants to look: in the folder that `TENURE_PICTURES` names, or nowhere to be found afterwards.
async fn picture(browser: &Browser, name: &str) {
    let nowhere = tempfile::tempdir().unwrap();
    let folder = std::env::var_os("TENURE_PICTURES").map_or(nowhere.path().to_owned(), Into::into);
    browser.picture(&folder.join(format!("{name}.png"))).await;
}
