//! The bank's API: each part of it in a file of its own, all on one port.

mod body;
mod health;
mod idempotency;
mod outbox;
mod transfers;
mod wallets;

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::bank::Bank;

/// What the document says of the whole.
#[derive(OpenApi)]
#[openapi(info(
    title = "Bank",
    description = "A bank on Tenure. Amounts of accounts are numbers with at most two decimals, exact; those of wallets are whole \
        numbers.\n\nA POST that moves money takes the header Idempotency-Key (up to 255 visible characters): what was \
        carried out under a key is answered again and not repeated, for a day."
))]
struct Document;

/// The API of a bank, to be served by [`tenure_server::serve`]. The locks have their own API and page under `/tenure`.
pub fn router(bank: &Arc<Bank>, config: tenure_server::Config) -> Router {
    let limit = DefaultBodyLimit::max(config.max_body);
    let locks = tenure_server::router(&bank.locks, config);
    let (router, _) = routes().split_for_parts();
    router
        .route("/", get(async || Redirect::to("/docs")))
        .route("/docs", get(docs))
        .route("/openapi.json", get(openapi_json))
        .fallback(async || transfers::no_route())
        .layer(limit)
        .with_state(Arc::clone(bank))
        .nest_service("/tenure", locks)
}

fn routes() -> OpenApiRouter<Arc<Bank>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .merge(health::routes())
        .merge(transfers::routes())
        .merge(wallets::routes())
        .merge(outbox::routes())
}

async fn docs() -> Html<&'static str> {
    static PAGE: OnceLock<String> = OnceLock::new();
    Html(PAGE.get_or_init(|| tenure_server::page(&routes().into_openapi())))
}

async fn openapi_json() -> Response {
    static TEXT: OnceLock<String> = OnceLock::new();
    let text =
        TEXT.get_or_init(|| routes().into_openapi().to_pretty_json().expect("the document is plain data"));
    (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], text.as_str()).into_response()
}
