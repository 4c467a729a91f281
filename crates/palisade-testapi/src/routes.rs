//! From an HTTP request to what is done and answered.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    body::Bytes,
    extract::{Query, Request, State},
    http::{HeaderMap, Method, Uri, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    discovery,
    failure::{Failure, json_response, no_such_page},
    faults::{Obstacle, break_off},
    list::{Form, ListOptions, list, written},
    requests::{self, Verb},
    resource::{Place, Resource},
    shared::Shared,
    store::{Key, Object},
    watch::watch,
    write::{self, Part},
};

/// The largest body that the API server takes.
const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Answers every request.
pub(crate) async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Some((call, resource)) = Call::of(&shared, &parts) else {
        let response = discovery_response(&shared, &parts);
        log(&shared, None, &parts.uri, &response);
        return response;
    };
    let response = match axum::body::to_bytes(body, BODY_BYTES_MAX).await {
        Ok(body) => call.answer_or_fail(&shared, &resource, &body).await,
        Err(_) => Failure::new(413, "RequestEntityTooLarge", "limit is 3145728").into_response(),
    };
    log(&shared, Some((&call, &resource)), &parts.uri, &response);
    response
}

fn discovery_response(shared: &Shared, parts: &Parts) -> Response {
    let accept = parts.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let aggregated = accept.contains("as=APIGroupDiscoveryList");
    discovery::answer(&shared.store(), parts.uri.path(), aggregated).unwrap_or_else(no_such_page)
}

fn log(shared: &Shared, call: Option<(&Call, &Resource)>, uri: &Uri, response: &Response) {
    let request = requests::Request {
        verb: call.map_or(Verb::Get, |(call, _)| call.verb),
        resource: call.map_or(String::new(), |(call, resource)| match call.part {
            Part::Status => format!("{resource}/status"),
            Part::Main | Part::Everything => resource.id(),
        }),
        namespace: call.and_then(|(call, _)| call.namespace.clone()),
        name: call.and_then(|(call, _)| call.name.clone()),
        uri: uri.to_string(),
        status: response.status().as_u16(),
    };
    shared.requests().add(request);
}

/// A request about objects.
struct Call {
    verb: Verb,
    namespace: Option<String>,
    name: Option<String>,
    part: Part,
    query: BTreeMap<String, String>,
    headers: HeaderMap,
}

impl Call {
    /// `None` when the path names no kind that is served.
    fn of(shared: &Shared, parts: &Parts) -> Option<(Self, Resource)> {
        let Place { group, version, namespace, plural, name, subresource } = Place::of(parts.uri.path())?;
        let id = Resource { group, version: version.clone(), ..Resource::new("", &plural, "") }.id();
        let resource = shared.store().collection(&id)?.resource.clone();
        let part = match subresource.as_deref() {
            None => Part::Main,
            Some("status") if resource.status => Part::Status,
            Some(_) => return None,
        };
        if resource.version != version || (namespace.is_some() && !resource.namespaced) {
            return None;
        }
        let query =
            Query::<BTreeMap<String, String>>::try_from_uri(&parts.uri).map_or(BTreeMap::new(), |query| query.0);
        let watched = matches!(query.get("watch").map(String::as_str), Some("true" | "1"));
        let verb = match (&parts.method, &name) {
            (&Method::GET, Some(_)) => Verb::Get,
            (&Method::GET, None) if watched => Verb::Watch,
            (&Method::GET, None) => Verb::List,
            (&Method::POST, _) => Verb::Create,
            (&Method::PUT, _) => Verb::Update,
            (&Method::PATCH, _) => Verb::Patch,
            (&Method::DELETE, Some(_)) => Verb::Delete,
            (&Method::DELETE, None) => Verb::DeleteCollection,
            _ => return None,
        };
        Some((Self { verb, namespace, name, part, query, headers: parts.headers.clone() }, resource))
    }

    async fn answer_or_fail(&self, shared: &Arc<Shared>, resource: &Resource, body: &Bytes) -> Response {
        let obstacle = shared.faults().obstacle(resource, self.verb);
        let (namespace, name) = (self.namespace.as_deref(), self.name.as_deref().unwrap_or_default());
        if let Some(failure) = obstacle.and_then(|met| met.failure(resource, self.verb, namespace, name)) {
            return failure.into_response();
        }
        if let Some(Obstacle::Slow(time)) = obstacle {
            sleep(time).await;
        }
        let response = self.answer(shared, resource, body).unwrap_or_else(Failure::into_response);
        // A watch never ends by itself, so only its events can break.
        if obstacle == Some(Obstacle::Broken) && self.verb != Verb::Watch {
            break_off(response).await
        } else {
            response
        }
    }

