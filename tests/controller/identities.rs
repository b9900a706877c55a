//! Identities of connections: who may use the operator's own, and what a refusal says.

use std::path::PathBuf;

use okr_operator::api::{BigQueryConnection, OkrKeyResult};
use serde_json::{Value, json};

use crate::{
    reach, rsa_key,
    support::{
        bigquery_stub::{Reply, Stub},
        cluster::{Operator, Sandbox, sandbox},
        fake_google::{Call, FakeGoogle, MACHINE_ACCOUNT, Mode, READER_ACCOUNT, SUBJECT_TOKEN},
    },
};

/// A namespace, a Google that checks what it is sent, and a BigQuery that takes only its tokens.
struct World {
    sandbox: Sandbox,
    google: FakeGoogle,
    bigquery: Stub,
    folder: PathBuf,
}

impl World {
    async fn begin() -> Self {
        let (sandbox, google, bigquery) =
            (sandbox("identity").await, FakeGoogle::start(&rsa_key()).await, Stub::start().await);
        bigquery.require_token("ya29.");
        bigquery.otherwise(Reply::number("INT64", "47"));
        let folder = std::env::temp_dir().join(&sandbox.namespace);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("token"), SUBJECT_TOKEN).unwrap();
        Self { sandbox, google, bigquery, folder }
    }

    fn operator(&self, ambient_identity_namespaces: Vec<String>) -> Operator {
        self.sandbox.operator_with(|settings| {
            settings.google = self.google.endpoints();
            settings.external_account_folder = Some(self.folder.clone());
            settings.ambient_identity_namespaces = ambient_identity_namespaces;
        })
    }

    async fn connect(&self, name: &str, credentials: Value, impersonate: Option<&str>) {
        let mut spec = json!({
            "projectId": "demo", "endpoint": self.bigquery.endpoint(), "credentials": credentials,
        });
        if let Some(account) = impersonate {
            spec["impersonate"] = json!({"serviceAccount": account});
        }
        self.sandbox.apply::<BigQueryConnection>(name, spec).await;
    }

    async fn put_configuration(&self) {
        let configuration = self.google.external_account(&self.folder.join("token"));
        let bytes = serde_json::to_vec(&configuration).unwrap();
        self.sandbox.put_secret("federation", "config.json", &bytes).await;
    }

    async fn principal(&self, name: &str) -> Option<String> {
        self.sandbox.api::<BigQueryConnection>().get(name).await.unwrap().status.unwrap().principal
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn federation() -> Value {
    json!({"externalAccount": {"secretRef": {"name": "federation", "key": "config.json"}}})
}

#[tokio::test]
async fn the_operators_own_identity_is_refused_in_a_namespace_that_is_not_listed() {
    let world = World::begin().await;
    world.put_configuration().await;
    world.connect("machine", json!({"workloadIdentity": {}}), None).await;
    world.connect("federated", federation(), None).await;
    let _operator = world.operator(vec!["somebody-else".to_owned()]);
    for name in ["machine", "federated"] {
        let ready = world.sandbox.await_connection(name, "AmbientIdentityNotAllowed").await;
        assert_eq!(ready.status, "False");
        assert!(ready.message.contains("--ambient-identity-namespaces"), "{}", ready.message);
    }
    assert_eq!(world.google.calls().len(), 0, "nobody was asked for a token");
}

#[tokio::test]
async fn each_identity_connects_where_it_is_allowed_and_says_who_it_is() {
    let world = World::begin().await;
    world.put_configuration().await;
    world.connect("machine", json!({"workloadIdentity": {}}), None).await;
    world.connect("federated", federation(), None).await;
    world.connect("acting", json!({"workloadIdentity": {}}), Some(READER_ACCOUNT)).await;
    let mut spec = reach("SELECT 47");
    spec["bigQuery"]["connectionRef"] = json!({"name": "acting"});
    world.sandbox.apply::<OkrKeyResult>("kr", spec).await;
    let _operator = world.operator(vec![world.sandbox.namespace.clone()]);
    for name in ["machine", "federated", "acting"] {
        world.sandbox.await_connection(name, "Connected").await;
    }
    assert_eq!(world.principal("machine").await.as_deref(), Some(MACHINE_ACCOUNT));
    assert_eq!(world.principal("acting").await.as_deref(), Some(READER_ACCOUNT));
    world.sandbox.await_reason("kr", "Synced").await;
    assert!(world.google.complaints().is_empty(), "{:?}", world.google.complaints());
}

#[tokio::test]
async fn an_account_that_may_not_be_acted_as_is_said_with_the_role_that_is_missing() {
    let world = World::begin().await;
    world.google.on(Call::GenerateAccessToken, Mode::Refuse);
    world.connect("acting", json!({"workloadIdentity": {}}), Some(READER_ACCOUNT)).await;
    let _operator = world.operator(vec![world.sandbox.namespace.clone()]);
    let ready = world.sandbox.await_connection("acting", "CredentialsRefused").await;
    for words in [READER_ACCOUNT, "roles/iam.serviceAccountTokenCreator", "gcloud iam service-accounts"] {
        assert!(ready.message.contains(words), "{}", ready.message);
    }
}

#[tokio::test]
async fn credentials_go_neither_over_plain_http_nor_to_the_metadata_server() {
    let world = World::begin().await;
    world.sandbox.put_secret("google", "key.json", &world.google.key_file()).await;
    let credentials = json!({"serviceAccountKey": {"secretRef": {"name": "google", "key": "key.json"}}});
    let connect = async |name: &str, endpoint: &str| {
        let spec = json!({"projectId": "demo", "endpoint": endpoint, "credentials": credentials});
        world.sandbox.apply::<BigQueryConnection>(name, spec).await;
    };
    connect("plain", "http://bigquery.example.com").await;
    connect("metadata", "https://169.254.169.254").await;
    connect("number", "https://2852039166").await;
    let _operator = world.sandbox.operator_with(|settings| {
        settings.allowed_endpoints = ["bigquery.example.com", "169.254.169.254"].map(str::to_owned).to_vec();
    });
    for (name, words) in [("plain", "plain http"), ("metadata", "link-local"), ("number", "link-local")] {
        let ready = world.sandbox.await_connection(name, "EndpointNotAllowed").await;
        assert!(ready.message.contains(words), "{name}: {}", ready.message);
    }
    assert_eq!(world.google.calls().len(), 0, "nobody was asked for a token");
}
