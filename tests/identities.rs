//! Every identity against a Google that checks what it is sent, and a BigQuery that accepts its tokens alone.
//!
//! `OKR_RSA_KEY` is the path of an RSA key in PKCS #8 PEM form.

mod support;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures::future::join_all;
use okr_operator::bigquery::{
    Client, Credentials, Destination, Endpoint, Error, ErrorKind, ExternalAccount, ExternalAccountError,
    IMPERSONATION_DENIED, Query, SCOPE, SCOPE_DRIVE, ServiceAccountKey, TokenSource, http_client,
};
use serde_json::{Value, json};
use support::{
    bigquery_stub::Stub,
    fake_google::{
        Call, FEDERATED_ACCOUNT, FakeGoogle, KEY_ACCOUNT, MACHINE_ACCOUNT, Mode, READER_ACCOUNT, SUBJECT_TOKEN,
    },
    log::Log,
};
use tokio_util::sync::CancellationToken;

const CLOUD_PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Identity {
    Key,
    Machine,
    External,
    /// With an impersonation URL of its own.
    ExternalAs,
}

use Identity::*;

const ALL: [Identity; 4] = [Key, Machine, External, ExternalAs];

impl Identity {
    fn call(self) -> Call {
        match self {
            Key => Call::Token,
            Machine => Call::MetadataToken,
            External | ExternalAs => Call::Sts,
        }
    }

    /// How the tokens that reach BigQuery begin.
    fn tokens(self) -> &'static str {
        match self {
            Key => "ya29.key-",
            Machine => "ya29.metadata-",
            External => "ya29.sts-",
            ExternalAs => "ya29.iam-",
        }
    }

    /// How many calls one token takes.
    fn calls(self) -> usize {
        if self == ExternalAs { 2 } else { 1 }
    }
}

/// Of this test alone; gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("okr-identities-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = Self(std::env::temp_dir().join(name));
        fs::create_dir(&folder.0).unwrap();
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct World {
    google: FakeGoogle,
    bigquery: Stub,
    folder: Folder,
}

impl World {
    async fn start() -> Self {
        let path = std::env::var("OKR_RSA_KEY").expect("OKR_RSA_KEY is the path of an RSA key in PEM form");
        let google = FakeGoogle::start(&fs::read_to_string(path).unwrap()).await;
        let folder = Folder::new();
        folder.write("token", SUBJECT_TOKEN);
        Self { google, bigquery: Stub::start().await, folder }
    }

    fn credentials(&self, identity: Identity) -> Credentials {
        match identity {
            Key => {
                let key = ServiceAccountKey::parse(&self.google.key_file(), &[self.google.host()]).unwrap();
                Credentials::ServiceAccountKey(key)
            }
            Machine => Credentials::WorkloadIdentity,
            External => self.external(&self.google.external_account(&self.folder.path("token"))),
            ExternalAs => {
                let mut config = self.google.external_account(&self.folder.path("token"));
                config["service_account_impersonation_url"] = json!(self.google.impersonation_url(FEDERATED_ACCOUNT));
                self.external(&config)
            }
        }
    }

    fn parse(&self, config: &Value) -> Result<ExternalAccount, ExternalAccountError> {
        ExternalAccount::parse(config.to_string().as_bytes(), &self.folder.0, &[self.google.host()])
    }

    fn external(&self, config: &Value) -> Credentials {
        Credentials::ExternalAccount(self.parse(config).unwrap())
    }

    fn source(&self, credentials: Credentials) -> TokenSource {
        TokenSource::new(credentials, vec![SCOPE.to_owned(), SCOPE_DRIVE.to_owned()])
            .with_endpoints(self.google.endpoints())
            .with_time_limit(Duration::from_secs(5))
    }

    fn tokens(&self, identity: Identity) -> TokenSource {
        self.bigquery.require_token(identity.tokens());
        self.source(self.credentials(identity))
    }

    fn tokens_as_reader(&self, identity: Identity) -> TokenSource {
        let tokens = self.tokens(identity).impersonating(READER_ACCOUNT).unwrap();
        self.bigquery.require_token("ya29.iam-");
        tokens
    }

    fn client(&self, tokens: TokenSource) -> Client {
        self.client_of(&Arc::new(tokens))
    }

