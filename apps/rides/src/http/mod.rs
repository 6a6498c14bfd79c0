//! The API of rides: each part of it in a file of its own, all on one port.

mod answer;
mod bookings;
mod drivers;
mod health;
mod locks;
mod map;

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use tracing::Instrument as _;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::rides::Rides;

/// By what a request is found in the logs: the client's own word, or one that it is given.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const LONGEST_ID: usize = 128;

/// What the document says of the whole.
#[derive(OpenApi)]
#[openapi(info(
    title = "Rides",
    description = "Ride bookings on Tenure: one driver, one ride. Decimals are texts with the scale of their column, and read \
        from numbers or texts; moments are ISO 8601 in UTC.\n\nA POST under /api/bookings, and POST /api/drivers, take the header Idempotency-Key \
        (up to 255 visible characters): what was carried out under a key is answered again and not repeated, for a day."
))]
struct Document;

/// The API of rides with its map, to be served by [`tenure_server::serve`]. The locks have their own API and page under `/tenure`.
pub fn router(rides: &Arc<Rides>, config: tenure_server::Config) -> Router {
    let limit = DefaultBodyLimit::max(config.max_body);
    let locks = tenure_server::router(&rides.locks, config);
    let (router, _) = routes().split_for_parts();
    router
        .route("/", get(map::page))
        .route("/docs", get(docs))
        .route("/openapi.json", get(openapi_json))
        .fallback(no_route)
        .method_not_allowed_fallback(no_route)
        .layer(limit)
        .layer(from_fn(identified))
        .with_state(Arc::clone(rides))
        .nest_service("/tenure", locks)
}

fn routes() -> OpenApiRouter<Arc<Rides>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .merge(health::routes())
        .merge(bookings::routes())
        .merge(drivers::routes())
        .merge(locks::routes())
        .merge(map::routes())
}

async fn no_route(uri: Uri) -> Response {
    answer::no_route(uri.path())
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

/// Gives a request an id, under which it is logged and answered.
async fn identified(request: Request, next: Next) -> Response {
    let is_word = |id: &&HeaderValue| {
        id.len() <= LONGEST_ID && !id.is_empty() && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    let given = request.headers().get(REQUEST_ID).filter(is_word).cloned();
    let id = given.unwrap_or_else(|| {
        let fresh = uuid::Uuid::new_v4().simple().to_string();
        HeaderValue::from_str(&fresh).expect("hexadecimal digits are visible")
    });
    let shown = id.to_str().unwrap_or_default();
    let span =
        tracing::info_span!("request", id = shown, method = %request.method(), path = request.uri().path());
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status().as_u16();
    span.in_scope(|| match status {
        500.. => tracing::warn!(status, "answered"),
        _ => tracing::debug!(status, "answered"),
    });
    response.headers_mut().insert(REQUEST_ID, id);
    response
}
