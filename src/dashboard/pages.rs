//! The pages.

use askama::Template;
use axum::{
    extract::{Path, RawQuery, State},
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
};

use jiff::Timestamp;

use crate::api::{ChildStatus, Condition, Forecast};
use crate::view::{
    Gaps,
    brief::Kind,
    catalog::Catalog,
    detail::{self, Detail, Force, More},
    overview::{self, Asking, Line, Lost, Overview, StatusFilter, WORST_FIRST},
    row::{Name, TroubleKind},
    words,
};

use super::{
    Dashboard, Reader, Sources, Visible,
    address::{self, Asked},
    not_yet,
    plot::Plot,
    shown::{Shown, When},
};

/// Choices of one kind that a form lists. With more of them a page would be choices rather than rows; the owner or
/// the namespace is typed then.
const CHOICES: usize = 100;

/// Rows of one page.
const ROWS: usize = 50;

/// A page as HTML. A template that fails is our mistake, and none of the reader's business.
pub fn html(page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[derive(Template)]
#[template(path = "templates/overview.html", whitespace = "minimize")]
struct OverviewPage<'a> {
    root: &'static str,
    signed_in: Option<String>,
    is_listed: bool,
    asked: &'a Asked,
    overview: &'a Overview,
    totals: Vec<Total>,
    fields: Vec<Field>,
    pieces: Vec<Piece<'a>>,
    /// Whether anything is filtered.
    anything: bool,
    counts: String,
    as_of: String,
}

/// How many stand so, and the address that shows them alone, or all again.
struct Total {
    word: &'static str,
    class: &'static str,
    count: usize,
    href: String,
    is_chosen: bool,
}

/// A field of the form: a choice, or free text where there are too many.
struct Field {
    name: &'static str,
    label: &'static str,
    value: String,
    /// Values and what people call them. None: to be typed.
    choices: Option<Vec<(String, String)>>,
}

/// A part of the tree in the order of the page.
enum Piece<'a> {
    /// The place of key results without an objective begins.
    Loose,
    Row(Box<Branch<'a>>),
    /// Ends a row with children, and the list of them.
    Close,
}

/// A row of the tree and what hangs on it.
struct Branch<'a> {
    shown: Shown<'a>,
    is_context: bool,
    /// Of its heading.
    level: usize,
    href: String,
    note: Option<String>,
    /// How many belong to it, in words, where they follow.
    below: Option<String>,
}

pub async fn overview(
    State(dashboard): State<Dashboard>,
    visible: Visible,
    reader: Reader,
    RawQuery(query): RawQuery,
) -> Response {
    let asked = Asked::read(query.as_deref().unwrap_or_default());
    let change = *dashboard.sources.catalog.changes().borrow();
    let reading = dashboard.readings.of(change, &visible, &asked);
    let make = move |sources: &Sources| {
        let Sources { catalog, gaps, now, shutdown: _ } = sources;
        let now = now();
        let overview = reading
            .get_or_init(|| overview::overview(&**catalog, &asking(&asked, &visible, gaps, now), asked.page, ROWS));
        overview_page(&**catalog, overview, reader, &asked, now)
    };
    dashboard.answered(make).await
}

fn overview_page(
    catalog: &dyn Catalog,
    overview: &Overview,
    Reader(signed_in): Reader,
    asked: &Asked,
    now: Timestamp,
) -> Response {
    html(&OverviewPage {
        root: "./",
        signed_in,
        is_listed: catalog.is_listed(),
        asked,
        totals: totals(asked, overview),
        fields: fields(asked, overview),
        pieces: pieces(overview, now),
        anything: asked.filter != overview::Filter::default(),
        counts: counts(overview),
        as_of: as_of(now),
        overview,
    })
}

pub fn asking<'a>(asked: &'a Asked, visible: &'a Visible, gaps: &'a Gaps, now: Timestamp) -> Asking<'a> {
    Asking { filter: &asked.filter, visible, gaps, now }
}

fn totals(asked: &Asked, overview: &Overview) -> Vec<Total> {
    let total = |status: StatusFilter, word, class, count| {
        let is_chosen = asked.filter.status == Some(status);
        let href = asked.with_status(Some(status).filter(|_| !is_chosen)).query();
        Total { word, class, count, href, is_chosen }
    };
    let totals = &overview.totals;
    let mut shown: Vec<Total> = WORST_FIRST
        .into_iter()
        .map(|status| {
            let filter = StatusFilter::Status(status);
            total(filter, words::status(status), address::class(status), totals.of(status))
        })
        .collect();
    for (kind, class, count) in
        [(TroubleKind::Failing, "failing", totals.failing), (TroubleKind::Stale, "stale", totals.stale)]
    {
        shown.push(total(StatusFilter::Trouble(kind), kind.word(), class, count));
    }
    shown
}

