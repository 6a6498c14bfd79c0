//! `GET /openapi.json` and `GET /docs`: the API described, for programs and for people.

use std::fmt::Write as _;
use std::sync::OnceLock;

use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use serde_json::Value;

/// The document of this API as OpenAPI.
#[utoipa::path(get, path = "/openapi.json", tag = "pages", responses(
    (status = 200, description = "OpenAPI 3.1.", content_type = "application/json", body = Object),
))]
pub(crate) async fn openapi_json() -> Response {
    static TEXT: OnceLock<String> = OnceLock::new();
    let text = TEXT.get_or_init(|| crate::openapi().to_pretty_json().expect("the document is plain data"));
    ([(header::CONTENT_TYPE, "application/json")], text.as_str()).into_response()
}

/// The document of this API as a page.
#[utoipa::path(get, path = "/docs", tag = "pages", responses(
    (status = 200, description = "A page for people.", content_type = "text/html", body = String),
))]
pub(crate) async fn docs() -> Html<&'static str> {
    static PAGE: OnceLock<String> = OnceLock::new();
    Html(PAGE.get_or_init(|| page(&crate::openapi())))
}

/// The description of an API as a page for people: no scripts, nothing from elsewhere.
pub fn page(document: &utoipa::openapi::OpenApi) -> String {
    written(&serde_json::to_value(document).expect("the document is plain data"))
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;\
    color-scheme:light dark}code,pre{font:13px/1.5 ui-monospace,monospace}pre{padding:.6rem;overflow:auto;\
    background:#8882;border-radius:4px}table{border-collapse:collapse;width:100%}td,th{text-align:left;\
    vertical-align:top;padding:.2rem .8rem .2rem 0;border-bottom:1px solid #8884}h2{margin-top:2.5rem}\
    h3 code{font-size:1rem}";

fn written(document: &Value) -> String {
    let mut html = String::from("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">");
    let title = text(document, "/info/title");
    push(&mut html, format_args!("<title>{title}</title><style>{STYLE}</style><h1>{title}</h1>"));
    push(&mut html, format_args!("<p>{}</p>", paragraphs(&text(document, "/info/description"))));
    push(&mut html, format_args!("<p>As <a href=\"openapi.json\">openapi.json</a>.</p><h2>Calls</h2>"));
    for (path, item) in entries(document, "/paths") {
        for (method, operation) in item.as_object().into_iter().flatten() {
            call(&mut html, &path, method, operation);
        }
    }
    html.push_str("<h2>Shapes</h2>");
    for (name, schema) in entries(document, "/components/schemas") {
        shape(&mut html, &name, schema);
    }
    html.push_str("</html>");
    html
}

fn call(html: &mut String, path: &str, method: &str, operation: &Value) {
    let method = method.to_uppercase();
    push(html, format_args!("<h3><code>{method} {path}</code></h3><p>{}</p>", text(operation, "/summary")));
    push(html, format_args!("<p>{}</p>", paragraphs(&text(operation, "/description"))));
    for parameter in operation.pointer("/parameters").and_then(Value::as_array).into_iter().flatten() {
        let (name, what) = (text(parameter, "/name"), text(parameter, "/description"));
        push(html, format_args!("<p><code>{name}</code> ({}): {what}</p>", text(parameter, "/in")));
    }
    let body = operation.pointer("/requestBody/content/application~1json/schema");
    if let Some(schema) = body {
        push(html, format_args!("<p>Body: {}</p>", kind(schema)));
    }
    html.push_str("<table>");
    for (status, response) in entries(operation, "/responses") {
        let schema = entries(response, "/content").into_iter().find_map(|(_, content)| content.get("schema"));
        let kind = schema.map(kind).unwrap_or_default();
        push(html, format_args!("<tr><td>{status}<td>{}<td>{kind}", text(response, "/description")));
    }
    html.push_str("</table>");
}

fn shape(html: &mut String, name: &str, schema: &Value) {
    push(
        html,
        format_args!("<h3 id=\"{name}\"><code>{name}</code></h3><p>{}</p>", text(schema, "/description")),
    );
    html.push_str("<table>");
    fields(html, schema);
    for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        if part.get("$ref").is_some() {
            push(html, format_args!("<tr><td>…<td>{}<td><td>{}", kind(part), description(part)));
        }
        fields(html, part);
    }
    html.push_str("</table>");
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        push(html, format_args!("<p>One of: <code>{}</code></p>", escaped(&words.join(", "))));
    }
    if let Some(example) = schema.get("example") {
        push(html, format_args!("<pre>{}</pre>", escaped(&example.to_string())));
    }
}

fn fields(html: &mut String, schema: &Value) {
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (field, property) in entries(schema, "/properties") {
        let need = if required.contains(&field.as_str()) { "" } else { "optional" };
        let what = description(property);
        push(html, format_args!("<tr><td><code>{field}</code><td>{}<td>{need}<td>{what}", kind(property)));
    }
}

/// What a field is, also when it is optional and has a named shape.
fn description(property: &Value) -> String {
    let parts = property.get("oneOf").and_then(Value::as_array);
    let mut all = std::iter::once(property).chain(parts.into_iter().flatten());
    all.find_map(|part| part.get("description").and_then(Value::as_str)).map(escaped).unwrap_or_default()
}

/// A schema in a word, with a link when it has a name.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next()) {
        let name = escaped(name);
        return format!("<a href=\"#{name}\">{name}</a>");
    }
    for several in ["oneOf", "anyOf", "allOf"] {
        let parts = schema.get(several).and_then(Value::as_array);
        let named = parts.into_iter().flatten().find(|part| part.get("type") != Some(&Value::from("null")));
        if let Some(part) = named {
            return kind(part);
        }
    }
    let word = match schema.get("type") {
        Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).find(|word| *word != "null"),
        other => other.and_then(Value::as_str),
    };
    match (word.unwrap_or("any"), schema.get("items")) {
        ("array", Some(items)) => format!("list of {}", kind(items)),
        (word, _) => escaped(word),
    }
}

fn entries<'a>(value: &'a Value, pointer: &str) -> Vec<(String, &'a Value)> {
    let object = value.pointer(pointer).and_then(Value::as_object);
    object.into_iter().flatten().map(|(key, value)| (escaped(key), value)).collect()
}

fn text(value: &Value, pointer: &str) -> String {
    escaped(value.pointer(pointer).and_then(Value::as_str).unwrap_or_default())
}

fn paragraphs(text: &str) -> String {
    text.replace("\n\n", "</p><p>")
}

pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn push(html: &mut String, text: std::fmt::Arguments<'_>) {
    html.write_fmt(text).expect("a string takes everything");
}
