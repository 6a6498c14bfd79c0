//! The routes, put together with their description.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tenure::Locks;
use tokio::runtime::Handle;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::config::Config;
use crate::desk::Desk;
use crate::problem::Failure;
use crate::{acquire, admin, assets, batch, docs, health, listen, lists, live, monitor, renew};

/// What the document says of the whole.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tenure",
        description = "Leases with fencing tokens over HTTP. A lease is held until it is released, forced or its ttl is \
            over; who holds it renews it well before.\n\nErrors are application/problem+json (RFC 9457). Times are in \
            milliseconds. Tokens are decimal strings."
    ),
    components(schemas(tenure_wire::Each, tenure_wire::Told)),
    tags(
        (name = "leases", description = "Acquire, renew, release."),
        (name = "lists", description = "What is held, who waits, how much goes on."),
        (name = "administration", description = "Taking leases from their holders."),
        (name = "health", description = "For probes."),
        (name = "pages", description = "For people, and this document."),
    )
)]
struct Document;

/// The API and its pages over the store of `locks`, to be served by [`serve`](crate::serve) or mounted with `nest` in any
/// axum application.
///
/// Leases that are taken here belong to their lease ids: they outlive the router wherever the store does. What is done counts
/// into the metrics of `locks`, and is watched from now on, or from the first request on where there is no runtime yet.
pub fn router(locks: &Locks, config: Config) -> Router {
    let desk = Desk::new(locks.clone(), config);
    if Handle::try_current().is_ok() {
        desk.monitor();
    }
    let limit = DefaultBodyLimit::max(desk.config.max_body);
    let (router, _) = routes().split_for_parts();
    router
        .fallback(async || Failure::not_found("there is no such route"))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(limit)
        .layer(from_fn_with_state(Arc::clone(&desk), finish))
        .with_state(desk)
}

/// The description of the API.
pub fn openapi() -> utoipa::openapi::OpenApi {
    routes().split_for_parts().1
}

fn routes() -> OpenApiRouter<Arc<Desk>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(acquire::acquire))
        .routes(routes!(renew::renew))
        .routes(routes!(renew::release))
        .routes(routes!(batch::batch))
        .routes(routes!(listen::listen))
        .routes(routes!(lists::leases))
        .routes(routes!(lists::lease, admin::force))
        .routes(routes!(lists::waiters))
        .routes(routes!(lists::why))
        .routes(routes!(live::events))
        .routes(routes!(monitor::stats))
        .routes(routes!(monitor::monitor))
        .routes(routes!(monitor::alerts))
        .routes(routes!(health::health))
        .routes(routes!(health::health_live))
        .routes(routes!(health::health_ready))
        .routes(routes!(docs::openapi_json))
        .routes(routes!(docs::docs))
        .routes(routes!(assets::index))
}

async fn method_not_allowed() -> Failure {
    let detail = "the route does not have this method; the header allow says which it has";
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "method", "Method not allowed", detail)
}

/// Counts what failed, and adds the headers that every answer has.
async fn finish(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    desk.monitor();
    let mut response = next.run(request).await.into_response();
    match response.status() {
        StatusCode::CONFLICT | StatusCode::GONE => {}
        status if status.is_client_error() => desk.counts.refused.add(),
        status if status.is_server_error() => desk.counts.errors.add(),
        _ => {}
    }
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
