//! The API describes itself: every route, every shape, and examples that are true.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::served::Served;

/// The routes, written down once more: a new one is added here and described there.
const ROUTES: [(&str, &str); 20] = [
    ("delete", "/v1/leases/{digest}"),
    ("get", "/"),
    ("get", "/docs"),
    ("get", "/health"),
    ("get", "/health/live"),
    ("get", "/health/ready"),
    ("get", "/openapi.json"),
    ("get", "/v1/alerts"),
    ("get", "/v1/events"),
    ("get", "/v1/leases"),
    ("get", "/v1/leases/{digest}"),
    ("get", "/v1/monitor"),
    ("get", "/v1/stats"),
    ("get", "/v1/waiters"),
    ("get", "/v1/why/{name}"),
    ("post", "/v1/acquire"),
    ("post", "/v1/batch"),
    ("post", "/v1/listen"),
    ("post", "/v1/release"),
    ("post", "/v1/renew"),
];

async fn document(server: &Served) -> Value {
    server.get("/openapi.json").await.ok(200).json
}

#[tokio::test]
async fn every_route_is_in_the_document_and_every_route_of_the_document_is_served() {
    let server = Served::start().await;
    let document = document(&server).await;
    let mut described = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(!operation["summary"].as_str().unwrap().is_empty(), "{method} {path}");
            assert!(!operation["responses"].as_object().unwrap().is_empty(), "{method} {path}");
            described.insert((method.clone(), path.clone()));
        }
    }
    let routes: BTreeSet<_> =
        ROUTES.iter().map(|(method, path)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(described, routes);
    for (method, path) in ROUTES {
        // With a method that no route has, a served route answers 405 and any other path 404.
        let path = path.replace("{digest}", "0000000000000000").replace("{name}", "a");
        let request = reqwest::Client::new().request(reqwest::Method::TRACE, server.url(&path));
        assert_eq!(request.send().await.unwrap().status(), 405, "{method} {path}");
    }
}

#[tokio::test]
async fn every_reference_leads_to_a_shape_and_every_field_is_described() {
    let server = Served::start().await;
    let document = document(&server).await;
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let mut references = Vec::new();
    find(&document, "$ref", &mut references);
    for reference in references {
        let name = reference.as_str().unwrap().strip_prefix("#/components/schemas/").unwrap();
        assert!(schemas.contains_key(name), "{name}");
    }
    for (name, schema) in schemas {
        for (field, property) in schema["properties"].as_object().into_iter().flatten() {
            let mut texts = Vec::new();
            find(property, "description", &mut texts);
            assert!(
                texts.iter().any(|text| text.as_str().is_some_and(|text| !text.is_empty())),
                "{name}.{field}"
            );
        }
    }
}

#[tokio::test]
async fn every_example_is_of_its_shape() {
    let server = Served::start().await;
    let document = document(&server).await;
    let mut count = 0;
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        if let Some(example) = schema.get("example") {
            check(&document, schema, example, name);
            count += 1;
        }
    }
    assert!(count >= 8, "only {count} examples");
    let example = &document["components"]["schemas"]["AcquireRequest"]["example"];
    server.post("/v1/acquire", example.clone()).await.ok(201);
}

#[tokio::test]
async fn what_is_answered_is_of_the_shape_that_is_described() {
    let server = Served::start().await;
    let document = document(&server).await;
    let shape = |name: &str| document["components"]["schemas"][name].clone();
    let acquired = server.post("/v1/acquire", crate::served::ask("a")).await.ok(201);
    check(&document, &shape("Granted"), &acquired.json, "Granted");
    let place = server.post("/v1/acquire", serde_json::json!({"name": "a", "queue": true})).await.ok(202);
    check(&document, &shape("Place"), &place.json, "Place");
    let busy = server.post("/v1/acquire", crate::served::ask("a")).await.problem(409);
    check(&document, &shape("Problem"), &busy.json, "Problem");
    for (path, name) in [
        ("/v1/leases", "Leases"),
        ("/v1/waiters", "Waiters"),
        ("/v1/why/a", "WhyHeld"),
        ("/v1/stats", "ServerStats"),
        ("/v1/monitor", "MonitorReport"),
        ("/v1/alerts", "Alerts"),
        ("/health", "Health"),
    ] {
        let answer = server.get(path).await.ok(200);
        check(&document, &shape(name), &answer.json, name);
    }
}