fn fields(asked: &Asked, overview: &Overview) -> Vec<Field> {
    let filter = &asked.filter;
    let choices = &overview.choices;
    let plain = |name: &String| (name.clone(), words::cut(name, 80));
    let chosen = |text: &Option<String>| text.clone().unwrap_or_default();
    let field = |name, label, value: String, mut choices: Vec<(String, String)>| {
        // What is asked for stays so when another field is changed, also where nothing has it any more.
        if !value.is_empty() && choices.iter().all(|choice| choice.0 != value) {
            choices.push((value.clone(), words::cut(&value, 80)));
        }
        let choices = Some(choices).filter(|choices| choices.len() <= CHOICES);
        Field { name, label, value, choices }
    };
    let connections = choices.connections.iter().map(|(name, shown)| (address::path(name), words::cut(shown, 80)));
    let statuses = StatusFilter::all().map(|status| {
        let word = match status {
            StatusFilter::Status(status) => words::status(status),
            StatusFilter::Trouble(kind) => kind.word(),
        };
        (StatusFilter::name(status).to_owned(), word.to_owned())
    });
    vec![
        Field { name: "text", label: "Text", value: chosen(&filter.text), choices: None },
        field(
            "status",
            "Status",
            filter.status.map(StatusFilter::name).unwrap_or_default().to_owned(),
            statuses.collect(),
        ),
        field("namespace", "Namespace", chosen(&filter.namespace), choices.namespaces.iter().map(plain).collect()),
        field("owner", "Owner", chosen(&filter.owner), choices.owners.iter().map(plain).collect()),
        field(
            "connection",
            "Connection",
            filter.connection.as_ref().map(address::path).unwrap_or_default(),
            connections.collect(),
        ),
    ]
}

fn pieces(overview: &Overview, now: Timestamp) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut open = Vec::new();
    let mut loose = false;
    for (index, line) in overview.lines.iter().enumerate() {
        while open.last().is_some_and(|&depth| depth >= line.depth) {
            open.pop();
            pieces.push(Piece::Close);
        }
        if !loose && line.depth == 0 && line.row.kind == Kind::KeyResult {
            loose = true;
            pieces.push(Piece::Loose);
        }
        let has_children = overview.lines.get(index + 1).is_some_and(|next| next.depth > line.depth);
        if has_children {
            open.push(line.depth);
        }
        let row = &line.row;
        pieces.push(Piece::Row(Box::new(Branch {
            shown: Shown::new(row, now),
            is_context: line.is_context,
            // Below the headings of the page and of its section.
            level: (line.depth + 3).min(6),
            href: address::detail(row.kind, &row.namespace, &row.name),
            note: line.lost.and_then(|lost| note(lost, line)),
            below: has_children.then(|| belonging(line)),
        })));
    }
    pieces.extend(open.iter().map(|_| Piece::Close));
    pieces
}

/// Why it stands at the top.
fn note(lost: Lost, line: &Line) -> Option<String> {
    let name = line.row.objective.as_ref().map(|name| words::cut(&address::path(name), 130))?;
    Some(match lost {
        Lost::NotFound => format!("Its objective {name} is not there, or not for you to see."),
        Lost::NotShared => format!("Its objective {name} does not admit this namespace."),
        Lost::Cycle => format!("Its objective {name} counts for this one in turn."),
    })
}

fn counts(overview: &Overview) -> String {
    let counted = |count: usize, unit| words::counted(count as u64, unit);
    let totals = &overview.totals;
    format!("{}, {}", counted(totals.objectives, "objective"), counted(totals.key_results, "key result"))
}

/// "3 objectives and 1 key result".
fn belonging(line: &Line) -> String {
    let counted = |count: usize, unit| (count > 0).then(|| words::counted(count as u64, unit));
    let parts = [counted(line.children.objectives, "objective"), counted(line.children.key_results, "key result")];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" and ")
}

#[derive(Template)]
#[template(path = "templates/detail.html", whitespace = "minimize")]
struct DetailPage<'a> {
    root: &'static str,
    signed_in: Option<String>,
    shown: &'a Shown<'a>,
    more: Option<&'a More>,
    /// Where its objective has its page, and what it is called.
    parent: Option<(String, String)>,
    since: Option<&'a When>,
    plot: Option<Plot>,
    forecast: Option<String>,
    children: Vec<ShownChild<'a>>,
    conditions: Vec<ShownCondition<'a>>,
    /// What the last job read.
    bytes: String,
    as_of: String,
}

/// A child of an objective and what it adds.
struct ShownChild<'a> {
    name: String,
    href: String,
    word: &'static str,
    weight: String,
    progress: String,
    adds: &'a str,
}

struct ShownCondition<'a> {
    kind: &'a str,
    status: &'a str,
    reason: &'a str,
    message: &'a str,
    since: When,
}

pub async fn objective(
    dashboard: State<Dashboard>,
    visible: Visible,
    reader: Reader,
    path: Path<(String, String)>,
    uri: Uri,
) -> Response {
    detail(dashboard, visible, reader, path, uri, Kind::Objective).await
}

