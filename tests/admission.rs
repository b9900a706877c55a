//! What the API server accepts and refuses, and in which words.

mod support;

mod admission {
    pub mod check;
    mod connection;
    mod key_result;
    mod measure;
    mod objective;
    mod surface;
}

use std::fmt::Debug;

use http::{Request, header::CONTENT_TYPE};
use kube::{Resource, core::NamespaceResourceScope};
use serde::de::DeserializeOwned;
use support::cluster::Sandbox;

/// What a case wants when nothing is refused.
const ACCEPTED: &str = "accepted";

/// Asks the API server, without storing anything, to take each spec as people write it: the inside of a YAML
/// mapping in braces. Fields of `others` stand in for those a case does not mention.
async fn check<K>(sandbox: &Sandbox, others: &[(&str, &str)], cases: &[(&str, &str)])
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Debug,
{
    let mut wrong = Vec::new();
    for (spec, want) in cases {
        let answer = answer::<K>(sandbox, others, spec).await;
        let as_wanted = if *want == ACCEPTED { answer == ACCEPTED } else { answer.contains(want) };
        if !as_wanted {
            wrong.push(format!("{:.300}\n  wanted: {want}\n  answer: {answer}", spec));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// [`ACCEPTED`], or the words in which the API server refuses, without the values that it repeats. The operator must be
/// able to read what was accepted.
async fn answer<K>(sandbox: &Sandbox, others: &[(&str, &str)], spec: &str) -> String
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Debug,
{
    let missing = others.iter().filter(|(field, _)| !spec.contains(&format!("{field}:")));
    let fields: Vec<String> =
        missing.map(|(field, value)| format!("{field}: {value}")).chain([spec.to_owned()]).collect();
    let manifest = format!(
        "{{apiVersion: {}, kind: {}, metadata: {{name: case}}, spec: {{{}}}}}",
        K::api_version(&()),
        K::kind(&()),
        fields.join(", "),
    );
    let url = format!("{}?dryRun=All&fieldValidation=Strict", K::url_path(&(), Some(&sandbox.namespace)));
    let request =
        Request::post(url).header(CONTENT_TYPE, "application/yaml").body(manifest.clone().into_bytes()).unwrap();
    let answer = match sandbox.client.request::<serde_json::Value>(request).await {
        Ok(object) => serde_json::from_value::<K>(object)
            .map_or_else(|error| format!("accepted, but unreadable: {error}"), |_| ACCEPTED.to_owned()),
        Err(kube::Error::Api(status)) => without_values(&status.message),
        Err(error) => panic!("no answer to {spec}: {error}"),
    };
    let offline = admission::check::refusals(&manifest);
    assert_eq!(answer == ACCEPTED, offline.is_empty(), "{spec:.300}\n  {answer}\n  kubectl okr check: {offline:?}");
    answer
}

/// `spec.weight: Invalid value: 101: must be ...` without the `101`.
fn without_values(message: &str) -> String {
    const BEFORE: &str = "Invalid value: ";
    let mut parts = message.split(BEFORE);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let mut values = serde_json::Deserializer::from_str(part).into_iter::<serde::de::IgnoredAny>();
        let value = values.next().and_then(Result::ok).map_or(0, |_| values.byte_offset());
        text + BEFORE + part[value..].strip_prefix(": ").unwrap_or(part)
    })
}
