//! Who gets into the dashboard: real tokens, reviewed by a real API server.

mod support;

use std::{
    collections::BTreeSet,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, LazyLock, Mutex},
    time::{Duration, Instant},
};

use axum::{Extension, Router, body::Body, response::Response, routing::get};
use futures::{StreamExt, stream};
use http::{HeaderMap, Request, StatusCode, header};
use kube::{Client, Config};
use okr_operator::dashboard::{
    Visible,
    callers::{Callers, KEPT},
    gate::{Access, Gate, SignedIn},
    reviews::Token,
};
use rstest::rstest;
use serde_json::json;
use support::{
    cluster::{Sandbox, failure, sandbox},
    log::Log,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// What all tests log. Two of them look for tokens in it.
static LOG: LazyLock<Log> = LazyLock::new(Log::of_everything);

/// Routes that tell what they were given.
fn routes() -> Router {
    let seen = |Extension(visible): Extension<Visible>, signed_in: Option<Extension<SignedIn>>, headers: HeaderMap| async move {
        assert!(headers.get(header::AUTHORIZATION).is_none() && headers.get(header::COOKIE).is_none());
        let name = signed_in.map(|Extension(SignedIn(name))| format!(" ({name})")).unwrap_or_default();
        match visible {
            Visible::All => format!("all{name}"),
            Visible::Namespaces(names) => format!("{}{name}", Vec::from_iter(names.iter().cloned()).join(",")),
        }
    };
    Router::new()
        .route("/", get(seen))
        .route("/objectives/a", get(seen))
        .route("/api/v1/objectives", get(seen))
        .route("/badges/a.svg", get(|Extension(visible): Extension<Visible>| async move { format!("{visible:?}") }))
}

fn gate(access: Access) -> Gate {
    Gate { hosts: vec!["okr.example.com".to_owned()], public_badges: false, listed: listed(), access }
}

fn open() -> Router {
    gate(Access::Everyone).guard(routes())
}

/// A dashboard with objects in these namespaces, whose questions go through `client`.
fn closed(client: Client, namespaces: &[&str]) -> Router {
    gate(Access::Token(callers(client, namespaces))).guard(routes())
}

fn callers(client: Client, namespaces: &[&str]) -> Callers {
    let namespaces: BTreeSet<String> = namespaces.iter().map(|&name| name.to_owned()).collect();
    Callers::new(client, Box::new(move || namespaces.clone()))
}

/// An answer, read to its end.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

async fn send(router: &Router, request: Request<Body>) -> Answer {
    let response: Response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    Answer { status: parts.status, headers: parts.headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
}

/// GET with these headers, and the host `localhost` unless they say another.
async fn ask(router: &Router, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::get(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "localhost:8081");
    }
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    send(router, request.body(Body::empty()).unwrap()).await
}

const PAGE: (&str, &str) = ("accept", "text/html,application/xhtml+xml");

async fn submit(router: &Router, path: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> Answer {
    let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let request = Request::post(path).header("host", "localhost:8081");
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    send(router, request.body(Body::from(form)).unwrap()).await
}

/// A client whose API server answers nobody: nothing listens there.
fn nowhere() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let closed: SocketAddr = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    Client::try_from(Config::new(format!("http://{closed}").parse().unwrap())).unwrap()
}

/// The same client, and what is asked through it.
fn recorded(client: &Client) -> (Client, Arc<Mutex<Vec<String>>>) {
    let paths: Arc<Mutex<Vec<String>>> = Arc::default();
    let (recorder, client) = (Arc::clone(&paths), client.clone());
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        recorder.lock().unwrap().push(request.uri().path().rsplit('/').next().unwrap().to_owned());
        let client = client.clone();
        async move { client.send(request).await }
    });
    (Client::new(service, "default"), paths)
}

/// Counts the questions of one kind.
fn count(paths: &Mutex<Vec<String>>, kind: &str) -> usize {
    paths.lock().unwrap().iter().filter(|path| *path == kind).count()
}

