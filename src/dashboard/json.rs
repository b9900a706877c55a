//! JSON for programs at `/api/v1/`, and the OpenAPI document that describes it, made from the same types.

use axum::{
    extract::{RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde::Serialize;
use serde_json::{Value, json};

use crate::view::{
    brief::Kind,
    connections::{self, ConnectionRow},
    overview,
    row::Row,
};

use super::{Dashboard, UNLISTED, Visible, address::Asked, not_yet, pages};

/// Items of a page unless asked otherwise, and the most that may be asked for: one answer stays below a megabyte.
const LIMIT: usize = 100;
const MOST: usize = 500;

/// Items of one page. A page above the last is the last.
#[derive(Debug, Serialize, JsonSchema)]
struct Items<T> {
    /// Items on all pages.
    total: usize,
    /// From 1.
    page: usize,
    pages: usize,
    items: Vec<T>,
}

pub async fn objectives(dashboard: State<Dashboard>, visible: Visible, query: RawQuery) -> Response {
    rows(dashboard, visible, query, Kind::Objective).await
}

pub async fn key_results(dashboard: State<Dashboard>, visible: Visible, query: RawQuery) -> Response {
    rows(dashboard, visible, query, Kind::KeyResult).await
}

async fn rows(State(dashboard): State<Dashboard>, visible: Visible, RawQuery(query): RawQuery, kind: Kind) -> Response {
    let asked = match Asked::exactly(query.as_deref().unwrap_or_default()) {
        Ok(asked) => asked,
        Err(problem) => return (StatusCode::BAD_REQUEST, answer(&json!({"error": problem}))).into_response(),
    };
    let make = move |sources: &super::Sources| {
        if !sources.catalog.is_listed() {
            return unlisted();
        }
        let asking = pages::asking(&asked, &visible, &sources.gaps, (sources.now)());
        let overview::List { rows, total, page, pages } =
            overview::list(&*sources.catalog, kind, &asking, asked.page, limit(&asked));
        answer(&Items { total, page, pages, items: rows })
    };
    dashboard.answered(make).await
}

pub async fn connections(State(dashboard): State<Dashboard>, visible: Visible, RawQuery(query): RawQuery) -> Response {
    let asked = Asked::read(query.as_deref().unwrap_or_default());
    let make = move |sources: &super::Sources| {
        if !sources.catalog.is_listed() {
            return unlisted();
        }
        let namespace = asked.filter.namespace.as_deref();
        let text = asked.filter.text.as_ref().map(|text| text.to_lowercase());
        let mut items = connections::connections(&*sources.catalog, &visible);
        items.retain(|row| {
            let has =
                |text: &String| [&row.name, &row.display_name].iter().any(|part| part.to_lowercase().contains(text));
            namespace.is_none_or(|namespace| namespace == row.namespace) && text.as_ref().is_none_or(has)
        });
        let (total, limit) = (items.len(), limit(&asked));
        let pages = total.div_ceil(limit).max(1);
        let page = asked.page.clamp(1, pages);
        let items: Vec<ConnectionRow> = items.into_iter().skip((page - 1) * limit).take(limit).collect();
        answer(&Items { total, page, pages, items })
    };
    dashboard.answered(make).await
}

/// A part of the items would be taken for all.
fn unlisted() -> Response {
    not_yet(answer(&json!({"error": UNLISTED})))
}

fn limit(asked: &Asked) -> usize {
    asked.limit.unwrap_or(LIMIT).clamp(1, MOST)
}

fn answer(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

pub async fn openapi() -> Response {
    answer(&document())
}

fn document() -> Value {
    let mut settings = SchemaSettings::draft2020_12().for_serialize();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut generator = settings.into_generator();
    let filters = ["namespace", "owner", "status", "connection", "text"];
    let rows = |generator: &mut SchemaGenerator, what: &str| operation::<Items<Row>>(generator, what, &filters);
    let objectives = rows(&mut generator, "The objectives, the worst first.");
    let key_results = rows(&mut generator, "The key results, the worst first.");
    let connections = operation::<Items<ConnectionRow>>(
        &mut generator,
        "The connections, by namespace and name.",
        &["namespace", "text"],
    );
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "okr-operator",
            "version": "v1",
            "description": "Objectives, key results and connections as the dashboard shows them. Read-only."
        },
        "paths": {
            "/api/v1/objectives": {"get": objectives},
            "/api/v1/keyresults": {"get": key_results},
            "/api/v1/connections": {"get": connections}
        },
        "components": {"schemas": generator.take_definitions(true)}
    })
}

fn operation<T: JsonSchema>(generator: &mut SchemaGenerator, what: &str, filters: &[&str]) -> Value {
    let schema = generator.subschema_for::<T>();
    let meaning = |name: &str| match name {
        "namespace" => "Only objects of this namespace.",
        "owner" => "Only objects of this owner.",
        "status" => "Only objects of this okrStatus; or Failing, or Stale.",
        "connection" => "Only objects that use this connection, as NAMESPACE/NAME.",
        _ => "Only objects with this text in title, name or owner, in any case.",
    };
    let mut parameters: Vec<Value> = filters
        .iter()
        .map(|&name| {
            let mut schema = json!({"type": "string"});
            if name == "status" {
                schema["enum"] = overview::StatusFilter::all().map(overview::StatusFilter::name).collect();
            }
            json!({"name": name, "in": "query", "description": meaning(name), "schema": schema})
        })
        .collect();
    parameters.push(json!({
        "name": "page", "in": "query", "description": "The page, from 1.",
        "schema": {"type": "integer", "minimum": 1, "default": 1}
    }));
    parameters.push(json!({
        "name": "limit", "in": "query", "description": "Items of a page.",
        "schema": {"type": "integer", "minimum": 1, "maximum": MOST, "default": LIMIT}
    }));
    json!({
        "summary": what,
        "parameters": parameters,
        "responses": {
            "200": {"description": what, "content": {"application/json": {"schema": schema}}},
            "400": {"description": "A parameter is not understood; `error` says which."},
            "503": {"description": "The operator is still reading what exists: ask again after Retry-After."}
        }
    })
}
