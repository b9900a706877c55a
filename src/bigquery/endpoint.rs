//! Where calls go: the server, the projects and the dataset of a connection, and which hosts are allowed.

use std::net::IpAddr;

use reqwest::Url;
use url::Host;

use super::address::is_forbidden;

/// All that says where a query runs and what its bare names mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    pub endpoint: Endpoint,
    /// Holds the data: `dataset.table` in a query is looked up here.
    pub project_id: String,
    /// Runs the jobs and pays for them.
    pub billing_project_id: String,
    pub location: Option<String>,
    pub default_dataset: Option<DatasetRef>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetRef {
    pub project_id: String,
    pub dataset_id: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a dataset is written DATASET or PROJECT.DATASET, and its name has only letters, digits and _")]
pub struct DatasetError;

impl DatasetRef {
    /// Reads `D` or `P.D`. The last dot separates, as a project may have dots itself (`example.com:sales`).
    pub fn parse(text: &str, default_project_id: &str) -> Result<Self, DatasetError> {
        let (project_id, dataset_id) = text.rsplit_once('.').unwrap_or((default_project_id, text));
        let named = |c: char| c.is_ascii_alphanumeric() || c == '_';
        // 1,024: BigQuery's own limit for the name of a dataset.
        if project_id.is_empty() || !(1..=1024).contains(&dataset_id.len()) || !dataset_id.chars().all(named) {
            return Err(DatasetError);
        }
        Ok(Self { project_id: project_id.to_owned(), dataset_id: dataset_id.to_owned() })
    }
}

/// A BigQuery server: scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(Url);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("an endpoint is written scheme://host or scheme://host:port")]
    NotAUrl,
    #[error("an endpoint's scheme is http or https")]
    Scheme,
    #[error("an endpoint has no user name or password")]
    UserInfo,
    #[error("an endpoint is no link-local address and no metadata server")]
    Address,
    #[error("an endpoint has no path, query or fragment: /bigquery/v2 is added to it")]
    Path,
}

impl Endpoint {
    pub fn google() -> Self {
        Self(Url::parse("https://bigquery.googleapis.com").expect("the text is a URL"))
    }

    /// Parsed by the same code that later connects, so that what was checked is what is called.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let url = Url::parse(text).map_err(|_| EndpointError::NotAUrl)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(EndpointError::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(EndpointError::UserInfo);
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(EndpointError::Path);
        }
        let address = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::from(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::from(address)),
            Some(Host::Domain(_)) | None => None,
        };
        if address.is_some_and(is_forbidden) {
            return Err(EndpointError::Address);
        }
        Ok(Self(url))
    }

    /// Whether others can read what is sent: plain http to another machine.
    pub fn is_exposed(&self) -> bool {
        let stays_here = match self.0.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        };
        self.0.scheme() == "http" && !stays_here
    }

    /// Whether `hosts` (each `host` or `host:port`) has this one. Google's own needs no such entry.
    pub fn is_among(&self, hosts: &[String]) -> bool {
        let host = self.0.host_str().unwrap_or_default();
        host_is_among(hosts, host, self.0.port_or_known_default())
    }

    /// The URL of a resource below `/bigquery/v2`; whatever a segment holds, it stays one segment.
    pub(super) fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.0.clone();
        url.path_segments_mut()
            .expect("http and https URLs have a path")
            .extend(["bigquery", "v2"].iter().chain(segments));
        url
    }
}

/// Whether `hosts` names this host: `host` stands for its every port, `host:port` for that one.
pub(super) fn host_is_among(hosts: &[String], host: &str, port: Option<u16>) -> bool {
    let with_port = port.map(|port| format!("{host}:{port}"));
    hosts.iter().any(|listed| {
        listed.eq_ignore_ascii_case(host) || with_port.as_ref().is_some_and(|full| listed.eq_ignore_ascii_case(full))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, want: Result<&str, EndpointError>) {
        let got = Endpoint::parse(input).map(|endpoint| endpoint.url(&["projects", "p"]).to_string());
        assert_eq!(got.as_deref().map_err(|error| *error), want);
    }

    #[test]
    fn an_endpoint_is_a_scheme_a_host_and_a_port() {
        check("http://127.0.0.1:9050", Ok("http://127.0.0.1:9050/bigquery/v2/projects/p"));
        check("https://bq.example.com/", Ok("https://bq.example.com/bigquery/v2/projects/p"));
        check("http://[::1]:9050", Ok("http://[::1]:9050/bigquery/v2/projects/p"));
        check("127.0.0.1:9050", Err(EndpointError::NotAUrl));
        check("", Err(EndpointError::NotAUrl));
        check("file:///etc/passwd", Err(EndpointError::Scheme));
        check("http://a:b@host", Err(EndpointError::UserInfo));
        check("http://bigquery.googleapis.com@evil.example", Err(EndpointError::UserInfo));
        check("http://host/bigquery/v2", Err(EndpointError::Path));
        check("http://169.254.169.254", Err(EndpointError::Address));
        check("http://2852039166", Err(EndpointError::Address));
        check("http://[::ffff:169.254.169.254]", Err(EndpointError::Address));
        check("http://host?", Err(EndpointError::Path));
        check("http://host#f", Err(EndpointError::Path));
    }

    #[test]
    fn a_segment_cannot_leave_its_place() {
        let url = |project: &str| Endpoint::google().url(&["projects", project, "queries"]).to_string();
        assert_eq!(
            url("a/../b?c#d"),
            "https://bigquery.googleapis.com/bigquery/v2/projects/a%2F..%2Fb%3Fc%23d/queries"
        );
        assert_eq!(
            url("example.com:sales"),
            "https://bigquery.googleapis.com/bigquery/v2/projects/example.com:sales/queries"
        );
    }

    #[test]
    fn a_listed_host_is_allowed_on_every_port_and_a_listed_port_only_there() {
        let among = |endpoint: &str, hosts: &[&str]| {
            let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
            Endpoint::parse(endpoint).unwrap().is_among(&hosts)
        };
        assert!(among("http://127.0.0.1:9050", &["127.0.0.1"]));
        assert!(among("http://127.0.0.1:9050", &["other", "127.0.0.1:9050"]));
        assert!(!among("http://127.0.0.1:9051", &["127.0.0.1:9050"]));
        assert!(among("https://BQ.example.com", &["bq.example.com:443"]));
        assert!(!among("https://bq.example.com.evil", &["bq.example.com"]));
        assert!(!among("https://bq.example.com", &[]));
    }

    #[test]
    fn a_dataset_is_named_alone_or_with_its_project() {
        let parsed = |text| DatasetRef::parse(text, "home").map(|dataset| (dataset.project_id, dataset.dataset_id));
        let want = |project: &str, dataset: &str| Ok((project.to_owned(), dataset.to_owned()));
        assert_eq!(parsed("sales"), want("home", "sales"));
        assert_eq!(parsed("other.sales"), want("other", "sales"));
        assert_eq!(parsed("example.com:other.sales"), want("example.com:other", "sales"));
        assert_eq!(parsed(""), Err(DatasetError));
        assert_eq!(parsed(".sales"), Err(DatasetError));
        assert_eq!(parsed("other."), Err(DatasetError));
        assert_eq!(parsed("sales-x"), Err(DatasetError));
    }
}
