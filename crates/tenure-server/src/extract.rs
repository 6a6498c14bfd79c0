//! Reading requests: JSON bodies, query strings and path segments, with errors that repeat nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, RawQuery, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;
use tenure::{Digest, Name};

use crate::desk::Desk;
use crate::problem::Failure;
use crate::shape::millis;

/// A body of `application/json`, read strictly.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Arc<Desk>> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, desk: &Arc<Desk>) -> Result<Self, Failure> {
        // Demanded also because no page of a foreign origin can send it unasked.
        let kind = request.headers().get(header::CONTENT_TYPE).map(header::HeaderValue::as_bytes);
        let kind = kind.and_then(|kind| kind.split(|byte| *byte == b';').next()).map(<[u8]>::trim_ascii);
        if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case(b"application/json")) {
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            let detail = "send the body as content-type: application/json";
            return Err(Failure::new(status, "media-type", "Unsupported media type", detail));
        }
        let limit = desk.config.body_timeout;
        let body = tokio::time::timeout(limit, Bytes::from_request(request, desk)).await.map_err(|_| {
            let detail = format!("the body has to be there within {} ms", millis(limit));
            Failure::new(StatusCode::REQUEST_TIMEOUT, "timeout", "Request timeout", detail)
                .with_limit("body_timeout")
        })?;
        let body = body.map_err(|rejection| unreadable(rejection.status(), desk))?;
        Ok(Json(tenure_wire::parse(&body)?))
    }
}

fn unreadable(status: StatusCode, desk: &Desk) -> Failure {
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        let detail = format!("a body has at most {} bytes", desk.config.max_body);
        return Failure::new(status, "too-large", "Body too large", detail).with_limit("max_body");
    }
    Failure::invalid("the body could not be read")
}

/// The parameters of a query string, each at most once, and none that is not known.
#[derive(Debug)]
pub(crate) struct Params(BTreeMap<String, String>);

impl Params {
    /// Reads a query string in which only `known` may come.
    pub(crate) fn read(query: &RawQuery, known: &[&'static str]) -> Result<Self, Failure> {
        let mut params = BTreeMap::new();
        let query = query.0.as_deref().unwrap_or_default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(field) = known.iter().copied().find(|field| *field == key) else {
                let detail = format!("an unknown parameter; known are: {}", known.join(" "));
                return Err(Failure::invalid(detail));
            };
            let value = decoded(value).ok_or_else(|| {
                Failure::invalid("the value is not percent-encoded UTF-8").with_field(field)
            })?;
            if params.insert(field.to_owned(), value).is_some() {
                return Err(Failure::invalid("it is given twice").with_field(field));
            }
        }
        Ok(Params(params))
    }

    pub(crate) fn text(&self, field: &str) -> &str {
        self.0.get(field).map_or("", String::as_str)
    }

    /// A prefix of names.
    pub(crate) fn prefix(&self) -> Result<String, Failure> {
        let prefix = self.text("prefix");
        if prefix.len() > Name::MAX_BYTES || prefix.chars().any(char::is_control) {
            let detail = "a prefix has at most 255 bytes and no control characters";
            return Err(Failure::invalid(detail).with_field("prefix").with_limit("name_bytes"));
        }
        Ok(prefix.to_owned())
    }

    /// A number from 1 to `most`, or `default`.
    pub(crate) fn number(&self, field: &str, default: usize, most: usize) -> Result<usize, Failure> {
        let Some(text) = self.0.get(field) else {
            return Ok(default);
        };
        let number = text.parse().ok().filter(|number| (1..=most).contains(number));
        number.ok_or_else(|| {
            Failure::invalid(format!("a number from 1 to {most}")).with_field(field).with_limit("page")
        })
    }

    /// Where a page begins.
    pub(crate) fn after(&self) -> Result<Option<Digest>, Failure> {
        let after = self.0.get("after").map(|text| digest(text)).transpose();
        after.map_err(|failure| failure.with_field("after"))
    }

    /// A flag that is `true` or `false`.
    pub(crate) fn flag(&self, field: &str) -> Result<bool, Failure> {
        match self.text(field) {
            "" | "false" => Ok(false),
            "true" => Ok(true),
            _ => Err(Failure::invalid("true or false").with_field(field)),
        }
    }
}

/// A digest from its text.
pub(crate) fn digest(text: &str) -> Result<Digest, Failure> {
    text.parse().map_err(|_| Failure::invalid("a digest has 16 hexadecimal digits").with_field("digest"))
}

/// The only segment of the path that varies.
pub(crate) struct Segment(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Failure::invalid("the path is not percent-encoded UTF-8"))?;
        Ok(Segment(text))
    }
}

/// Undoes percent-encoding, where `+` is a space.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (high, low) = (hex(rest.next()?)?, hex(rest.next()?)?);
                high * 16 + low
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_undone_and_what_is_not_utf_8_refused() {
        assert_eq!(decoded("a%3Ab+c%C3%BC").as_deref(), Some("a:b cü"));
        for bad in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(decoded(bad), None, "{bad}");
        }
    }
}
