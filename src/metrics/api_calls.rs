//! Counts the calls to the API server where they leave the process.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Method, Request, Response};

use super::Metrics;

/// Counts the calls of the client that it is made a layer of.
#[derive(Clone)]
pub struct CountCalls(pub Arc<Metrics>);

impl<S> tower::Layer<S> for CountCalls {
    type Service = Counting<S>;

    fn layer(&self, service: S) -> Counting<S> {
        Counting { service, metrics: Arc::clone(&self.0) }
    }
}

#[derive(Clone)]
pub struct Counting<S> {
    service: S,
    metrics: Arc<Metrics>,
}

impl<S, B, R> tower::Service<Request<B>> for Counting<S>
where
    S: tower::Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let call = Call::of(request.method(), request.uri());
        let metrics = Arc::clone(&self.metrics);
        let answer = self.service.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let code = answer.as_ref().ok().map(|answer| answer.status().as_u16());
            metrics.api_called(call, code);
            answer
        })
    }
}

/// What is asked of the API server, in its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub verb: &'static str,
    /// With the subresource: `okrkeyresults/status`. No name of anybody's object: there are as many as kinds that we ask for.
    pub resource: String,
}

impl Call {
    fn of(method: &Method, uri: &http::Uri) -> Self {
        let mut parts = uri.path().split('/').filter(|part| !part.is_empty());
        // /api/v1/... or /apis/GROUP/VERSION/...
        match parts.next() {
            Some("api") => parts.nth(0),
            _ => parts.nth(1),
        };
        let parts: Vec<&str> = parts.collect();
        let parts = match parts.as_slice() {
            ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
            all => all,
        };
        let is_watch = || uri.query().is_some_and(|query| query.split('&').any(|part| part == "watch=true"));
        let verb = match (method, parts) {
            (&Method::GET, [_]) if is_watch() => "watch",
            (&Method::GET, [_]) => "list",
            (&Method::GET, _) => "get",
            (&Method::POST, _) => "create",
            (&Method::PUT, _) => "update",
            (&Method::PATCH, _) => "patch",
            (&Method::DELETE, _) => "delete",
            _ => "other",
        };
        let resource = match parts {
            [] => String::new(),
            [resource] | [resource, _] => (*resource).to_owned(),
            [resource, _, subresource, ..] => format!("{resource}/{subresource}"),
        };
        Self { verb, resource }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_named_as_rbac_names_it() {
        let check = |method: Method, uri: &str, verb: &str, resource: &str| {
            let call = Call::of(&method, &uri.parse().unwrap());
            assert_eq!((call.verb, call.resource.as_str()), (verb, resource), "{method} {uri}");
        };
        let ours = "/apis/okr-operator.dev/v1alpha1";
        check(Method::GET, &format!("https://host{ours}/okrkeyresults?limit=500"), "list", "okrkeyresults");
        check(Method::GET, &format!("{ours}/okrkeyresults?watch=true&timeoutSeconds=290"), "watch", "okrkeyresults");
        check(Method::GET, &format!("{ours}/namespaces/sales/okrkeyresults?&limit=500"), "list", "okrkeyresults");
        check(
            Method::PUT,
            &format!("{ours}/namespaces/sales/okrkeyresults/kr/status?"),
            "update",
            "okrkeyresults/status",
        );
        check(Method::GET, "/api/v1/namespaces/sales/secrets/google", "get", "secrets");
        check(Method::GET, "/api/v1/namespaces?watch=true", "watch", "namespaces");
        check(Method::GET, "/api/v1/namespaces/sales", "get", "namespaces");
        check(Method::POST, "/apis/events.k8s.io/v1/namespaces/sales/events?", "create", "events");
        check(Method::POST, "/apis/authentication.k8s.io/v1/tokenreviews", "create", "tokenreviews");
        check(Method::GET, "/version", "get", "");
    }
}
