//! The forms that text must have, each with the words in which another is refused.

/// A form of text. The API server refuses another by quoting the regular expression, which helps few people; the CRDs
/// (see [`super::crd`]) therefore refuse it a second time, in words. Editors and offline checks need the expression.
pub(super) struct Form {
    pub(super) pattern: &'static str,
    pub(super) words: &'static str,
}

/// Every form: a pattern of the CRDs must be among them.
pub(super) const ALL: [&Form; 10] =
    [&DECIMAL, &DURATION, &BYTES, &PROJECT, &LOCATION, &DATASET, &ACCOUNT, &ENDPOINT, &PARAMETER, &HTTPS];

/// NUMERIC has 38 digits; BIGNUMERIC up to 39 before and 38 after the point.
pub(super) const DECIMAL: Form = Form {
    pattern: r"^-?[0-9]{1,39}(\.[0-9]{1,38})?$",
    words: r#"must be an integer or a quoted decimal such as "99.95": at most 39 digits and 38 decimals, without separators, exponent or unit"#,
};

/// Go's own parser, which CEL uses, also knows fractions and smaller units; a sync has no use for them.
pub(super) const DURATION: Form = Form {
    pattern: "^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,7}s)?$",
    words: "must be hours, minutes and seconds, in this order, such as 1h, 90m or 1h30m; without fractions, and days as hours: 24h",
};

/// The counts of digits keep every accepted value within INT64, which is what BigQuery takes.
pub(super) const BYTES: Form = Form {
    pattern: r"^([0-9]{1,18}|[0-9]{1,12}(\.[0-9]{1,3})?(Ki|Mi|k|M)|[0-9]{1,9}(\.[0-9]{1,3})?(Gi|G)|[0-9]{1,6}(\.[0-9]{1,3})?(Ti|T)|[0-9]{1,3}(\.[0-9]{1,3})?(Pi|P))$",
    words: "must be a number of bytes such as 1048576, 10Gi or 1.5Ti, with a unit of k, M, G, T, P, Ki, Mi, Gi, Ti, Pi or none",
};

pub(super) const PROJECT: Form = Form {
    pattern: "^[a-z0-9][a-z0-9.:-]*$",
    words: "must be a project's id, such as my-project-123 or example.com:my-project: lower-case letters, digits and hyphens",
};

pub(super) const LOCATION: Form =
    Form { pattern: "^[A-Za-z0-9-]+$", words: "must be a BigQuery location, such as EU or europe-west1" };

pub(super) const DATASET: Form = Form {
    pattern: r"^([a-z0-9][a-z0-9.:-]*\.)?[A-Za-z0-9_]+$",
    words: "must be DATASET or PROJECT.DATASET; a dataset's name has letters, digits and underscores only",
};

pub(super) const ACCOUNT: Form = Form {
    pattern: "^[A-Za-z0-9][A-Za-z0-9._-]*@[A-Za-z0-9][A-Za-z0-9.-]*$",
    words: "must be a service account's e-mail address, such as okr-reader@my-project.iam.gserviceaccount.com",
};

pub(super) const ENDPOINT: Form = Form {
    pattern: r"^https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$",
    words: "must be scheme, host and port only, such as http://127.0.0.1:9050: no path, no query, no user, no / at the end",
};

pub(super) const PARAMETER: Form = Form {
    pattern: "^[A-Za-z_][A-Za-z0-9_]*$",
    words: "must be the parameter's name without @: letters, digits and underscores, a digit not first",
};

pub(super) const HTTPS: Form = Form {
    pattern: r"^https://[^\s]+$",
    words: "must be an https address without spaces, such as https://example.com/plan",
};