#[tokio::test]
async fn the_page_for_people_names_every_call_and_shape() {
    let server = Served::start().await;
    let page = server.get("/docs").await.ok(200);
    assert!(page.kind.starts_with("text/html"));
    for (method, path) in ROUTES {
        assert!(page.text.contains(&format!("{} {path}", method.to_uppercase())), "{method} {path}");
    }
    assert!(page.text.contains("id=\"AcquireRequest\""));
}

#[tokio::test]
async fn health_has_a_status_durations_and_entries() {
    let server = Served::start().await;
    let health = server.get("/health").await.ok(200).json;
    assert_eq!(health["status"], "Healthy");
    assert!(health["totalDuration"].as_str().unwrap().starts_with("00:00:00."));
    assert_eq!(health["entries"]["store"]["tags"], serde_json::json!(["lock", "ready"]));
    assert_eq!(health["entries"]["store"]["data"]["provider"], "memory");
    assert_eq!(health["entries"]["self"]["tags"], serde_json::json!(["live"]));
    assert!(server.get("/health/ready").await.ok(200).json["entries"].get("self").is_none());
    assert!(server.get("/health/live").await.ok(200).json["entries"].get("store").is_none());
}

fn find(value: &Value, key: &str, found: &mut Vec<Value>) {
    match value {
        Value::Object(object) => {
            found.extend(object.get(key).cloned());
            object.values().for_each(|value| find(value, key, found));
        }
        Value::Array(items) => items.iter().for_each(|value| find(value, key, found)),
        _ => {}
    }
}

/// The fields of all parts of a shape as those of one.
fn together(document: &Value, schema: &Value) -> Value {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.strip_prefix("#/components/schemas/").unwrap();
        return together(document, &document["components"]["schemas"][name]);
    }
    let mut whole = schema.clone();
    for part in schema["allOf"].as_array().into_iter().flatten().map(|part| together(document, part)) {
        whole["type"] = part["type"].clone();
        for (field, property) in part["properties"].as_object().unwrap() {
            whole["properties"][field] = property.clone();
        }
        let mut required = whole["required"].as_array().cloned().unwrap_or_default();
        required.extend(part["required"].as_array().into_iter().flatten().cloned());
        whole["required"] = required.into();
    }
    whole
}

/// As much of JSON Schema as the document uses.
#[track_caller]
fn check(document: &Value, schema: &Value, value: &Value, at: &str) {
    if schema["allOf"].is_array() {
        let mut whole = together(document, schema);
        whole.as_object_mut().unwrap().remove("allOf");
        return check(document, &whole, value, at);
    }
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.strip_prefix("#/components/schemas/").unwrap();
        return check(document, &document["components"]["schemas"][name], value, at);
    }
    if let Some(parts) = schema["oneOf"].as_array() {
        let part = parts.iter().find(|part| part["type"] != "null").unwrap();
        return check(document, part, value, at);
    }
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{at}: {value}");
    }
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.clone(),
        kind => vec![kind.clone()],
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    assert!(
        kinds.iter().any(|known| known == kind || (known == "number" && kind == "integer")),
        "{at}: {value} is no {kinds:?}"
    );
    for item in value.as_array().into_iter().flatten() {
        check(document, &schema["items"], item, at);
    }
    let Some(object) = value.as_object() else { return };
    for field in schema["required"].as_array().into_iter().flatten() {
        assert!(object.contains_key(field.as_str().unwrap()), "{at} lacks {field}");
    }
    for (field, value) in object {
        let schema = match schema["properties"].get(field) {
            Some(schema) => schema,
            None => {
                schema.get("additionalProperties").unwrap_or_else(|| panic!("{at}.{field} is not described"))
            }
        };
        check(document, schema, value, &format!("{at}.{field}"));
    }
}
