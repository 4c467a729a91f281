//! What the server refuses, as the `Status` objects of Kubernetes (`k8s.io/apimachinery/pkg/api/errors`).

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::resource::Resource;

/// A refused request.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub code: u16,
    reason: &'static str,
    message: String,
    details: Option<Value>,
}

impl Failure {
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None }
    }

    fn of(self, resource: &Resource, name: &str) -> Self {
        let mut details = json!({});
        for (field, value) in [("name", name), ("group", &resource.group), ("kind", &resource.plural)] {
            if !value.is_empty() {
                details[field] = value.into();
            }
        }
        Self { details: Some(details), ..self }
    }

    fn detail(mut self, field: &str, value: Value) -> Self {
        self.details.get_or_insert_with(|| json!({}))[field] = value;
        self
    }

    pub fn not_found(resource: &Resource, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{resource} \"{name}\" not found")).of(resource, name)
    }

    pub fn already_exists(resource: &Resource, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{resource} \"{name}\" already exists")).of(resource, name)
    }

    pub fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}");
        Self::new(409, "Conflict", message).of(resource, name)
    }

    pub fn invalid(resource: &Resource, name: &str, field: &str, why: &str) -> Self {
        let message = format!("{} \"{name}\" is invalid: {field}: {why}", resource.kind);
        let causes = json!([{ "reason": "FieldValueInvalid", "message": why, "field": field }]);
        Self::new(422, "Invalid", message).of(resource, name).detail("causes", causes)
    }

    /// Options of a list or watch that do not go together.
    pub fn invalid_options(field: &str, why: &str) -> Self {
        let message = format!("ListOptions.meta.k8s.io \"\" is invalid: {field}: {why}");
        let causes = json!([{ "reason": "FieldValueForbidden", "message": why, "field": field }]);
        let details = json!({ "group": "meta.k8s.io", "kind": "ListOptions", "causes": causes });
        Self { details: Some(details), ..Self::new(422, "Invalid", message) }
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub fn forbidden(resource: &Resource, verb: &str, namespace: Option<&str>, name: &str) -> Self {
        let place = namespace.map_or("at the cluster scope".to_owned(), |name| format!("in the namespace \"{name}\""));
        let named = if name.is_empty() { resource.id() } else { format!("{resource} \"{name}\"") };
        let (plural, group) = (&resource.plural, &resource.group);
        let message = format!(
            "{named} is forbidden: User \"system:anonymous\" cannot {verb} resource \"{plural}\" in API group \"{group}\" {place}"
        );
        Self::new(403, "Forbidden", message).of(resource, name)
    }

    /// A watch that would start behind what the server still has.
    pub fn too_old(asked: u64, oldest: u64) -> Self {
        Self::new(410, "Expired", format!("too old resource version: {asked} ({oldest})"))
    }

    /// A list of a state that the server has no more.
    pub fn expired_list(continued: bool) -> Self {
        let message = if continued {
            "The provided continue parameter is too old to display a consistent list result."
        } else {
            "The resourceVersion for the provided list is too old."
        };
        Self::new(410, "Expired", message)
    }

    /// A state that the server has not reached.
    pub fn too_large(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let causes = json!([{ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" }]);
        Self::new(504, "Timeout", message).detail("causes", causes).detail("retryAfterSeconds", 1.into())
    }

    pub fn too_many_requests(retry_after_s: u32) -> Self {
        Self::new(429, "TooManyRequests", "too many requests, please try again later")
            .detail("retryAfterSeconds", retry_after_s.into())
    }

    pub fn internal_error() -> Self {
        let causes = json!([{ "message": "fault on demand" }]);
        Self::new(500, "InternalError", "Internal error occurred: fault on demand").detail("causes", causes)
    }

    pub fn unavailable() -> Self {
        Self::new(503, "ServiceUnavailable", "the server is currently unable to handle the request")
    }

    pub fn not_allowed() -> Self {
        Self::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    }

    pub fn unsupported_media(given: &str) -> Self {
        let supported =
            "application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml";
        let message = format!(
            "the body of the request was in an unknown format ({given}) - accepted media types include: {supported}"
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// The `Status` object.
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {},
            "status": "Failure", "message": self.message, "reason": self.reason, "code": self.code,
        });
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        status
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = json_response(self.code, self.status().to_string());
        if let Some(seconds) = self.details.as_ref().and_then(|details| details["retryAfterSeconds"].as_u64()) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// An answer in JSON.
pub(crate) fn json_response(code: u16, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// What a path answers that leads nowhere, as that of a kind nobody defined: plain text.
pub(crate) fn no_such_page() -> Response {
    (StatusCode::NOT_FOUND, "404 page not found\n").into_response()
}
