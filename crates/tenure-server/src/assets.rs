//! What people see at `/`: the dashboard's files, embedded.

use axum::extract::OriginalUri;
use axum::response::Html;

use crate::docs;

/// The page at `/`. Its links are relative, and its head has a comment `base` where the base goes that they may need.
const INDEX: &str = include_str!("assets/index.html");

/// The dashboard.
#[utoipa::path(get, path = "/", tag = "pages", responses(
    (status = 200, description = "A page for people.", content_type = "text/html", body = String),
))]
pub(crate) async fn index(OriginalUri(uri): OriginalUri) -> Html<String> {
    let mut page = INDEX.to_owned();
    // Mounted under a prefix and asked for without its slash, the page's relative links would lead astray.
    if let Some((_, last)) = uri.path().rsplit_once('/').filter(|(_, last)| !last.is_empty()) {
        let base = format!("<base href=\"{}/\">", docs::escaped(last));
        page = page.replacen("<!-- base -->", &base, 1);
    }
    Html(page)
}
