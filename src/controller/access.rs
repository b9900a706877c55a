//! How a connection reaches BigQuery: where, and as whom. Reads its Secret; nothing of that is kept here.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;

use crate::{
    api::{
        BigQueryConnection, Credentials, ExternalAccount, Impersonate, NoCredentials, SecretKeyRef, ServiceAccountKey,
        WorkloadIdentity,
    },
    bigquery::{self, Destination, TokenSource},
    domain::{
        connection::{ConnectionReason, Verdict},
        hash,
    },
    exchange,
};

use super::Context;

const SECRET_TIMEOUT: Duration = Duration::from_secs(30);

/// Where queries go. Only to hosts that the operator's administrator allows.
pub fn destination(context: &Context, connection: &BigQueryConnection) -> Result<Destination, Verdict> {
    exchange::destination(&connection.spec, |text, endpoint| {
        if endpoint.is_among(&context.settings.allowed_endpoints) {
            return Ok(());
        }
        let message = format!(
            "spec.endpoint {text} is not among the operator's --allowed-endpoints: ask its administrator to add the host."
        );
        Err(Verdict::new(ConnectionReason::EndpointNotAllowed, message))
    })
}

/// The source of tokens for the connection's identity, and a hash of where that came from, which tells a changed Secret.
pub async fn tokens(context: &Context, connection: &BigQueryConnection) -> Result<(TokenSource, String), Verdict> {
    let (credentials, hash) = credentials(context, connection).await?;
    let tokens = TokenSource::new(credentials, exchange::scopes(&connection.spec.scopes))
        .with_endpoints(context.settings.google.clone());
    let tokens = match &connection.spec.impersonate {
        None => tokens,
        Some(Impersonate { service_account }) => tokens.impersonating(service_account).map_err(|error| {
            let message = format!("spec.impersonate.serviceAccount cannot be used: {error}.");
            Verdict::new(ConnectionReason::CredentialsInvalid, message)
        })?,
    };
    Ok((tokens, hash))
}

async fn credentials(
    context: &Context,
    connection: &BigQueryConnection,
) -> Result<(bigquery::Credentials, String), Verdict> {
    match &connection.spec.credentials {
        Credentials::None(NoCredentials {}) => Ok((bigquery::Credentials::None, String::new())),
        Credentials::ServiceAccountKey(ServiceAccountKey { secret_ref }) => {
            let bytes = secret_entry(context, connection, secret_ref).await?;
            let key = bigquery::ServiceAccountKey::parse(&bytes, &context.settings.allowed_token_hosts);
            let key = key.map_err(|error| {
                unusable(secret_ref, "a service account key", &error, "gcloud iam service-accounts keys create")
            })?;
            Ok((bigquery::Credentials::ServiceAccountKey(key), hash::hex_of_bytes(&bytes, 64)))
        }
        Credentials::WorkloadIdentity(WorkloadIdentity {}) => {
            may_use_own_identity(context, connection)?;
            Ok((bigquery::Credentials::WorkloadIdentity, String::new()))
        }
        Credentials::ExternalAccount(ExternalAccount { secret_ref }) => {
            may_use_own_identity(context, connection)?;
            let Some(folder) = &context.settings.external_account_folder else {
                let message = "The operator has no folder of subject tokens: ask its administrator for --external-account-folder.";
                return Err(Verdict::new(ConnectionReason::AmbientIdentityNotAllowed, message.to_owned()));
            };
            let bytes = secret_entry(context, connection, secret_ref).await?;
            let account = bigquery::ExternalAccount::parse(&bytes, folder, &context.settings.allowed_token_hosts);
            let account = account.map_err(|error| {
                let command = "gcloud iam workload-identity-pools create-cred-config";
                unusable(secret_ref, "an external account's configuration", &error, command)
            })?;
            Ok((bigquery::Credentials::ExternalAccount(account), hash::hex_of_bytes(&bytes, 64)))
        }
    }
}

/// The operator's own identity is not the namespace's to use, unless its administrator says so.
fn may_use_own_identity(context: &Context, connection: &BigQueryConnection) -> Result<(), Verdict> {
    let namespace = connection.metadata.namespace.as_deref().unwrap_or_default();
    if context.settings.ambient_identity_namespaces.iter().any(|listed| listed == namespace) {
        return Ok(());
    }
    let message = format!(
        "Namespace {namespace} may not use the operator's own identity: ask its administrator to add it to --ambient-identity-namespaces, or use credentials.serviceAccountKey."
    );
    Err(Verdict::new(ConnectionReason::AmbientIdentityNotAllowed, message))
}

/// Said in our own words: nothing of the Secret is quoted.
fn unusable(reference: &SecretKeyRef, what: &str, error: &dyn std::error::Error, command: &str) -> Verdict {
    let SecretKeyRef { name, key } = reference;
    let message = format!(
        "Key {key} of Secret {name} is not usable as {what}: {error}. Put the JSON file that {command} made into it."
    );
    Verdict::new(ConnectionReason::CredentialsInvalid, message)
}

/// One entry of a Secret, read by name: nothing of it is kept here.
async fn secret_entry(
    context: &Context,
    connection: &BigQueryConnection,
    reference: &SecretKeyRef,
) -> Result<Vec<u8>, Verdict> {
    let namespace = connection.metadata.namespace.as_deref().unwrap_or_default();
    let SecretKeyRef { name, key } = reference;
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let secret = match tokio::time::timeout(SECRET_TIMEOUT, secrets.get_opt(name)).await {
        Ok(Ok(Some(secret))) => secret,
        Ok(Ok(None)) => {
            return Err(Verdict::new(
                ConnectionReason::SecretNotFound,
                format!(
                    "There is no Secret {name} in namespace {namespace}: create it with: kubectl -n {namespace} create secret generic {name} --from-file={key}=KEY_FILE.json."
                ),
            ));
        }
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
            return Err(Verdict::new(
                ConnectionReason::SecretNotReadable,
                format!(
                    "The operator may not read Secret {name} in namespace {namespace}: its role needs the verb get on secrets there."
                ),
            ));
        }
        Ok(Err(_)) | Err(_) => {
            return Err(Verdict::new(
                ConnectionReason::Unavailable,
                format!(
                    "Secret {name} in namespace {namespace} could not be read from the API server; it is tried again."
                ),
            ));
        }
    };
    secret.data.and_then(|mut data| data.remove(key)).map(|bytes| bytes.0).ok_or_else(|| {
        Verdict::new(
            ConnectionReason::SecretKeyMissing,
            format!("Secret {name} in namespace {namespace} has no key {key}: add it, or correct the key of the secretRef in spec.credentials."),
        )
    })
}