    fn client_of(&self, tokens: &Arc<TokenSource>) -> Client {
        let destination = Destination {
            endpoint: Endpoint::parse(&self.bigquery.endpoint()).unwrap(),
            project_id: "demo".to_owned(),
            billing_project_id: "demo".to_owned(),
            location: None,
            default_dataset: None,
        };
        Client::new(destination, tokens.clone(), http_client().unwrap())
    }

    /// What comes of a call, with one kind of answer from one of Google's services.
    async fn outcome(&self, tokens: TokenSource, call: Call, mode: Mode) -> Error {
        self.google.on(call, mode);
        let error = self.client(tokens).check().await.unwrap_err();
        self.google.on(call, Mode::Issue);
        error
    }

    fn scopes_of(&self, call: Call) -> Vec<Vec<String>> {
        let calls = self.google.calls().into_iter();
        calls.filter(|recorded| recorded.call == call).map(|recorded| recorded.scopes).collect()
    }
}

async fn run(client: &Client) -> Result<String, Error> {
    let query = Query {
        sql: "SELECT 1",
        parameters: Vec::new(),
        labels: BTreeMap::new(),
        maximum_bytes_billed: 1,
        timeout: Duration::from_secs(10),
    };
    client.run(&query, &CancellationToken::new()).await.map(|answer| answer.value)
}

#[track_caller]
fn check_refused(error: &Error, code: &str) {
    assert_eq!((error.kind, error.detail.as_deref()), (ErrorKind::CredentialsRefused, Some(code)));
}

#[track_caller]
fn check_unavailable(error: &Error, what: &str) {
    assert_eq!((error.kind, error.detail.as_deref()), (ErrorKind::Unavailable, Some(what)));
}

mod tokens {
    use super::*;

    async fn check(identity: Identity, principal: Option<&str>) {
        let world = World::start().await;
        let tokens = Arc::new(world.tokens(identity));
        let client = world.client_of(&tokens);
        assert_eq!(run(&client).await.unwrap(), "1");
        client.check().await.unwrap();
        assert_eq!(tokens.principal(), principal);
        assert_eq!(world.google.complaints(), [""; 0]);
        assert_eq!(world.google.token_requests(), identity.calls(), "a token is kept");
    }

    #[tokio::test]
    async fn a_keys_assertion_gets_a_token_that_bigquery_accepts() {
        check(Key, Some(KEY_ACCOUNT)).await;
    }

    #[tokio::test]
    async fn the_metadata_server_gives_a_token_that_bigquery_accepts_and_says_whose() {
        check(Machine, Some(MACHINE_ACCOUNT)).await;
    }

    #[tokio::test]
    async fn a_subject_token_gets_a_token_that_bigquery_accepts() {
        check(External, None).await;
    }

    #[tokio::test]
    async fn a_subject_token_gets_another_accounts_token_where_its_configuration_says_so() {
        check(ExternalAs, Some(FEDERATED_ACCOUNT)).await;
    }

    #[tokio::test]
    async fn every_identity_may_act_as_another_account() {
        for identity in ALL {
            let world = World::start().await;
            let tokens = Arc::new(world.tokens_as_reader(identity));
            assert_eq!(tokens.principal(), Some(READER_ACCOUNT));
            let client = world.client_of(&tokens);
            assert_eq!(run(&client).await.unwrap(), "1", "{identity:?}");
            client.check().await.unwrap();
            assert_eq!(world.google.complaints(), [""; 0], "{identity:?}");
            assert_eq!(world.google.token_requests(), identity.calls() + 1, "{identity:?}");
        }
    }

    #[tokio::test]
    async fn the_token_has_the_connections_scopes_and_what_leads_to_it_cloud_platform() {
        let wanted = [vec![SCOPE.to_owned(), SCOPE_DRIVE.to_owned()]];
        let leading = [vec![CLOUD_PLATFORM.to_owned()]];
        for identity in ALL {
            let world = World::start().await;
            run(&world.client(world.tokens(identity))).await.unwrap();
            let last = if identity == ExternalAs { Call::GenerateAccessToken } else { identity.call() };
            assert_eq!(world.scopes_of(last), wanted, "{identity:?}");
            let world = World::start().await;
            run(&world.client(world.tokens_as_reader(identity))).await.unwrap();
            assert_eq!(world.scopes_of(identity.call()), leading, "{identity:?}");
            assert_eq!(world.scopes_of(Call::GenerateAccessToken).last(), wanted.last(), "{identity:?}");
        }
    }

