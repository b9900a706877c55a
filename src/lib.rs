//! okr-operator: objectives and key results as Kubernetes resources, their numbers from BigQuery.
//!
//! Dependencies point one way: `api <- domain <- {controller, view}`, with `bigquery` beside them and `dashboard` on `view`;
//! `exchange` joins `domain` and `bigquery` for whoever sends queries, and `plugin` is on `view` and, to check, `exchange`.
//!
//! | to find | look in |
//! |---|---|
//! | the custom resources, field by field | [`api`] |
//! | where a status is decided | [`domain::status`], and [`domain::judgement`] for On Track, Behind and At Risk |
//! | what an objective is rolled up to | [`domain::rollup`], and [`domain::child`] for the sum |
//! | when a query is sent, or why not | [`domain::schedule`] |
//! | where a query is sent | [`bigquery`] (`client.rs`) |
//! | where a status is written | `controller/apply.rs`, the only module that writes to the API server |
//! | which of several replicas works | [`controller::leadership`] |
//! | what people are shown of objects | [`view`], and [`dashboard`] for its pages |
//! | who may see what of the dashboard | [`dashboard::gate`] |
//! | a command of kubectl okr | [`plugin`], and [`plugin::check`] for manifests without a cluster |
//! | what Prometheus is told | [`metrics`], of objects by [`view::reading`] |
//! | how it all runs | [`controller`] |

pub mod api;
pub mod bigquery;
mod causes;
mod clock;
pub mod config;
pub mod controller;
pub mod dashboard;
pub mod domain;
pub mod exchange;
pub mod http;
mod kubeconfig;
pub mod metrics;
pub mod plugin;
pub mod run;
pub mod view;
