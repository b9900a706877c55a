//! The connections: what they lead to and whether they work.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    api::{BigQueryConnection, Time},
    domain::conditions::{READY, find},
};

use super::{Visible, brief, catalog::Catalog};

/// A connection as a list shows it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionRow {
    pub namespace: String,
    pub name: String,
    /// The name people see.
    pub display_name: String,
    /// The project that holds the data. Absent where the object cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// The service account that queries run as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// True, False or Unknown, as the condition Ready says.
    pub ready: String,
    /// The reason of Ready, such as Connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linked_key_results: Option<u32>,
    /// Bytes billed since 00:00 UTC of the day of lastCheckTime.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_today: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_check_time: Option<Time>,
}

/// Every connection that may be seen, by namespace and name.
pub fn connections(catalog: &dyn Catalog, visible: &Visible) -> Vec<ConnectionRow> {
    let mut rows = Vec::new();
    catalog.each_connection(&mut |json| {
        let row = row(json);
        if visible.shows(&row.namespace) {
            rows.push(row);
        }
    });
    rows.sort_by(|one, other| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)));
    rows
}

fn row(json: &[u8]) -> ConnectionRow {
    match serde_json::from_slice::<BigQueryConnection>(json) {
        Ok(connection) => readable(connection),
        Err(error) => {
            let broken = brief::broken(json, &error);
            ConnectionRow {
                display_name: broken.name.clone(),
                namespace: broken.namespace,
                name: broken.name,
                project_id: None,
                principal: None,
                ready: "Unknown".to_owned(),
                reason: Some("InvalidObject".to_owned()),
                message: Some(format!("This object does not fit the kind BigQueryConnection: {}", broken.problem)),
                linked_key_results: None,
                bytes_today: None,
                last_check_time: None,
            }
        }
    }
}

fn readable(connection: BigQueryConnection) -> ConnectionRow {
    let status = connection.status.unwrap_or_default();
    let ready = find(&status.conditions, READY);
    let name = connection.metadata.name.unwrap_or_default();
    ConnectionRow {
        namespace: connection.metadata.namespace.unwrap_or_default(),
        display_name: connection.spec.display_name.unwrap_or_else(|| name.clone()),
        name,
        project_id: Some(connection.spec.project_id),
        ready: ready.map_or("Unknown", |ready| &ready.status).to_owned(),
        reason: ready.map(|ready| ready.reason.clone()),
        message: ready.map(|ready| ready.message.clone()),
        principal: status.principal,
        linked_key_results: status.linked_key_results,
        bytes_today: status.bytes_today,
        last_check_time: status.last_check_time,
    }
}