    #[tokio::test]
    async fn ten_first_calls_at_once_make_one_token_request() {
        for identity in ALL {
            let world = World::start().await;
            let client = world.client(world.tokens(identity));
            let outcomes = join_all((0..10).map(|_| run(&client))).await;
            assert!(outcomes.iter().all(Result::is_ok), "{identity:?}: {outcomes:?}");
            assert_eq!(world.google.token_requests(), identity.calls(), "{identity:?}");
            let world = World::start().await;
            let client = world.client(world.tokens_as_reader(identity));
            let outcomes = join_all((0..10).map(|_| run(&client))).await;
            assert!(outcomes.iter().all(Result::is_ok), "{identity:?}: {outcomes:?}");
            assert_eq!(world.google.token_requests(), identity.calls() + 1, "{identity:?}");
        }
    }

    #[tokio::test]
    async fn a_401_in_the_middle_costs_one_token_request_and_one_repeated_query() {
        for identity in [Key, Machine, External] {
            let world = World::start().await;
            let client = world.client(world.tokens(identity));
            client.check().await.unwrap();
            world.bigquery.require_token(&format!("{}2", identity.tokens()));
            run(&client).await.unwrap();
            assert_eq!(world.google.token_requests(), 2, "{identity:?}");
            assert_eq!(world.bigquery.count("jobs.query"), 2, "{identity:?}");
        }
    }

    #[tokio::test]
    async fn a_401_under_impersonation_costs_one_token_request_too() {
        for identity in ALL {
            let world = World::start().await;
            let client = world.client(world.tokens_as_reader(identity));
            client.check().await.unwrap();
            let (so_far, tokens) = (world.google.token_requests(), world.google.count(Call::GenerateAccessToken));
            world.bigquery.require_token(&format!("ya29.iam-{}", tokens + 1));
            run(&client).await.unwrap();
            assert_eq!(world.google.token_requests(), so_far + 1, "{identity:?}");
            assert_eq!(world.bigquery.count("jobs.query"), 2, "{identity:?}");
        }
    }

    #[tokio::test]
    async fn a_revoked_own_token_is_replaced_before_the_next_impersonation() {
        let world = World::start().await;
        let client = world.client(world.tokens_as_reader(Machine));
        client.check().await.unwrap();
        world.google.revoke("ya29.metadata-1");
        world.bigquery.require_token("ya29.iam-2");
        run(&client).await.unwrap();
        assert_eq!((world.google.count(Call::MetadataToken), world.google.count(Call::GenerateAccessToken)), (2, 3));
    }

    #[tokio::test]
    async fn a_token_near_its_end_is_replaced() {
        for (identity, call) in [
            (Key, Call::Token),
            (Machine, Call::MetadataToken),
            (External, Call::Sts),
            (ExternalAs, Call::GenerateAccessToken),
        ] {
            let world = World::start().await;
            world.google.on(call, Mode::IssueFor(59));
            let client = world.client(world.tokens(identity));
            client.check().await.unwrap();
            let so_far = world.google.count(call);
            client.check().await.unwrap();
            assert_eq!(world.google.count(call), so_far + 1, "{identity:?}");
        }
    }

    #[tokio::test]
    async fn without_credentials_there_is_nobody_to_act_as_another() {
        let world = World::start().await;
        let tokens = world.source(Credentials::None).impersonating(READER_ACCOUNT).unwrap();
        assert_eq!(tokens.principal(), None);
        run(&world.client(tokens)).await.unwrap();
        assert_eq!(world.google.token_requests(), 0);
    }

    #[tokio::test]
    async fn an_email_that_is_not_told_holds_up_no_token() {
        for mode in [Mode::Hang, Mode::Refuse, Mode::Unmarked, Mode::Raw(200, "not an address")] {
            let world = World::start().await;
            world.google.on(Call::MetadataEmail, mode);
            let tokens = Arc::new(world.tokens(Machine));
            run(&world.client_of(&tokens)).await.unwrap();
            assert_eq!(tokens.principal(), None);
        }
    }
}

mod failures {
    use super::*;

    const BY_TOKEN_ENDPOINT: &str = "the token endpoint";
    const BY_METADATA: &str = "the metadata server";
    const BY_IAM: &str = "the IAM Credentials API";