/// Somebody with a ServiceAccount of the test's namespace.
struct Person {
    /// As RBAC calls it.
    user: String,
    token: String,
}

impl Person {
    async fn new(sandbox: &Sandbox) -> Self {
        Self::named(sandbox, "reader").await
    }

    async fn named(sandbox: &Sandbox, name: &str) -> Self {
        let token = sandbox.token(name).await;
        Self { user: format!("system:serviceaccount:{}:{name}", sandbox.namespace), token }
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    fn cookie(&self) -> String {
        format!("okr-operator-token={}", self.token)
    }
}

/// The kinds that one must be allowed to list.
const KINDS: [&str; 3] = ["okrkeyresults", "okrobjectives", "bigqueryconnections"];

fn listing(resources: &[&str]) -> serde_json::Value {
    json!([{"apiGroups": ["okr-operator.dev"], "resources": resources, "verbs": ["list"]}])
}

#[rstest]
#[case("localhost", StatusCode::OK)]
#[case("localhost:8081", StatusCode::OK)]
#[case("LocalHost:1", StatusCode::OK)]
#[case("127.0.0.1:8081", StatusCode::OK)]
#[case("[::1]:8081", StatusCode::OK)]
#[case("okr.example.com", StatusCode::OK)]
#[case("OKR.example.com:443", StatusCode::OK)]
#[case("evil.example", StatusCode::MISDIRECTED_REQUEST)]
#[case("localhost.evil.example:8081", StatusCode::MISDIRECTED_REQUEST)]
#[case("127.0.0.1.nip.io", StatusCode::MISDIRECTED_REQUEST)]
#[case("10.0.0.7:8081", StatusCode::MISDIRECTED_REQUEST)]
#[case("localhost@evil.example", StatusCode::MISDIRECTED_REQUEST)]
#[case("evil.example@localhost", StatusCode::MISDIRECTED_REQUEST)]
#[case("", StatusCode::BAD_REQUEST)]
#[case("local host", StatusCode::BAD_REQUEST)]
#[tokio::test]
async fn only_names_of_ours_are_answered(#[case] host: &str, #[case] want: StatusCode) {
    for path in ["/", "/api/v1/objectives", "/badges/a.svg", "/not/there"] {
        let answer = ask(&open(), path, &[("host", host)]).await;
        let want = if path == "/not/there" && want == StatusCode::OK { StatusCode::NOT_FOUND } else { want };
        assert_eq!(answer.status, want, "{host} {path}");
    }
}

#[tokio::test]
async fn a_wrong_name_is_told_which_flag_to_set() {
    let answer = ask(&open(), "/", &[("host", "okr.example.org:80")]).await;
    assert!(answer.text.contains("--dashboard-host=okr.example.org "), "{}", answer.text);
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    let nameless = Request::get("/").body(Body::empty()).unwrap();
    assert_eq!(send(&open(), nameless).await.status, StatusCode::BAD_REQUEST);
    let twice =
        Request::get("/").header("host", "localhost").header("host", "evil.example").body(Body::empty()).unwrap();
    assert_eq!(send(&open(), twice).await.status, StatusCode::BAD_REQUEST);
    let absolute = Request::get("http://evil.example/").header("host", "localhost").body(Body::empty()).unwrap();
    assert_eq!(send(&open(), absolute).await.status, StatusCode::MISDIRECTED_REQUEST);
    let login = ask(&closed(nowhere(), &[]), "/login", &[("host", "evil.example")]).await;
    assert_eq!(login.status, StatusCode::MISDIRECTED_REQUEST, "the login page too");
}

#[tokio::test]
async fn without_a_token_there_is_the_login_page_and_for_programs_a_401() {
    let router = closed(nowhere(), &[]);
    let page = ask(&router, "/objectives/a\"autofocus?tab='history'", &[PAGE]).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    assert_eq!(page.header("www-authenticate"), "Bearer");
    assert_eq!(page.header("cache-control"), "no-store");
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
    assert!(page.text.contains("kubectl -n NAMESPACE create token NAME"), "{}", page.text);
    assert!(page.text.contains("action=\"../login\""), "a proxy may serve all of this below a path: {}", page.text);
    assert!(page.text.contains("type=\"password\"") && !page.text.contains("<script"));
    assert!(!page.text.contains("a\"autofocus"), "what was asked for is escaped: {}", page.text);
    let json = ask(&router, "/api/v1/objectives", &[PAGE]).await;
    assert_eq!((json.status, json.header("content-type")), (StatusCode::UNAUTHORIZED, "application/json"));
    assert_eq!(json.text, r#"{"error":"a Kubernetes token is needed"}"#);
    for path in ["/badges/a.svg", "/", "/not/there"] {
        let plain = ask(&router, path, &[("accept", "image/svg+xml")]).await;
        assert_eq!((plain.status, plain.text.as_str()), (StatusCode::UNAUTHORIZED, "a Kubernetes token is needed\n"));
    }
    assert_eq!(ask(&router, "/login", &[PAGE]).await.status, StatusCode::OK);
    assert_eq!(ask(&router, "/login.css", &[]).await.header("content-type"), "text/css; charset=utf-8");
    assert_eq!(ask(&open(), "/login", &[PAGE]).await.status, StatusCode::NOT_FOUND, "nobody has to log in here");
}

#[tokio::test]
async fn a_link_elsewhere_comes_back_with_the_cookie() {
    let router = closed(nowhere(), &[]);
    let link = [PAGE, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    let again = ask(&router, "/", &link).await;
    assert_eq!(again.status, StatusCode::UNAUTHORIZED);
    assert!(again.text.contains("http-equiv=\"refresh\""), "{}", again.text);
    let framed = [PAGE, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")];
    assert!(ask(&router, "/", &framed).await.text.contains("<form"));
}

#[tokio::test]
async fn a_token_that_the_api_server_does_not_know_is_refused() {
    let sandbox = sandbox("gate-bad").await;
    let router = closed(sandbox.client.clone(), &[&sandbox.namespace]);
    let bad = "eyJhbGciOiJSUzI1NiJ9.bad.token";
    let page = ask(&router, "/", &[PAGE, ("cookie", &format!("okr-operator-token={bad}"))]).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    assert!(page.text.contains("no longer accepts your token") && !page.text.contains(bad), "{}", page.text);
    let json = ask(&router, "/api/v1/objectives", &[("authorization", &format!("Bearer {bad}"))]).await;
    assert_eq!(json.status, StatusCode::UNAUTHORIZED);
    assert_eq!(json.text, r#"{"error":"the API server does not accept this token"}"#);
    let page = submit(&router, "/login", &[("token", bad), ("next", "/objectives/a")], &[]).await;
    assert_eq!((page.status, page.header("set-cookie")), (StatusCode::UNAUTHORIZED, ""));
    assert!(page.text.contains("value=\"/objectives/a\"") && !page.text.contains(bad), "{}", page.text);
}

#[tokio::test]
async fn who_may_list_everywhere_sees_all() {
    let sandbox = sandbox("gate-all").await;
    let person = Person::new(&sandbox).await;
    sandbox.allow_everywhere(&person.user, listing(&KINDS)).await;
    let router = closed(sandbox.client.clone(), &[&sandbox.namespace]);
    assert_eq!(ask(&router, "/", &[("authorization", &person.bearer())]).await.text, "all");
    let lower = person.bearer().replace("Bearer", "bearer ");
    assert_eq!(ask(&router, "/", &[("authorization", &lower)]).await.text, "all", "any case");
    let answer = ask(&router, "/", &[("cookie", &format!("a=b; {}; c", person.cookie()))]).await;
    assert_eq!(answer.text, format!("all ({})", person.user), "the cookie can be logged out of");
    assert_eq!(answer.header("vary"), "authorization, cookie");
    assert_eq!(answer.header("cache-control"), "no-store");
    let proxied = [("authorization", "Basic b2tyOm9rcg=="), ("cookie", &person.cookie())];
    assert!(ask(&router, "/", &proxied).await.text.starts_with("all"), "another scheme is the proxy's own");
    let overruled = [("authorization", "Bearer bad"), ("cookie", &person.cookie())];
    assert_eq!(ask(&router, "/", &overruled).await.status, StatusCode::UNAUTHORIZED, "the header goes first");
}

#[tokio::test]
async fn who_may_list_in_one_namespace_sees_that_one() {
    let sandbox = sandbox("gate-one").await;
    let person = Person::new(&sandbox).await;
    let router = || closed(sandbox.client.clone(), &["default", "kube-system", &sandbox.namespace]);
    let bearer = person.bearer();
    let headers = [PAGE, ("authorization", bearer.as_str())];

    let nothing = ask(&router(), "/", &headers).await;
    assert_eq!(nothing.status, StatusCode::FORBIDDEN);
    assert!(nothing.text.contains(&person.user) && nothing.text.contains("okrkeyresults"), "{}", nothing.text);
    assert!(!nothing.text.contains("<form"), "there is no cookie to log out of");
    let json = ask(&router(), "/api/v1/objectives", &headers).await;
    assert_eq!((json.status, json.header("content-type")), (StatusCode::FORBIDDEN, "application/json"));

    sandbox.allow(&person.user, listing(&KINDS)).await;
    assert_eq!(ask(&router(), "/", &headers).await.text, sandbox.namespace);
    for missing in KINDS {
        let person = Person::named(&sandbox, missing).await;
        let others: Vec<&str> = KINDS.into_iter().filter(|kind| *kind != missing).collect();
        sandbox.allow(&person.user, listing(&others)).await;
        let answer = ask(&router(), "/", &[("authorization", &person.bearer())]).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "without {missing}");
    }
}

#[tokio::test]
async fn a_login_ends_in_a_cookie_that_only_the_browser_reads() {
    let sandbox = sandbox("gate-login").await;
    let person = Person::new(&sandbox).await;
    sandbox.allow(&person.user, listing(&KINDS)).await;
    let router = closed(sandbox.client.clone(), &[&sandbox.namespace]);
    let token = format!("  {}\n", person.token);
    let fields = [("token", token.as_str()), ("next", "/objectives/a?tab=history")];
    let answer = submit(&router, "/login", &fields, &[("sec-fetch-site", "same-origin")]).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "./objectives/a?tab=history"));
    let cookie = format!("{}; Path=/; Max-Age=28800; HttpOnly; SameSite=Strict", person.cookie());
    assert_eq!(answer.header("set-cookie"), cookie);
    assert_eq!(answer.text, "");
    let seen = ask(&router, "/", &[("cookie", &person.cookie())]).await;
    assert_eq!(seen.text, format!("{} ({})", sandbox.namespace, person.user));
    for scheme in ["https", "HTTPS, http"] {
        let answer = submit(&router, "/login", &fields, &[("x-forwarded-proto", scheme)]).await;
        assert_eq!(answer.header("set-cookie"), format!("{cookie}; Secure"));
    }
    let out = submit(&router, "/logout", &[], &[("cookie", &person.cookie())]).await;
    assert_eq!((out.status, out.header("location")), (StatusCode::SEE_OTHER, "./login"));
    assert_eq!(out.header("set-cookie"), "okr-operator-token=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict");
    assert_eq!(ask(&router, "/logout", &[]).await.status, StatusCode::METHOD_NOT_ALLOWED, "no link logs out");
}

#[tokio::test]
async fn nobody_is_sent_elsewhere_after_the_login() {
    let sandbox = sandbox("gate-next").await;
    let person = Person::new(&sandbox).await;
    let router = closed(sandbox.client.clone(), &[&sandbox.namespace]);
    for (next, want) in [
        ("/objectives/a", "/objectives/a"),
        ("/objectives/ä b", "/objectives/%C3%A4%20b"),
        ("/a?b=//c#d", "/a?b=//c"),
        ("", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("\\\\evil.example", "/"),
        ("/\t/evil.example", "/"),
        ("/.//evil.example", "/"),
        ("/a/../..//evil.example", "/"),
        ("https://evil.example/", "/"),
        ("javascript:alert(1)", "/"),
        ("objectives", "/"),
        ("/\r\nSet-Cookie: a=b", "/Set-Cookie:%20a=b"),
        ("/login", "/"),
        ("/logout?a", "/"),
    ] {
        let answer = submit(&router, "/login", &[("token", &person.token), ("next", next)], &[]).await;
        let want = format!(".{want}");
        assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, want.as_str()), "{next:?}");
    }
}

#[rstest]
#[case(&[("sec-fetch-site", "same-origin")], true)]
#[case(&[("sec-fetch-site", "none")], true)]
#[case(&[("sec-fetch-site", "cross-site")], false)]
#[case(&[("sec-fetch-site", "same-site"), ("origin", "http://localhost:8081")], false)]
#[case(&[("origin", "http://localhost:8081")], true)]
#[case(&[("origin", "http://localhost:3000")], false)]
#[case(&[("origin", "https://evil.example")], false)]
#[case(&[("origin", "null")], false)]
#[case(&[], true)]
#[tokio::test]
async fn no_other_site_logs_anybody_in_or_out(#[case] headers: &[(&str, &str)], #[case] allowed: bool) {
    let router = closed(nowhere(), &[]);
    let out = submit(&router, "/logout", &[], headers).await;
    assert_eq!(out.status, if allowed { StatusCode::SEE_OTHER } else { StatusCode::FORBIDDEN });
    // No token at all: what is allowed gets as far as to be told so.
    let login = submit(&router, "/login", &[], headers).await;
    assert_eq!(login.status, if allowed { StatusCode::BAD_REQUEST } else { StatusCode::FORBIDDEN });
    assert_eq!(login.header("set-cookie"), "");
}

#[tokio::test]
async fn what_is_no_token_is_not_asked_about() {
    let router = closed(nowhere(), &[]);
    for (token, want, words) in [
        ("error: not found".to_owned(), StatusCode::BAD_REQUEST, "paste all that kubectl prints"),
        ("a;b".to_owned(), StatusCode::BAD_REQUEST, "paste all that kubectl prints"),
        ("a".repeat(3901), StatusCode::BAD_REQUEST, "too long for a cookie"),
        ("a".repeat(17_000), StatusCode::BAD_REQUEST, "paste all that kubectl prints"),
        ("a".repeat(40_000), StatusCode::PAYLOAD_TOO_LARGE, "too long for a token"),
    ] {
        let answer = submit(&router, "/login", &[("token", &token)], &[]).await;
        assert_eq!(answer.status, want, "{}", token.len());
        assert!(answer.text.contains(words), "{}", answer.text);
    }
    for header in ["Bearer", "Bearer ", "Bearer a b", "Bearer \u{7f}"] {
        let Ok(request) =
            Request::get("/").header("host", "localhost").header("authorization", header).body(Body::empty())
        else {
            continue;
        };
        assert_eq!(send(&router, request).await.status, StatusCode::UNAUTHORIZED, "{header:?}");
    }
}

#[tokio::test]
async fn a_token_is_reviewed_once_in_half_a_minute() {
    let sandbox = sandbox("gate-kept").await;
    let person = Person::new(&sandbox).await;
    sandbox.allow(&person.user, listing(&KINDS)).await;
    let (client, asked) = recorded(&sandbox.client);
    let callers = callers(client, &["default", &sandbox.namespace]);
    let (token, now) = (Token::parse(&person.token).unwrap(), Instant::now());
    let many = futures::future::join_all((0..20).map(|_| callers.caller(&token, now))).await;
    assert!(many.iter().all(|answer| answer.as_ref().unwrap().is_some()));
    assert_eq!(count(&asked, "tokenreviews"), 1, "those who come at once wait for one review");
    // Everywhere: no. Then in one namespace no, in the other yes for each kind.
    assert_eq!(count(&asked, "subjectaccessreviews"), 1 + 1 + 3);
    callers.caller(&token, now + KEPT - Duration::from_millis(1)).await.unwrap();
    assert_eq!(count(&asked, "tokenreviews"), 1);
    callers.caller(&token, now + KEPT).await.unwrap();
    assert_eq!(count(&asked, "tokenreviews"), 2);

    let bad = Token::parse("bad").unwrap();
    for _ in 0..3 {
        assert_eq!(callers.caller(&bad, now).await.unwrap(), None);
    }
    assert_eq!(count(&asked, "tokenreviews"), 3, "a no is kept too");
}

#[tokio::test]
async fn made_up_tokens_fill_no_memory() {
    let sandbox = sandbox("gate-many").await;
    let (client, asked) = recorded(&sandbox.client);
    let callers = callers(client, &[]);
    let now = Instant::now();
    let token = |number: u64| Token::parse(&format!("made-up-{number}")).unwrap();
    let all = (0..1001).map(|number| {
        let (callers, token) = (&callers, token(number));
        async move { callers.caller(&token, now + Duration::from_millis(number)).await }
    });
    assert!(futures::future::join_all(all).await.iter().all(|answer| matches!(answer, Ok(None))));
    assert_eq!(count(&asked, "tokenreviews"), 1001);
    callers.caller(&token(1000), now + Duration::from_secs(2)).await.unwrap();
    assert_eq!(count(&asked, "tokenreviews"), 1001, "the youngest are kept");
    callers.caller(&token(0), now + Duration::from_secs(2)).await.unwrap();
    assert_eq!(count(&asked, "tokenreviews"), 1002, "the oldest had to go");
}

#[tokio::test]
async fn without_the_api_server_nobody_sees_anything() {
    LazyLock::force(&LOG);
    let router = closed(nowhere(), &["default"]);
    let (header, cookie) =
        (("authorization", "Bearer some.secret-token"), ("cookie", "okr-operator-token=some.secret-token"));
    let page = ask(&router, "/", &[PAGE, cookie]).await;
    assert_eq!((page.status, page.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "5"));
    assert!(page.text.contains("the API server could not be reached"), "{}", page.text);
    let json = ask(&router, "/api/v1/objectives", &[header]).await;
    assert_eq!((json.status, json.header("content-type")), (StatusCode::SERVICE_UNAVAILABLE, "application/json"));
    let login = submit(&router, "/login", &[("token", "some.secret-token")], &[]).await;
    assert_eq!((login.status, login.header("set-cookie")), (StatusCode::SERVICE_UNAVAILABLE, ""));
    for answer in [page, json, login] {
        assert!(!answer.text.contains("secret-token"), "{}", answer.text);
    }
    let text = LOG.text();
    assert!(text.contains("a token of the dashboard could not be reviewed"), "{text}");
    assert!(!text.contains("secret-token"), "{text}");
}

#[rstest]
#[case("tokenreviews", StatusCode::FORBIDDEN, "the operator may not create tokenreviews")]
#[case("subjectaccessreviews", StatusCode::FORBIDDEN, "needs the ClusterRole system:auth-delegator")]
#[case("subjectaccessreviews", StatusCode::INTERNAL_SERVER_ERROR, "refused to create subjectaccessreviews with 500")]
#[tokio::test]
async fn a_question_that_fails_is_no_yes(#[case] kind: &'static str, #[case] code: StatusCode, #[case] words: &str) {
    LazyLock::force(&LOG);
    let sandbox = sandbox("gate-fails").await;
    let person = Person::new(&sandbox).await;
    sandbox.allow_everywhere(&person.user, listing(&KINDS)).await;
    let client = sandbox.client.clone();
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        let client = client.clone();
        async move { if request.uri().path().ends_with(kind) { Ok(failure(code)) } else { client.send(request).await } }
    });
    let router = closed(Client::new(service, "default"), &[&sandbox.namespace]);
    let answer = ask(&router, "/", &[PAGE, ("cookie", &person.cookie())]).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.text.contains(words), "{}", answer.text);
    assert!(!answer.text.contains(&person.token) && !LOG.text().contains(&person.token));
}

