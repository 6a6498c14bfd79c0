//! The map in a real browser.

use serde_json::json;
use tenure_testkit::{Browser, Ground, Setup};

use crate::stores::Served;

/// A ride that is booked on the page gets its driver without a reload, and so does one that a click on the map asks for; what others do
/// is shown too; the ride is taken to its end by the buttons; a service that has gone is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_ride_is_booked_on_the_map_and_its_driver_is_seen_to_be_assigned() {
    let ground = Ground::new(Setup::Files).await;
    let rides = Served::on(&ground).await;
    let browser = Browser::start(1280, 820).await;
    browser.open(&rides.url("/")).await;
    browser.until("document.getElementById('state').textContent === 'live'").await;
    let online = rides::city::DRIVERS;
    let count = |status: &str, number: usize| {
        format!("document.getElementById('n-{status}').textContent === '{number}'")
    };
    browser.until(&count("online", online)).await;
    browser.until("document.getElementById('bookings').innerText.includes('Nobody has booked yet.')").await;
    browser.eval("document.getElementById('go').click()").await;
    browser.until(&count("busy", 1)).await;
    browser.until("document.getElementById('said').textContent === 'Driver assigned successfully'").await;
    let first =
        |text: &str| format!("document.querySelector('#bookings li')?.innerText.includes({})", json!(text));
    browser.until(&first("assigned")).await;
    let id =
        browser.eval("Number(document.querySelector('#bookings li').dataset.id)").await.as_i64().unwrap();
    let driver = rides.booking(id).await["driver_id"].as_i64().unwrap();
    let dot = format!("document.querySelector('circle[data-id=\"{driver}\"]').classList.contains('busy')");
    browser.until(&dot).await;
    // A click a quarter to the right and above the middle.
    browser
        .eval(
            "(box => document.getElementById('map').dispatchEvent(new MouseEvent('click', {clientX: box.left + box.width * .7, \
             clientY: box.top + box.height * .3})))(document.getElementById('map').getBoundingClientRect())",
        )
        .await;
    browser.until(&count("busy", 2)).await;
    rides.ride(7).await;
    browser.until(&count("busy", 3)).await;
    browser.until(&first("rider 7")).await;
    picture(&browser, "map").await;
    for (button, status) in [("Accept", "accepted"), ("Complete", "completed")] {
        let item = format!("document.querySelector('#bookings li[data-id=\"{id}\"]')");
        browser
            .eval(&format!(
                "[...{item}.querySelectorAll('button')].find(b => b.textContent === '{button}').click()"
            ))
            .await;
        browser.until(&format!("{item}.innerText.includes('{status}')")).await;
    }
    browser.until(&count("busy", 2)).await;
    assert_eq!(rides.booking(id).await["status"], "completed");
    rides.is_sound().await;
    browser.close().await;
}

/// A picture for whoever wants to look: in the folder that `TENURE_PICTURES` names, or nowhere to be found afterwards.
async fn picture(browser: &Browser, name: &str) {
    let nowhere = tempfile::tempdir().unwrap();
    let folder = std::env::var_os("TENURE_PICTURES").map_or(nowhere.path().to_owned(), Into::into);
    browser.picture(&folder.join(format!("{name}.png"))).await;
}