    fn answer(&self, shared: &Arc<Shared>, resource: &Resource, body: &Bytes) -> Result<Response, Failure> {
        if self.query.contains_key("dryRun") && self.verb > Verb::Watch {
            return Err(Failure::bad_request("dryRun is not supported"));
        }
        match self.verb {
            Verb::Get => {
                let store = shared.store();
                let key = self.key(resource)?;
                let found = store.collection(&resource.id()).and_then(|collection| collection.get(&key));
                let found = found.ok_or_else(|| Failure::not_found(resource, &key.1))?;
                Ok(object_response(200, found, Form::asked_for(&self.headers)))
            }
            Verb::List => Ok(json_response(200, list(&shared.store(), resource, &self.options(resource)?)?)),
            Verb::Watch => watch(shared, resource, self.options(resource)?),
            Verb::Create => {
                self.check_all_of_a_namespace(resource)?;
                let namespace = self.namespace.as_deref().unwrap_or_default();
                let made = write::create(&mut shared.store(), resource, namespace, parsed(body)?, Part::Main)?;
                Ok(object_response(201, &made, Form::Full))
            }
            Verb::Update => {
                let key = self.key(resource)?;
                let made = write::replace(&mut shared.store(), resource, &key, parsed(body)?, self.part)?;
                Ok(object_response(200, &made, Form::Full))
            }
            Verb::Patch => self.patch(shared, resource, body),
            Verb::Delete => self.delete(shared, resource, body),
            Verb::DeleteCollection => self.delete_collection(shared, resource),
        }
    }

    fn patch(&self, shared: &Shared, resource: &Resource, body: &Bytes) -> Result<Response, Failure> {
        let given = self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (key, patch) = (self.key(resource)?, parsed(body));
        let mut store = shared.store();
        let there = store.collection(&resource.id()).is_some_and(|collection| collection.get(&key).is_some());
        let made = match given.split(';').next().unwrap_or_default() {
            // Lists are replaced as a whole by both, which is what sets strategic merging apart.
            "application/merge-patch+json" | "application/strategic-merge-patch+json" => {
                write::patch(&mut store, resource, &key, &patch?, self.part)?
            }
            "application/apply-patch+yaml" | "application/apply-patch+cbor" => {
                if !self.query.contains_key("fieldManager") {
                    let why = "Required value: is required for apply patch";
                    return Err(Failure::invalid(resource, &key.1, "fieldManager", why));
                }
                write::apply(&mut store, resource, &key, patch?, self.part)?
            }
            _ => return Err(Failure::unsupported_media(given)),
        };
        Ok(object_response(if there { 200 } else { 201 }, &made, Form::asked_for(&self.headers)))
    }

    fn delete(&self, shared: &Shared, resource: &Resource, body: &Bytes) -> Result<Response, Failure> {
        let key = self.key(resource)?;
        let options: Value = serde_json::from_slice(body).unwrap_or_default();
        let deleted = write::delete(&mut shared.store(), resource, &key, &options["preconditions"])?;
        let uid = deleted.value()["metadata"]["uid"].take();
        let details = json!({ "name": key.1, "group": resource.group, "kind": resource.plural, "uid": uid });
        let status =
            json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details });
        Ok(json_response(200, status.to_string()))
    }

    fn delete_collection(&self, shared: &Shared, resource: &Resource) -> Result<Response, Failure> {
        self.check_all_of_a_namespace(resource)?;
        let options = self.options(resource)?;
        let mut store = shared.store();
        let collection = store.collection(&resource.id()).ok_or_else(|| Failure::not_found(resource, ""))?;
        let selected = collection.objects().filter(|(key, object)| options.selects(key, object));
        let keys: Vec<Key> = selected.map(|(key, _)| key.clone()).collect();
        let deleted = keys.iter().map(|key| write::delete(&mut store, resource, key, &Value::Null));
        let deleted: Vec<Arc<Object>> = deleted.collect::<Result<_, _>>()?;
        let metadata = json!({ "resourceVersion": store.version().to_string() });
        Ok(json_response(200, written(resource, Form::Full, &metadata, deleted.iter())))
    }

    fn options(&self, resource: &Resource) -> Result<ListOptions, Failure> {
        ListOptions::parse(resource, self.namespace.clone(), &self.query, Form::asked_for(&self.headers))
    }

    /// What is created or deleted by the many lies in one namespace, if the kind has them.
    fn check_all_of_a_namespace(&self, resource: &Resource) -> Result<(), Failure> {
        let fits = self.name.is_none() && self.namespace.is_some() == resource.namespaced;
        if fits { Ok(()) } else { Err(Failure::not_allowed()) }
    }

    /// The object that the path names.
    fn key(&self, resource: &Resource) -> Result<Key, Failure> {
        let name = self.name.clone().ok_or_else(Failure::not_allowed)?;
        match &self.namespace {
            None if resource.namespaced => Err(Failure::bad_request("an empty namespace may not be set")),
            namespace => Ok((namespace.clone().unwrap_or_default(), name)),
        }
    }
}

fn object_response(code: u16, object: &Object, form: Form) -> Response {
    let mut text = Vec::new();
    form.write(object, &mut text);
    json_response(code, text)
}

fn parsed(body: &Bytes) -> Result<Value, Failure> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| Failure::bad_request(format!("the body of the request is not JSON: {error}")))?;
    if value.is_object() { Ok(value) } else { Err(Failure::bad_request("the body of the request is not an object")) }
}