#[tokio::test]
async fn a_failure_is_asked_about_again_after_a_second() {
    let (client, asked) = recorded(&nowhere());
    let callers = callers(client, &[]);
    let (token, now) = (Token::parse("some").unwrap(), Instant::now());
    for (after_ms, want) in [(0, 1), (999, 1), (1000, 2)] {
        assert!(callers.caller(&token, now + Duration::from_millis(after_ms)).await.is_err());
        assert_eq!(count(&asked, "tokenreviews"), want, "after {after_ms} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_events_ends_with_what_was_asked_about_its_reader() {
    let service = tower::service_fn(|request: Request<kube::client::Body>| async move {
        let status = match request.uri().path().rsplit('/').next().unwrap() {
            "tokenreviews" => json!({"authenticated": true, "user": {"username": "somebody"}}),
            _ => json!({"allowed": true}),
        };
        let review = json!({"metadata": {}, "spec": {}, "status": status});
        Ok::<_, Infallible>(Response::new(kube::client::Body::from(review.to_string().into_bytes())))
    });
    let events = || async {
        let first = stream::iter([Ok::<_, Infallible>("data: first\n\n")]);
        ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(first.chain(stream::pending())))
    };
    let access = Access::Token(callers(Client::new(service, "default"), &[]));
    let router = gate(access).guard(Router::new().route("/events", get(events)));
    let began = tokio::time::Instant::now();
    let answer = ask(&router, "/events", &[("authorization", "Bearer some")]).await;
    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, "data: first\n\n"));
    assert_eq!(began.elapsed().as_secs(), KEPT.as_secs());
}

