//! What people see at `/`: the dashboard's files, embedded.

use axum::extract::OriginalUri;
use axum::response::{Html, IntoResponse, Redirect, Response};

/// The page at `/`.
const INDEX: &str = include_str!("assets/index.html");

/// The dashboard.
#[utoipa::path(get, path = "/", tag = "pages", responses(
    (status = 200, description = "A page for people.", content_type = "text/html", body = String),
))]
pub(crate) async fn index(OriginalUri(uri): OriginalUri) -> Response {
    // Mounted under a prefix and asked for without its slash, the page's relative links would lead astray.
    if !uri.path().ends_with('/') {
        return Redirect::permanent(&format!("{}/", uri.path())).into_response();
    }
    Html(INDEX).into_response()
}
