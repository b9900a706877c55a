//! SVG badges: a status to show elsewhere.

use askama::Template;
use axum::{
    extract::{Path, State},
    http::{Uri, header},
    response::{IntoResponse, Response},
};

use crate::{
    api::OkrStatus,
    view::{
        brief::Kind,
        row::{Connections, Row},
        words,
    },
};

use super::{Dashboard, Reader, UNLISTED, Visible, not_yet, pages};

#[derive(Template)]
#[template(path = "templates/badge.svg", escape = "html")]
struct Badge {
    label: String,
    said: String,
    label_width: usize,
    said_width: usize,
    colour: &'static str,
}

/// `/badges/NAMESPACE/NAME.svg`: the key result of that name, else the objective.
pub async fn badge(
    State(dashboard): State<Dashboard>,
    visible: Visible,
    Path((namespace, file)): Path<(String, String)>,
    uri: Uri,
) -> Response {
    let is_listed = dashboard.sources.catalog.is_listed();
    let Some(name) = file.strip_suffix(".svg").filter(|_| visible.shows(&namespace)) else {
        return pages::not_found(&uri, Reader(None));
    };
    let sources = &dashboard.sources;
    let found = [Kind::KeyResult, Kind::Objective].into_iter().find_map(|kind| {
        let json = match kind {
            Kind::KeyResult => sources.catalog.key_result(&namespace, name),
            Kind::Objective => sources.catalog.objective(&namespace, name),
        };
        Some(Row::of(kind, &json?, &Connections::new(), &visible, &sources.gaps, (sources.now)()))
    });
    match found {
        Some(row) => drawn(&row),
        None if is_listed => pages::not_found(&uri, Reader(None)),
        None => not_yet(format!("{UNLISTED}\n").into_response()),
    }
}

fn drawn(row: &Row) -> Response {
    let word = if row.is_unreadable() { "unreadable" } else { words::status(row.okr_status) };
    let said = match row.progress_percent.as_deref() {
        Some(progress) => format!("{word} {} %", words::number(progress)),
        None => word.to_owned(),
    };
    let label = words::cut(&row.title, 60);
    let badge = Badge { label_width: width(&label), said_width: width(&said), colour: colour(row), label, said };
    match badge.render() {
        Ok(svg) => ([(header::CONTENT_TYPE, "image/svg+xml")], svg).into_response(),
        Err(_) => axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Room for a text of 11 pixels: the text is told to fill it, whatever the font.
fn width(text: &str) -> usize {
    text.chars().count() * 13 / 2 + 2
}

/// White text is readable on each.
fn colour(row: &Row) -> &'static str {
    match row.okr_status {
        _ if row.is_unreadable() => "#5c6470",
        OkrStatus::AtRisk => "#b3191f",
        OkrStatus::Behind => "#9a5000",
        OkrStatus::OnTrack => "#1a7a3c",
        OkrStatus::InProgress => "#2360b8",
        OkrStatus::NotStarted | OkrStatus::Postponed | OkrStatus::Closed => "#5c6470",
    }
}
