//! Connections: SPEC section 1.

use okr_operator::api::BigQueryConnection;

use crate::{ACCEPTED, check, support::cluster::sandbox};

/// Enough for a connection that is accepted.
const OTHERS: [(&str, &str); 2] =
    [("projectId", "demo"), ("credentials", "{serviceAccountKey: {secretRef: {name: warehouse, key: key.json}}}")];

async fn check_connections(cases: &[(&str, &str)]) {
    let sandbox = sandbox("admission").await;
    check::<BigQueryConnection>(&sandbox, &OTHERS, cases).await;
}

#[tokio::test]
async fn exactly_one_known_credential() {
    const ONE: &str = "spec.credentials: Invalid value: set exactly one of serviceAccountKey, workloadIdentity, externalAccount, none";
    check_connections(&[
        ("credentials: {serviceAccountKey: {secretRef: {name: warehouse, key: key.json}}}", ACCEPTED),
        ("credentials: {}", ONE),
        (
            r#"endpoint: "http://h", credentials: {none: {}, serviceAccountKey: {secretRef: {name: warehouse, key: k}}}"#,
            ONE,
        ),
        ("credentials: {workloadIdentity: {}}", ACCEPTED),
        ("credentials: {externalAccount: {secretRef: {name: federation, key: config.json}}}", ACCEPTED),
        (
            "credentials: {workloadIdentity: {}}, impersonate: {serviceAccount: reader@p.iam.gserviceaccount.com}",
            ACCEPTED,
        ),
        (
            "credentials: {workloadIdentity: {}}, impersonate: {serviceAccount: somebody}",
            "must be a service account's e-mail address",
        ),
        (
            r#"endpoint: "http://h", credentials: {none: {}}, impersonate: {serviceAccount: reader@p.iam.gserviceaccount.com}"#,
            "impersonate needs credentials that may act as the account",
        ),
        ("credentials: {apiKey: {}}", r#"unknown field "spec.credentials.apiKey""#),
        ("credentials: null", "spec.credentials: Required value"),
        ("credentials: {serviceAccountKey: {}}", "spec.credentials.serviceAccountKey.secretRef: Required value"),
        (
            "credentials: {serviceAccountKey: {secretRef: {name: warehouse}}}",
            "spec.credentials.serviceAccountKey.secretRef.key: Required value",
        ),
        (
            "credentials: {serviceAccountKey: {secretRef: {key: key.json}}}",
            "spec.credentials.serviceAccountKey.secretRef.name: Required value",
        ),
    ])
    .await;
}

#[tokio::test]
async fn no_credentials_go_with_plain_http_only() {
    const PLAIN: &str = "spec: Invalid value: credentials.none is for plain-http endpoints only: set endpoint to http://HOST:PORT, or give credentials";
    check_connections(&[
        (r#"credentials: {none: {}}, endpoint: "http://127.0.0.1:9050""#, ACCEPTED),
        ("credentials: {none: {}}", PLAIN),
        (r#"credentials: {none: {}}, endpoint: "https://bigquery.example.com""#, PLAIN),
    ])
    .await;
}

#[tokio::test]
async fn an_endpoint_is_scheme_host_and_port() {
    const FORM: &str = "spec.endpoint: Invalid value: must be scheme, host and port only, such as http://127.0.0.1:9050: no path, no query, no user, no / at the end";
    check_connections(&[
        (r#"endpoint: "http://127.0.0.1:9050""#, ACCEPTED),
        (r#"endpoint: "http://[::1]:9050""#, ACCEPTED),
        (r#"endpoint: "https://bigquery.example.com""#, ACCEPTED),
        (r#"endpoint: "http://127.0.0.1:9050/bigquery/v2""#, FORM),
        (r#"endpoint: "http://127.0.0.1:9050/""#, FORM),
        (r#"endpoint: "http://127.0.0.1:9050?x=1""#, FORM),
        (r##"endpoint: "http://127.0.0.1:9050#x""##, FORM),
        (r#"endpoint: "http://me@127.0.0.1:9050""#, FORM),
        (r#"endpoint: "http://me:secret@127.0.0.1""#, FORM),
        (r#"endpoint: "http://127.0.0.1:port""#, FORM),
        (r#"endpoint: "http://two hosts""#, FORM),
        (r#"endpoint: "http://""#, FORM),
        (r#"endpoint: "ftp://127.0.0.1""#, FORM),
        (r#"endpoint: "127.0.0.1:9050""#, FORM),
    ])
    .await;
}

#[tokio::test]
async fn a_selector_goes_with_from_selector() {
    const TOGETHER: &str = "spec.allowedNamespaces: Invalid value: selector goes with from: Selector, and only with it";
    const OPERATOR: &str = "spec.allowedNamespaces: Invalid value: selector.matchExpressions: operator must be In or NotIn, with values, or Exists or DoesNotExist, without";
    let expression =
        |text: &str| format!("allowedNamespaces: {{from: Selector, selector: {{matchExpressions: [{text}]}}}}");
    check_connections(&[
        ("allowedNamespaces: {}", ACCEPTED),
        ("allowedNamespaces: {from: Same}", ACCEPTED),
        ("allowedNamespaces: {from: All}", ACCEPTED),
        ("allowedNamespaces: {from: Selector, selector: {matchLabels: {team: sales}}}", ACCEPTED),
        (&expression("{key: team, operator: In, values: [sales]}, {key: x, operator: Exists}"), ACCEPTED),
        ("allowedNamespaces: {from: Selector}", TOGETHER),
        ("allowedNamespaces: {selector: {matchLabels: {team: sales}}}", TOGETHER),
        ("allowedNamespaces: {from: Same, selector: {matchLabels: {team: sales}}}", TOGETHER),
        ("allowedNamespaces: {from: All, selector: {matchLabels: {team: sales}}}", TOGETHER),
        (
            "allowedNamespaces: {from: Some}",
            r#"spec.allowedNamespaces.from: Unsupported value: "Some": supported values: "Same", "All", "Selector""#,
        ),
        (&expression("{key: team, operator: Equals, values: [sales]}"), OPERATOR),
        (&expression("{key: team, operator: In}"), OPERATOR),
        (&expression("{key: team, operator: NotIn, values: []}"), OPERATOR),
        (&expression("{key: team, operator: Exists, values: [sales]}"), OPERATOR),
    ])
    .await;
}

#[tokio::test]
async fn limits_are_in_range() {
    const TIMEOUT: &str = "spec.limits.queryTimeout: Invalid value: must be from 1s to 10m";
    const INTERVAL: &str = "spec.limits.minInterval: Invalid value: must be from 1m to 168h";
    check_connections(&[
        ("limits: {}", ACCEPTED),
        ("limits: {maxConcurrentQueries: 1, queryTimeout: 1s, minInterval: 1m}", ACCEPTED),
        ("limits: {maxConcurrentQueries: 1000, queryTimeout: 10m, minInterval: 168h}", ACCEPTED),
        (
            "limits: {maxConcurrentQueries: 0}",
            "spec.limits.maxConcurrentQueries in body should be greater than or equal to 1",
        ),
        (
            "limits: {maxConcurrentQueries: 1001}",
            "spec.limits.maxConcurrentQueries in body should be less than or equal to 1000",
        ),
        (
            r#"limits: {maxConcurrentQueries: "8"}"#,
            r#"spec.limits.maxConcurrentQueries in body must be of type integer: "string""#,
        ),
        (
            "limits: {maxConcurrentQueries: 1.5}",
            r#"spec.limits.maxConcurrentQueries in body must be of type integer: "number""#,
        ),
        ("limits: {queryTimeout: 0s}", TIMEOUT),
        ("limits: {queryTimeout: 11m}", TIMEOUT),
        ("limits: {queryTimeout: 60}", r#"spec.limits.queryTimeout in body must be of type string: "integer""#),
        (
            "limits: {queryTimeout: 500ms}",
            "spec.limits.queryTimeout: Invalid value: must be hours, minutes and seconds",
        ),
        ("limits: {minInterval: 30s}", INTERVAL),
        ("limits: {minInterval: 169h}", INTERVAL),
        ("limits: {minInterval: soon}", "spec.limits.minInterval: Invalid value: must be hours, minutes and seconds"),
    ])
    .await;
}

#[tokio::test]
async fn bytes_are_quantities() {
    const FORM: &str = "must be a number of bytes such as 1048576, 10Gi or 1.5Ti, with a unit of k, M, G, T, P, Ki, Mi, Gi, Ti, Pi or none";
    const ABOVE: &str = "must be above 0 bytes; to send no query set suspend: true";
    for field in ["maximumBytesBilled", "maximumBytesPerDay"] {
        let limit = |value: &str| format!("limits: {{{field}: {value}}}");
        let refused = |words: &str| format!("spec.limits.{field}: Invalid value: {words}");
        check_connections(&[
            (&limit("10Gi"), ACCEPTED),
            (&limit("500M"), ACCEPTED),
            (&limit("1.5Gi"), ACCEPTED),
            (&limit("1048576"), ACCEPTED),
            (&limit(r#""1048576""#), ACCEPTED),
            (&limit("999999999999999999"), ACCEPTED),
            (&limit("999.999Pi"), ACCEPTED),
            (&limit("-1"), &refused(FORM)),
            (&limit(r#""-1""#), &refused(FORM)),
            (&limit("-1Gi"), &refused(FORM)),
            (&limit("10GB"), &refused(FORM)),
            (&limit("10gi"), &refused(FORM)),
            (&limit(r#""1.5""#), &refused(FORM)),
            (&limit("1000Pi"), &refused(FORM)),
            (&limit("much"), &refused(FORM)),
            (&limit(r#""""#), &refused(FORM)),
            (&limit("0"), &refused(ABOVE)),
            (&limit("0Gi"), &refused(ABOVE)),
            (&limit("1.5"), &format!(r#"spec.limits.{field} in body must be of type integer,string: "number""#)),
        ])
        .await;
    }
}

#[tokio::test]
async fn names_of_projects_datasets_and_places() {
    const PROJECT: &str = "Id: Invalid value: must be a project's id, such as my-project-123 or example.com:my-project: lower-case letters, digits and hyphens";
    const DATASET: &str = "spec.defaultDataset: Invalid value: must be DATASET or PROJECT.DATASET; a dataset's name has letters, digits and underscores only";
    const LOCATION: &str = "spec.location: Invalid value: must be a BigQuery location, such as EU or europe-west1";
    check_connections(&[
        ("projectId: my-project-123", ACCEPTED),
        (r#"projectId: "example.com:my-project""#, ACCEPTED),
        (r#"billingProjectId: "example.com:my-project""#, ACCEPTED),
        ("projectId: null", "spec.projectId: Required value"),
        ("projectId: My project", PROJECT),
        ("projectId: my-project/datasets/sales", PROJECT),
        (r#"projectId: """#, PROJECT),
        ("billingProjectId: MY-PROJECT", PROJECT),
        ("projectId: 123456", r#"spec.projectId in body must be of type string: "integer""#),
        ("defaultDataset: Sales_2026", ACCEPTED),
        ("defaultDataset: my-project.sales", ACCEPTED),
        (r#"defaultDataset: "example.com:my-project.sales""#, ACCEPTED),
        ("defaultDataset: my-project.sales.leads-2026", DATASET),
        ("defaultDataset: my-project.", DATASET),
        ("defaultDataset: my-sales", DATASET),
        (r#"defaultDataset: "my-project:sales""#, DATASET),
        ("location: EU", ACCEPTED),
        ("location: europe-west1", ACCEPTED),
        ("location: europe west", LOCATION),
    ])
    .await;
}

#[tokio::test]
async fn one_scope_may_be_added() {
    check_connections(&[
        ("scopes: []", ACCEPTED),
        ("scopes: [drive.readonly]", ACCEPTED),
        ("scopes: [drive.readonly, drive.readonly]", r#"spec.scopes[1]: Duplicate value: "drive.readonly""#),
        ("scopes: [drive]", r#"spec.scopes[0]: Unsupported value: "drive": supported values: "drive.readonly""#),
        (r#"scopes: ["https://www.googleapis.com/auth/drive.readonly"]"#, r#"supported values: "drive.readonly""#),
    ])
    .await;
}

#[tokio::test]
async fn what_people_read_and_switch() {
    check_connections(&[
        ("displayName: null, description: Sales data, default: true, suspend: true", ACCEPTED),
        (r#"suspend: "yes""#, r#"spec.suspend in body must be of type boolean: "string""#),
        ("default: 1", r#"spec.default in body must be of type boolean: "integer""#),
    ])
    .await;
}