#[tokio::test]
async fn badges_are_public_only_where_that_is_said() {
    let closed = |public_badges| {
        Gate { hosts: Vec::new(), public_badges, listed: listed(), access: Access::Token(callers(nowhere(), &[])) }
            .guard(routes())
    };
    assert_eq!(ask(&closed(false), "/badges/a.svg", &[]).await.status, StatusCode::UNAUTHORIZED);
    let badge = ask(&closed(true), "/badges/a.svg", &[]).await;
    assert_eq!((badge.status, badge.text.as_str()), (StatusCode::OK, "All"));
    for path in ["/", "/badges", "/badges/../api/v1/objectives", "/badges/%2e%2e/", "/badges//"] {
        assert_ne!(ask(&closed(true), path, &[]).await.status, StatusCode::OK, "{path}");
    }
    let elsewhere = ask(&closed(true), "/badges/a.svg", &[("host", "evil.example")]).await;
    assert_eq!(elsewhere.status, StatusCode::MISDIRECTED_REQUEST);
}

/// All that exists is known.
fn listed() -> CancellationToken {
    let listed = CancellationToken::new();
    listed.cancel();
    listed
}

#[tokio::test]
async fn before_all_is_listed_nobody_is_told_what_they_may_see() {
    let sandbox = sandbox("gate-unlisted").await;
    let token = sandbox.token("reader").await;
    let access = Access::Token(Callers::new(sandbox.client.clone(), Box::new(Default::default)));
    let gate = Gate { hosts: Vec::new(), public_badges: false, listed: CancellationToken::new(), access };
    let router = gate.guard(Router::new().route("/", get(|| async { "seen" })));
    let request = Request::get("/").header("host", "localhost").header("authorization", format!("Bearer {token}"));
    let answer = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(
        (answer.status(), answer.headers()["retry-after"].to_str().unwrap()),
        (StatusCode::SERVICE_UNAVAILABLE, "1")
    );
}
