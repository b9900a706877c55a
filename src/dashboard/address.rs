//! What an address asks for, and the address of what is asked for.

use url::form_urlencoded;

use crate::{
    api::OkrStatus,
    view::{
        brief::Kind,
        overview::{Filter, StatusFilter},
        row::Name,
    },
};

/// A filter and a page, as the query of an address says them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    pub filter: Filter,
    /// From 1.
    pub page: usize,
    /// Items of a JSON page.
    pub limit: Option<usize>,
}

impl Asked {
    /// Reads a query. What is not understood asks for nothing: an old bookmark still opens a page.
    pub fn read(query: &str) -> Self {
        let mut asked = Self { page: 1, ..Self::default() };
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let text = Some(value.trim().to_owned()).filter(|text| !text.is_empty());
            let filter = &mut asked.filter;
            match &*key {
                "namespace" => filter.namespace = text,
                "owner" => filter.owner = text,
                "status" => filter.status = text.as_deref().and_then(StatusFilter::from_name),
                "connection" => filter.connection = text.as_deref().map(named),
                "text" => filter.text = text,
                "page" => asked.page = value.parse().unwrap_or(1),
                "limit" => asked.limit = value.parse().ok(),
                _ => {}
            }
        }
        asked
    }

    /// The same for programs, which take an answer to another question for theirs. The error is a sentence for people.
    pub fn exactly(query: &str) -> Result<Self, String> {
        let asked = Self::read(query);
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.trim();
            match &*key {
                "status" if !value.is_empty() && StatusFilter::from_name(value).is_none() => {
                    let names: Vec<&str> = StatusFilter::all().map(StatusFilter::name).collect();
                    return Err(format!("The parameter status is none of {}.", names.join(", ")));
                }
                "connection" if !value.is_empty() && !is_path(value) => {
                    return Err("The parameter connection is not NAMESPACE/NAME.".to_owned());
                }
                _ => {}
            }
        }
        Ok(asked)
    }

    /// The query that asks for this, with its question mark; the plain page's is "?".
    pub fn query(&self) -> String {
        let Self { filter, page, limit: _ } = self;
        let Filter { namespace, owner, status, connection, text } = filter;
        let mut query = form_urlencoded::Serializer::new(String::new());
        let connection = connection.as_ref().map(path);
        let pairs = [
            ("namespace", namespace.as_deref()),
            ("owner", owner.as_deref()),
            ("status", status.map(StatusFilter::name)),
            ("connection", connection.as_deref()),
            ("text", text.as_deref()),
        ];
        for (key, value) in pairs {
            if let Some(value) = value {
                query.append_pair(key, value);
            }
        }
        if *page > 1 {
            query.append_pair("page", &page.to_string());
        }
        format!("?{}", query.finish())
    }

    pub fn with_page(&self, page: usize) -> Self {
        Self { page, ..self.clone() }
    }

    pub fn with_status(&self, status: Option<StatusFilter>) -> Self {
        Self { page: 1, filter: Filter { status, ..self.filter.clone() }, limit: self.limit }
    }
}

/// `NAMESPACE/NAME`.
pub fn path(Name { namespace, name }: &Name) -> String {
    if namespace.is_empty() { name.clone() } else { format!("{namespace}/{name}") }
}

/// A text that is no path names something of no namespace, which does not exist.
fn named(text: &str) -> Name {
    let (namespace, name) = text.split_once('/').unwrap_or(("", text));
    Name { namespace: namespace.to_owned(), name: name.to_owned() }
}

fn is_path(text: &str) -> bool {
    text.split_once('/')
        .is_some_and(|(namespace, name)| !namespace.is_empty() && !name.is_empty() && !name.contains('/'))
}

/// Where an object has its own page, below the dashboard's root.
pub fn detail(kind: Kind, namespace: &str, name: &str) -> String {
    let folder = match kind {
        Kind::Objective => "objectives",
        Kind::KeyResult => "keyresults",
    };
    // Names of objects are DNS labels; one that is not is broken, and must still not leave its place.
    let part = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!("{folder}/{}/{}", part(namespace), part(name))
}

/// The colour and shape of a status, as style and sprite call it.
pub fn class(okr_status: OkrStatus) -> &'static str {
    match okr_status {
        OkrStatus::AtRisk => "at-risk",
        OkrStatus::Behind => "behind",
        OkrStatus::OnTrack => "on-track",
        OkrStatus::InProgress => "in-progress",
        OkrStatus::NotStarted => "not-started",
        OkrStatus::Postponed => "postponed",
        OkrStatus::Closed => "closed",
    }
}
