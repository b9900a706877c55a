//! BigQuery over REST: runs one query and returns one number, or says why there is none.
//!
//! Owns the wire: requests, answers, tokens, time limits, sizes, and what each failure means. Knows
//! nothing of Kubernetes, of `api` or of `domain`; what to do about a failure is decided there.
//!
//! | module | owns |
//! |---|---|
//! | `client` | every call to BigQuery: the dry run, the query, its polls, its cancellation |
//! | `auth` | every call to a token endpoint; identities, tokens and their renewal |
//! | `answer` | the shape of answers, and which of them is one finite number |
//! | `error` | the closed set of failures, and Google's errors mapped onto it |
//! | `endpoint` | where calls may go |
//! | `address` | where none may go |
//!
//! Requests are written with gcp-bigquery-client's types. Its own calls are not used: they lose the
//! HTTP status of an answer in an unexpected shape, read bodies of any size, and cannot decode a RANGE.

mod address;
mod answer;
mod auth;
mod client;
mod endpoint;
mod error;

pub use answer::{Answer, DryRun, Job};
pub use auth::{
    AuthorizedUser, Credentials, Endpoints, ExternalAccount, ExternalAccountError, IMPERSONATION_DENIED, KeyError,
    SCOPE, SCOPE_DRIVE, ServiceAccountError, ServiceAccountKey, TokenSource, UserError,
};
pub use client::{Client, Parameter, Query, http_client};
pub use endpoint::{DatasetError, DatasetRef, Destination, Endpoint, EndpointError};
pub use error::{Error, ErrorKind};