pub async fn key_result(
    dashboard: State<Dashboard>,
    visible: Visible,
    reader: Reader,
    path: Path<(String, String)>,
    uri: Uri,
) -> Response {
    detail(dashboard, visible, reader, path, uri, Kind::KeyResult).await
}

async fn detail(
    State(dashboard): State<Dashboard>,
    visible: Visible,
    reader: Reader,
    Path((namespace, name)): Path<(String, String)>,
    uri: Uri,
    kind: Kind,
) -> Response {
    let name = Name { namespace, name };
    // Before looking, as it may have come in between.
    let is_listed = dashboard.sources.catalog.is_listed();
    let signed_in = reader.0.clone();
    let make = move |sources: &Sources| {
        let now = (sources.now)();
        let detail = detail::detail(&*sources.catalog, kind, &name, &visible, &sources.gaps, now)?;
        Some(detail_page(&detail, signed_in, now))
    };
    match dashboard.made(make).await {
        Some(Some(page)) => page,
        Some(None) if is_listed => not_found(&uri, reader),
        Some(None) => not_yet(absent(&uri, reader, false)),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn detail_page(detail: &Detail, signed_in: Option<String>, now: Timestamp) -> Response {
    let Detail { row, more } = detail;
    let shown = Shown::new(row, now);
    let more = more.as_ref();
    let when = |time| When::new(time, now);
    let chart = more.and_then(|more| more.chart.as_ref());
    html(&DetailPage {
        root: "../../",
        signed_in,
        parent: row
            .objective
            .as_ref()
            .map(|name| (address::detail(Kind::Objective, &name.namespace, &name.name), words::cut(&name.name, 80))),
        since: row.okr_status_since.as_ref().map(when).as_ref(),
        plot: chart.map(|chart| Plot::new(chart, row.measured().then_some(&*shown.unit))),
        forecast: more.and_then(|more| more.forecast.as_ref()).map(|forecast| foretold(forecast, &shown.unit)),
        children: more.map(|more| more.children.iter().map(child).collect()).unwrap_or_default(),
        conditions: more.map(|more| more.conditions.iter().map(|it| condition(it, now)).collect()).unwrap_or_default(),
        bytes: more
            .and_then(|more| more.job.as_ref())
            .map(|job| words::bytes(job.query.bytes_processed))
            .unwrap_or_default(),
        as_of: as_of(now),
        shown: &shown,
        more,
    })
}

/// What "an hour ago" on paper counts from.
fn as_of(now: Timestamp) -> String {
    now.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// What the dashed line says.
fn foretold(forecast: &Forecast, unit: &str) -> String {
    let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
    let mut said = format!("If it goes on as it did: {}{unit} at the end", words::number(&forecast.end_value));
    if let Some(progress) = &forecast.end_progress_percent {
        said.push_str(&format!(", which is {} % progress", words::number(progress)));
    }
    if let Some(day) = forecast.reaches_target_on {
        said.push_str(&format!("; the target is reached on {day}"));
    }
    said + "."
}

fn child(child: &ChildStatus) -> ShownChild<'_> {
    let kind = if child.kind == Kind::Objective.name() { Kind::Objective } else { Kind::KeyResult };
    let percent = |text: &Option<String>| text.as_deref().map(|text| format!("{text} %")).unwrap_or_default();
    ShownChild {
        name: format!("{}/{}", child.namespace, child.name),
        href: address::detail(kind, &child.namespace, &child.name),
        word: child.okr_status.map(words::status).unwrap_or_default(),
        weight: percent(&child.weight_percent),
        progress: percent(&child.progress_percent),
        adds: child.contribution.as_deref().or(child.not_counted.as_deref()).unwrap_or_default(),
    }
}

fn condition(condition: &Condition, now: Timestamp) -> ShownCondition<'_> {
    ShownCondition {
        kind: &condition.type_,
        status: &condition.status,
        reason: &condition.reason,
        message: &condition.message,
        since: When::new(&condition.last_transition_time, now),
    }
}

#[derive(Template)]
#[template(path = "templates/not_found.html", whitespace = "minimize")]
struct NotFoundPage {
    root: String,
    signed_in: Option<String>,
    is_listed: bool,
}

/// The answer to an address that leads nowhere.
pub async fn nowhere(reader: Reader, uri: Uri) -> Response {
    not_found(&uri, reader)
}

pub fn not_found(uri: &Uri, reader: Reader) -> Response {
    (StatusCode::NOT_FOUND, absent(uri, reader, true)).into_response()
}

fn absent(uri: &Uri, Reader(signed_in): Reader, is_listed: bool) -> Response {
    let depth = uri.path().matches('/').count().saturating_sub(1);
    // An address of ten thousand slashes is nobody's bookmark.
    let root = if depth == 0 { "./".to_owned() } else { "../".repeat(depth.min(32)) };
    html(&NotFoundPage { root, signed_in, is_listed })
}
