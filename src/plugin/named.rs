//! Objects as people name them on the command line.

use std::str::FromStr;

use jiff::Timestamp;

use crate::{
    api::is_dns_label,
    view::{
        Gaps, Visible,
        brief::Kind,
        detail::{self, Detail},
        row::Name,
    },
};

use super::{
    cluster::{Cluster, ClusterError},
    objects::{self, Objects},
};

/// `NAME` or `KIND/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// None for whichever has that name.
    pub kind: Option<Kind>,
    pub name: String,
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((kind, name)) = text.split_once('/') else {
            return match text {
                "" => Err("it is empty".to_owned()),
                name => Ok(Self { kind: None, name: name.to_owned() }),
            };
        };
        let kind = kind_of(kind)
            .ok_or_else(|| format!("{kind:?} is no kind that has a status: write keyresult/NAME or objective/NAME"))?;
        match name {
            "" => Err("the name after / is missing".to_owned()),
            name if name.contains('/') => Err("write KIND/NAME; the namespace goes into -n".to_owned()),
            name => Ok(Self { kind: Some(kind), name: name.to_owned() }),
        }
    }
}

/// The kind as kubectl takes it, with the group or without.
pub fn kind_of(text: &str) -> Option<Kind> {
    match text.to_ascii_lowercase().split('.').next().unwrap_or_default() {
        "objective" | "objectives" | "okrobjective" | "okrobjectives" | "okrobj" => Some(Kind::Objective),
        "keyresult" | "keyresults" | "okrkeyresult" | "okrkeyresults" | "okrkr" | "kr" => Some(Kind::KeyResult),
        _ => None,
    }
}

/// The objects that are meant, in the order of `names`, and what is known of them; a bare name may mean one of each kind.
pub async fn find(cluster: &Cluster, names: &[Named]) -> Result<(Objects, Vec<(Kind, Name)>), ClusterError> {
    let meant = |named: &Named| {
        let kinds = [Kind::KeyResult, Kind::Objective].into_iter();
        let name = Name { namespace: cluster.namespace.clone(), name: named.name.clone() };
        let wanted = named.kind;
        kinds.filter(move |kind| wanted.is_none_or(|wanted| wanted == *kind)).map(move |kind| (kind, name.clone()))
    };
    // What cannot be a name is that of nothing, and could be read as more than a name on its way to the API server.
    let asked: Vec<(Kind, Name)> =
        names.iter().flat_map(meant).filter(|(_, name)| name.name.split('.').all(is_dns_label)).collect();
    let (objects, mut refusals) = objects::named(cluster, &asked).await?;
    let mut found = Vec::new();
    for named in names {
        let before = found.len();
        found.extend(meant(named).filter(|(kind, name)| objects.has(*kind, name)));
        if found.len() == before {
            // It may be there, and of the kind that may not be looked at.
            if let Some(refusal) = refusals.pop() {
                return Err(refusal);
            }
            let kind = named.kind.map_or("key result or objective", Kind::name);
            let (namespace, name) = (cluster.namespace.clone(), named.name.clone());
            return Err(ClusterError::NotFound { kind, namespace, name });
        }
    }
    Ok((objects, found))
}

/// Everything about the objects that are meant.
pub async fn details(cluster: &Cluster, names: &[Named], now: Timestamp) -> Result<Vec<Detail>, ClusterError> {
    let (objects, found) = find(cluster, names).await?;
    let objects = objects.with_connections(cluster).await?;
    let detail =
        |(kind, name): &(Kind, Name)| detail::detail(&objects, *kind, name, &Visible::All, &Gaps::default(), now);
    Ok(found.iter().filter_map(detail).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_kubectl_reads_them() {
        let check = |text: &str, want: Option<(Option<Kind>, &str)>| {
            let named = text.parse::<Named>().ok();
            assert_eq!(named, want.map(|(kind, name)| Named { kind, name: name.to_owned() }), "{text}");
        };
        check("arr", Some((None, "arr")));
        check("okrkr/arr", Some((Some(Kind::KeyResult), "arr")));
        check("okrobjectives.okr-operator.dev/growth", Some((Some(Kind::Objective), "growth")));
        check("Objective/growth", Some((Some(Kind::Objective), "growth")));
        check("pod/arr", None);
        check("sales/okrkr/arr", None);
        check("okrkr/", None);
        check("", None);
    }
}
