//! Who a token stands for, and what that user may list: questions to the API server.
//!
//! A TokenReview and a SubjectAccessReview are asked by creating one, but the API server keeps neither and nothing
//! changes. With `--dashboard-auth=token`, and only then, the operator's ServiceAccount needs the verb `create` on
//! `tokenreviews` (`authentication.k8s.io`) and `subjectaccessreviews` (`authorization.k8s.io`), in a ClusterRole, as
//! neither has a namespace; the ClusterRole `system:auth-delegator` of every cluster is just that.
//!
//! A namespace is shown to those who may list all three kinds there: the dashboard joins them, with the state of
//! connections among its JSON, and part of a tree would mislead.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, UserInfo},
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, Resource, api::PostParams};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use crate::api::{BigQueryConnection, OkrKeyResult, OkrObjective};

use super::Visible;

/// One page must not take all of what the API server grants the operator at once.
const QUESTIONS_AT_ONCE: usize = 8;

/// Far more than any issuer makes of one.
const TOKEN_MAX_BYTES: usize = 16 * 1024;

/// A bearer token, of the characters that RFC 6750 allows. It cannot be shown.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        let fits = (1..=TOKEN_MAX_BYTES).contains(&text.len()) && text.bytes().all(allowed);
        fits.then(|| Self(text.to_owned()))
    }

    /// What stands for the token where it is remembered.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(&self.0).into()
    }

    /// For the cookie, and for the API server.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(..)")
    }
}

/// Somebody whose token the API server accepts.
#[derive(Debug, Clone, PartialEq)]
pub struct Caller {
    pub name: String,
    pub visible: Visible,
}

/// Nothing that the API server says is quoted: it could be about the token.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReviewError {
    #[error("the API server did not answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error(
        "the operator may not create {0}: with --dashboard-auth=token its ServiceAccount needs the ClusterRole system:auth-delegator"
    )]
    Forbidden(String),
    #[error("the API server refused to create {plural} with {code} ({reason})")]
    Refused { plural: String, code: u16, reason: String },
    #[error("the API server could not be reached")]
    Unreachable(#[source] Arc<kube::Error>),
    #[error("the API server gave an answer that is none")]
    Unreadable,
}

/// None: the API server does not accept the token. `namespaces` are those that hold anything to be shown.
pub async fn caller(
    client: &Client,
    token: &Token,
    namespaces: BTreeSet<String>,
) -> Result<Option<Caller>, ReviewError> {
    let Some(user) = user(client, token).await? else { return Ok(None) };
    let visible = visible(client, &user, namespaces).await?;
    Ok(Some(Caller { name: user.username.unwrap_or_default(), visible }))
}

async fn user(client: &Client, token: &Token) -> Result<Option<UserInfo>, ReviewError> {
    // No audiences: a token for the API server itself, as kubectl uses it.
    let spec = TokenReviewSpec { token: Some(token.reveal().to_owned()), audiences: None };
    let review = ask(client, &TokenReview { spec, ..TokenReview::default() }).await?;
    let status = review.status.ok_or(ReviewError::Unreadable)?;
    let user = status.user.filter(|_| status.authenticated == Some(true));
    // Without a name, a SubjectAccessReview could be about a group alone.
    Ok(user.filter(|user| user.username.as_ref().is_some_and(|name| !name.is_empty())))
}

async fn visible(client: &Client, user: &UserInfo, namespaces: BTreeSet<String>) -> Result<Visible, ReviewError> {
    if may_list(client, user, None).await? {
        return Ok(Visible::All);
    }
    let questions = namespaces.into_iter().map(|namespace| async move {
        let may = may_list(client, user, Some(&namespace)).await?;
        Ok(may.then_some(namespace))
    });
    let allowed = stream::iter(questions).buffer_unordered(QUESTIONS_AT_ONCE);
    let allowed: BTreeSet<String> = allowed.try_filter_map(|namespace| async { Ok(namespace) }).try_collect().await?;
    Ok(Visible::Namespaces(Arc::new(allowed)))
}

/// Everything of ours, in one namespace or in all.
async fn may_list(client: &Client, user: &UserInfo, namespace: Option<&str>) -> Result<bool, ReviewError> {
    for resource in [OkrKeyResult::plural(&()), OkrObjective::plural(&()), BigQueryConnection::plural(&())] {
        let attributes = ResourceAttributes {
            namespace: namespace.map(str::to_owned),
            verb: Some("list".to_owned()),
            group: Some(OkrKeyResult::group(&()).into_owned()),
            version: Some(OkrKeyResult::version(&()).into_owned()),
            resource: Some(resource.into_owned()),
            ..ResourceAttributes::default()
        };
        let UserInfo { username, uid, groups, extra } = user.clone();
        let spec = SubjectAccessReviewSpec {
            user: username,
            uid,
            groups,
            extra,
            resource_attributes: Some(attributes),
            non_resource_attributes: None,
        };
        let review = ask(client, &SubjectAccessReview { spec, ..SubjectAccessReview::default() }).await?;
        if !review.status.ok_or(ReviewError::Unreadable)?.allowed {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn ask<K>(client: &Client, review: &K) -> Result<K, ReviewError>
where
    K: Resource<DynamicType = ()> + Clone + fmt::Debug + Serialize + DeserializeOwned,
{
    let plural = || K::plural(&()).into_owned();
    Api::all(client.clone()).create(&PostParams::default(), review).await.map_err(|error| match error {
        kube::Error::Api(status) if status.code == 403 => ReviewError::Forbidden(plural()),
        kube::Error::Api(status) => ReviewError::Refused { plural: plural(), code: status.code, reason: status.reason },
        kube::Error::Service(_) | kube::Error::HyperError(_) => ReviewError::Unreachable(Arc::new(error)),
        _ => ReviewError::Unreadable,
    })
}