    /// Every way to a token, with the service that is tried last and its name.
    fn ways(world: &World) -> [(TokenSource, Call, &'static str); 5] {
        [
            (world.tokens(Key), Call::Token, BY_TOKEN_ENDPOINT),
            (world.tokens(Machine), Call::MetadataToken, BY_METADATA),
            (world.tokens(External), Call::Sts, BY_TOKEN_ENDPOINT),
            (world.tokens(ExternalAs), Call::GenerateAccessToken, BY_IAM),
            (world.tokens_as_reader(Machine), Call::GenerateAccessToken, BY_IAM),
        ]
    }

    #[tokio::test]
    async fn a_refusal_is_told_by_a_code_and_does_not_stick() {
        for (number, code) in
            ["invalid_grant", "metadata_server_refused", "invalid_target", IMPERSONATION_DENIED, IMPERSONATION_DENIED]
                .into_iter()
                .enumerate()
        {
            let world = World::start().await;
            let (tokens, call, _) = ways(&world).into_iter().nth(number).unwrap();
            world.bigquery.require_token("ya29.");
            let client = world.client(tokens);
            world.google.on(call, Mode::Refuse);
            check_refused(&client.check().await.unwrap_err(), code);
            assert_eq!(world.bigquery.count("jobs.insert"), 0);
            world.google.on(call, Mode::Issue);
            client.check().await.unwrap();
        }
    }

    #[tokio::test]
    async fn what_is_no_token_is_unavailable_and_does_not_stick() {
        let answers = [
            (500, ""),
            (500, r#"{"error": {"code": 500, "message": "secret words", "status": "INTERNAL"}}"#),
            (503, "<html>secret words"),
            (200, "{}"),
            (200, "[]"),
            (200, "secret words"),
            (
                200,
                r#"{"access_token": "", "accessToken": "", "expires_in": 9, "expireTime": "2100-01-01T00:00:00Z", "token_type": "Bearer"}"#,
            ),
            (
                200,
                r#"{"access_token": "a\nb", "accessToken": "a\nb", "expires_in": 9, "expireTime": "2100-01-01T00:00:00Z", "token_type": "Bearer"}"#,
            ),
            (
                200,
                r#"{"access_token": "t", "accessToken": "t", "expires_in": 9223372036854775807, "expireTime": "soon", "token_type": "Bearer"}"#,
            ),
        ];
        let world = World::start().await;
        for (tokens, call, name) in ways(&world) {
            world.bigquery.require_token("ya29.");
            let client = world.client(tokens);
            for (status, body) in answers {
                world.google.on(call, Mode::Raw(status, body));
                let error = client.check().await.unwrap_err();
                assert_eq!(error.kind, ErrorKind::Unavailable, "{call:?} {status} {body}");
                assert!(error.detail.as_deref().unwrap().starts_with(name), "{call:?} {body}: {error:?}");
            }
            world.google.on(call, Mode::Issue);
            client.check().await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_500_with_a_token_in_it_gives_none() {
        let body = r#"{"access_token": "t", "accessToken": "t", "expires_in": 3600, "expireTime": "2100-01-01T00:00:00Z", "token_type": "Bearer"}"#;
        let world = World::start().await;
        // yup-oauth2, which asks with keys, does not look at the status.
        for (tokens, call, _) in ways(&world).into_iter().skip(1) {
            let error = world.outcome(tokens, call, Mode::Raw(500, body)).await;
            assert_eq!(error.kind, ErrorKind::Unavailable, "{call:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_beyond_1_mib_is_not_read_to_its_end() {
        let body: &'static str = Box::leak(" ".repeat(2 * 1024 * 1024).into_boxed_str());
        let world = World::start().await;
        for (tokens, call, name) in ways(&world).into_iter().skip(1) {
            let error = world.outcome(tokens, call, Mode::Raw(200, body)).await;
            check_unavailable(&error, &format!("{name}'s answer is not a token"));
        }
    }

    #[tokio::test]
    async fn a_silent_service_is_given_up_in_time_by_all_who_wait() {
        let world = World::start().await;
        for (tokens, call, name) in ways(&world) {
            let client = world.client(tokens.with_time_limit(Duration::from_secs(1)));
            world.google.on(call, Mode::Hang);
            let (started, so_far) = (Instant::now(), world.google.count(call));
            let outcomes = join_all((0..10).map(|_| client.check())).await;
            assert!(started.elapsed() < Duration::from_secs(4), "{call:?} {:?}", started.elapsed());
            for outcome in outcomes {
                check_unavailable(&outcome.unwrap_err(), &format!("{name} did not answer in time"));
            }
            assert_eq!(world.google.count(call), so_far + 1, "{call:?}");
            world.google.on(call, Mode::Issue);
        }
    }

    #[tokio::test]
    async fn a_service_that_is_not_there_is_unavailable() {
        let world = World::start().await;
        let ways = ways(&world);
        let World { google, bigquery, folder } = world;
        drop(google);
        // The server's task ends at its next turn.
        tokio::task::yield_now().await;
        let world = World { google: World::start().await.google, bigquery, folder };
        for (tokens, call, _) in ways {
            let error = world.client(tokens).check().await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unavailable, "{call:?}");
            assert!(error.detail.as_deref().unwrap().ends_with("could not be reached"), "{call:?}: {error:?}");
        }
    }

    #[tokio::test]
    async fn an_account_that_does_not_exist_and_a_disabled_api_are_told_apart_from_a_missing_role() {
        let world = World::start().await;
        let nobody = world.tokens(Machine).impersonating("nobody@demo.iam.gserviceaccount.com").unwrap();
        check_refused(&world.client(nobody).check().await.unwrap_err(), "service_account_not_found");
        let disabled = r#"{"error": {"code": 403, "details": [{"reason": "SERVICE_DISABLED"}]}}"#;
        let tokens = world.tokens_as_reader(Machine);
        let error = world.outcome(tokens, Call::GenerateAccessToken, Mode::Raw(403, disabled)).await;
        check_refused(&error, "iam_credentials_api_disabled");
        let tokens = world.tokens_as_reader(Machine);
        let error = world.outcome(tokens, Call::GenerateAccessToken, Mode::Raw(403, "<html>a proxy")).await;
        assert_eq!(error.kind, ErrorKind::Unavailable);
    }

    #[tokio::test]
    async fn a_machine_without_an_account_is_refused() {
        let world = World::start().await;
        let error = world.outcome(world.tokens(Machine), Call::MetadataToken, Mode::Raw(404, "")).await;
        check_refused(&error, "no_default_service_account");
    }

    #[tokio::test]
    async fn a_subject_token_that_google_does_not_know_is_refused() {
        let world = World::start().await;
        let client = world.client(world.tokens(External));
        world.folder.write("token", "another");
        check_refused(&client.check().await.unwrap_err(), "invalid_target");
        world.folder.write("token", &format!("{SUBJECT_TOKEN}\n"));
        client.check().await.unwrap();
    }

    #[tokio::test]
    async fn a_subject_token_missing_for_a_while_is_unavailable_and_read_again() {
        let world = World::start().await;
        let client = world.client(world.tokens(External));
        fs::remove_file(world.folder.path("token")).unwrap();
        check_unavailable(&client.check().await.unwrap_err(), "the subject token's file cannot be read");
        world.folder.write("token", "");
        check_unavailable(&client.check().await.unwrap_err(), "the subject token's file holds no token");
        world.folder.write("token", &"a".repeat(64 * 1024 + 1));
        check_unavailable(&client.check().await.unwrap_err(), "the subject token's file is larger than 64 KiB");
        assert_eq!(world.google.token_requests(), 0);
        world.folder.write("token", SUBJECT_TOKEN);
        client.check().await.unwrap();
    }
}

mod files {
    use super::*;

    #[tokio::test]
    async fn a_subject_token_may_be_a_member_of_a_json_file() {
        let world = World::start().await;
        let file = world.folder.write("json", &json!({"id_token": SUBJECT_TOKEN}).to_string());
        let mut config = world.google.external_account(&file);
        config["credential_source"]["format"] = json!({"type": "json", "subject_token_field_name": "id_token"});
        run(&world.client(world.source(world.external(&config)))).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_may_be_named_from_its_folder_on_and_have_no_format() {
        let world = World::start().await;
        let mut config = world.google.external_account(Path::new("token"));
        config["credential_source"].as_object_mut().unwrap().remove("format");
        run(&world.client(world.source(world.external(&config)))).await.unwrap();
    }

    /// Kubernetes swaps the folder behind `..data` for a new one.
    #[tokio::test]
    async fn a_token_that_kubernetes_projects_is_read_anew_after_its_rotation() {
        let world = World::start().await;
        let at = |name: &str| world.folder.path(name);
        for (version, token) in [("..1", SUBJECT_TOKEN), ("..2", "rotated")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("projected"), token).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/projected", at("projected")).unwrap();
        let client = world.client(world.source(world.external(&world.google.external_account(&at("projected")))));
        client.check().await.unwrap();
        symlink("..2", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        world.bigquery.require_token("ya29.sts-2");
        check_refused(&client.check().await.unwrap_err(), "invalid_target");
    }
}

mod attacks {
    use super::*;

    async fn check_config(changes: Value, want: ExternalAccountError) {
        let world = World::start().await;
        let mut config = world.google.external_account(&world.folder.path("token"));
        config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let error = world.parse(&config).unwrap_err();
        assert_eq!(error, want, "{changes}");
        assert!(!format!("{error} {error:?}").contains("evil"), "nothing of the configuration is quoted");
    }

    #[tokio::test]
    async fn a_token_url_at_a_foreign_host_or_with_plain_http_is_refused() {
        for url in [
            "https://evil.example/v1/token",
            "https://sts.googleapis.com.evil.example/v1/token",
            "https://sts.googleapis.com@evil.example/v1/token",
            "https://iamcredentials.googleapis.com/v1/token",
            "http://sts.googleapis.com/v1/token",
            "http://169.254.169.254/computeMetadata/v1/",
            "http://metadata.google.internal/computeMetadata/v1/",
            "file:///etc/passwd",
            "evil",
        ] {
            check_config(json!({"token_url": url}), ExternalAccountError::TokenUrl).await;
        }
    }

    #[tokio::test]
    async fn an_impersonation_url_at_a_foreign_host_or_with_plain_http_is_refused() {
        let path = format!("/v1/projects/-/serviceAccounts/{READER_ACCOUNT}:generateAccessToken");
        for base in [
            "https://evil.example",
            "https://iamcredentials.googleapis.com.evil.example",
            "https://iamcredentials.googleapis.com:8443",
            "https://iamcredentials.googleapis.com@evil.example",
            "https://sts.googleapis.com",
            "http://iamcredentials.googleapis.com",
            "http://169.254.169.254",
        ] {
            let url = json!({"service_account_impersonation_url": format!("{base}{path}")});
            check_config(url, ExternalAccountError::ImpersonationUrl).await;
        }
    }

    #[tokio::test]
    async fn every_source_but_a_file_is_refused() {
        for source in [
            json!({"url": "http://169.254.169.254/evil", "headers": {"Metadata-Flavor": "Google"}}),
            json!({"executable": {"command": "/bin/evil"}}),
            json!({"environment_id": "aws1", "regional_cred_verification_url": "https://evil.example"}),
            json!({"certificate": {"use_default_certificate_config": true}}),
            json!({"file": "token", "url": "http://evil.example"}),
            json!({"file": "token", "executable": {"command": "/bin/evil"}}),
            json!({"file": "token", "environment_id": "aws1"}),
            json!({"file": "token", "certificate": {}}),
            json!({"file": ""}),
            json!({"file": ["token"]}),
            json!({}),
            json!("token"),
            Value::Null,
        ] {
            check_config(json!({"credential_source": source}), ExternalAccountError::Source).await;
        }
        for format in [json!({"type": "xml"}), json!({"type": "json"}), json!("text"), json!({})] {
            let source = json!({"file": "token", "format": format});
            check_config(json!({"credential_source": source}), ExternalAccountError::Format).await;
        }
    }

    #[tokio::test]
    async fn a_configuration_of_another_kind_is_refused() {
        check_config(json!({"type": "service_account"}), ExternalAccountError::NotExternalAccount).await;
        check_config(json!({"type": "external_account_authorized_user"}), ExternalAccountError::NotExternalAccount)
            .await;
        for name in ["audience", "subject_token_type", "token_url"] {
            check_config(json!({name: null}), ExternalAccountError::Missing(name)).await;
            check_config(json!({name: ""}), ExternalAccountError::Missing(name)).await;
            check_config(json!({name: ["evil"]}), ExternalAccountError::Missing(name)).await;
        }
        let world = World::start().await;
        for bytes in [&b"evil"[..], b"[]", b"", b"\xff"] {
            let parsed = ExternalAccount::parse(bytes, &world.folder.0, &[]);
            assert_eq!(parsed.unwrap_err(), ExternalAccountError::NotJson);
        }
    }

    /// Whether the other file exists or not: one answer.
    #[tokio::test]
    async fn a_file_outside_the_folder_is_refused() {
        let inside = World::start().await.folder.0.file_name().unwrap().to_owned();
        let inside = inside.to_str().unwrap();
        for file in [
            "/etc/passwd",
            "/etc/there-is-no-such-file",
            "../token",
            "a/../token",
            "/",
            "/proc/self/environ",
            &format!("../{inside}/token"),
            &format!("{}/../passwd", std::env::temp_dir().display()),
            &format!("{}-beside/token", std::env::temp_dir().join(inside).display()),
        ] {
            check_config(json!({"credential_source": {"file": file}}), ExternalAccountError::FileOutside).await;
        }
    }

    #[tokio::test]
    async fn a_folder_is_no_file_and_a_missing_folder_holds_none() {
        let world = World::start().await;
        fs::create_dir(world.folder.path("sub")).unwrap();
        for name in ["sub", "missing", "."] {
            let config = world.google.external_account(&world.folder.path(name));
            assert_eq!(world.parse(&config).unwrap_err(), ExternalAccountError::File, "{name}");
        }
        let config = world.google.external_account(Path::new("token")).to_string();
        let hosts = [world.google.host()];
        for folder in ["", "/there/is/no/such/folder"] {
            let parsed = ExternalAccount::parse(config.as_bytes(), Path::new(folder), &hosts);
            assert_eq!(parsed.unwrap_err(), ExternalAccountError::Folder, "{folder}");
        }
    }

    #[tokio::test]
    async fn a_symbolic_link_out_of_the_folder_is_refused() {
        let world = World::start().await;
        let elsewhere = Folder::new();
        symlink(elsewhere.write("token", SUBJECT_TOKEN), world.folder.path("link")).unwrap();
        symlink(&elsewhere.0, world.folder.path("folder")).unwrap();
        symlink(world.folder.path("link"), world.folder.path("twice")).unwrap();
        for name in ["link", "folder/token", "twice"] {
            let config = world.google.external_account(&world.folder.path(name));
            assert_eq!(world.parse(&config).unwrap_err(), ExternalAccountError::FileOutside, "{name}");
        }
    }

    #[tokio::test]
    async fn a_file_swapped_for_a_link_after_it_was_accepted_is_not_read() {
        let world = World::start().await;
        let client = world.client(world.tokens(External));
        let elsewhere = Folder::new();
        fs::remove_file(world.folder.path("token")).unwrap();
        symlink(elsewhere.write("token", SUBJECT_TOKEN), world.folder.path("token")).unwrap();
        check_refused(&client.check().await.unwrap_err(), "subject_token_file_outside_folder");
        assert_eq!(world.google.token_requests(), 0);
    }

    #[tokio::test]
    async fn a_server_in_the_metadata_servers_place_is_not_believed() {
        let world = World::start().await;
        let error = world.outcome(world.tokens(Machine), Call::MetadataToken, Mode::Unmarked).await;
        check_unavailable(&error, "what answers at the metadata server's address is another server");
        assert_eq!(world.bigquery.count("jobs.insert"), 0);
    }

    #[tokio::test]
    async fn a_redirect_is_followed_nowhere() {
        let world = World::start().await;
        for (tokens, call) in [
            (world.tokens(Key), Call::Token),
            (world.tokens(Machine), Call::MetadataToken),
            (world.tokens(External), Call::Sts),
            (world.tokens(ExternalAs), Call::GenerateAccessToken),
            (world.tokens_as_reader(Key), Call::GenerateAccessToken),
        ] {
            let error = world.outcome(tokens, call, Mode::Redirect).await;
            assert_eq!(error.kind, ErrorKind::Unavailable, "{call:?}");
        }
        assert_eq!(world.google.count(Call::Other), 0);
        assert_eq!(world.google.complaints(), [""; 0]);
    }

    #[tokio::test]
    async fn an_account_to_act_as_cannot_lead_to_another_call() {
        let world = World::start().await;
        for email in ["a@b:signBlob?", "../../a@b", "a@b/keys", "a@b#", "a@b%2F", "", "nobody"] {
            assert!(world.source(Credentials::WorkloadIdentity).impersonating(email).is_err(), "{email}");
        }
    }
}

mod fake_google {
    use super::*;

    async fn complaint(world: &World, request: reqwest::RequestBuilder) -> String {
        let so_far = world.google.complaints().len();
        let status = request.send().await.unwrap().status();
        assert!(status.is_client_error(), "{status}");
        let complaints = world.google.complaints();
        assert_eq!(complaints.len(), so_far + 1, "{complaints:?}");
        complaints.last().unwrap().clone()
    }

    /// Changes one part of an assertion as yup-oauth2 makes it.
    async fn assertion_with(world: &World, change: impl Fn(&mut Vec<String>)) -> String {
        let mut parts: Vec<String> = world.google.assertion().split('.').map(str::to_owned).collect();
        change(&mut parts);
        let form = [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", &parts.join("."))];
        complaint(world, http_client().unwrap().post(world.google.url("/token")).form(&form)).await
    }

    #[tokio::test]
    async fn it_finds_what_is_wrong_with_an_assertion() {
        let world = World::start().await;
        run(&world.client(world.tokens(Key))).await.unwrap();
        let other = |parts: &mut Vec<String>| parts[1] = URL_SAFE_NO_PAD.encode(r#"{"iss": "mallory"}"#);
        assert!(assertion_with(&world, other).await.ends_with("the signature is not the key's"));
        let unsigned = |parts: &mut Vec<String>| parts[0] = URL_SAFE_NO_PAD.encode(r#"{"alg": "none"}"#);
        assert!(assertion_with(&world, unsigned).await.contains("signed with"));
        assert!(assertion_with(&world, |parts| parts.truncate(1)).await.ends_with("not a JWT"));
    }

    #[tokio::test]
    async fn it_finds_what_is_wrong_with_the_other_calls() {
        let world = World::start().await;
        let http = http_client().unwrap();
        let metadata = world.google.url("/computeMetadata/v1/instance/service-accounts/default/token?scopes=a");
        assert!(complaint(&world, http.get(&metadata)).await.ends_with("no flavor"));
        let token: Value =
            http.get(&metadata).header("Metadata-Flavor", "Google").send().await.unwrap().json().await.unwrap();
        let generate = http
            .post(world.google.impersonation_url(READER_ACCOUNT))
            .bearer_auth(token["access_token"].as_str().unwrap())
            .json(&json!({"scope": [SCOPE], "lifetime": "3600s"}));
        assert!(complaint(&world, generate).await.contains("a bearer for [\"a\"]"));
        let exchange = http.post(world.google.url("/v1/token")).form(&[("grant_type", "password")]);
        assert!(complaint(&world, exchange).await.contains("grant_type is not"));
        let nobodys = http.post(world.google.impersonation_url(READER_ACCOUNT)).bearer_auth("ya29.iam-9");
        assert_eq!(nobodys.send().await.unwrap().status(), 401);
    }
}

/// The log is the whole process': what other tests make of it meanwhile has to be as clean.
#[tokio::test]
async fn no_token_assertion_or_subject_token_is_in_debug_errors_or_logs() {
    let log = Log::of_everything();
    for identity in ALL {
        let world = World::start().await;
        let tokens = Arc::new(world.tokens_as_reader(identity));
        let client = world.client_of(&tokens);
        client.check().await.unwrap();
        for call in [Call::GenerateAccessToken, identity.call()] {
            for mode in [Mode::Refuse, Mode::Redirect, Mode::Raw(200, "secret words"), Mode::Raw(500, "secret words")] {
                world.google.on(call, mode);
                // Neither the kept token nor the account's own is any good.
                world.bigquery.require_token("ya29.none");
                world.google.revoke("ya29.");
                let error = client.check().await.unwrap_err();
                tracing::error!(?client, ?tokens, ?error, %error, "what a careless line would print");
                tracing::error!(credentials = ?world.credentials(identity), detail = error.detail, "and another");
            }
            world.google.on(call, Mode::Issue);
        }
    }
    let text = log.text();
    assert!(text.contains("TRACE"), "the level is as low as it gets");
    assert!(text.contains(READER_ACCOUNT) && text.contains("credential"), "the careless lines are there");
    // "eyJ" begins every assertion: `{"` in base64.
    for secret in ["ya29.", "eyJ", "assertion", "PRIVATE KEY", SUBJECT_TOKEN, "secret words"] {
        let at = text.find(secret).map(|at| text[..at].lines().count());
        assert_eq!(at, None, "{secret} is in line {at:?} of the log");
    }
}
