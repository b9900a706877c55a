//! Objects as people name them on the command line.

use std::str::FromStr;

use crate::view::brief::Kind;

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
        // As kubectl takes them, with the group or without.
        let kind = kind.to_ascii_lowercase();
        let kind = match kind.split('.').next().unwrap_or_default() {
            "objective" | "objectives" | "okrobjective" | "okrobjectives" | "okrobj" => Kind::Objective,
            "keyresult" | "keyresults" | "okrkeyresult" | "okrkeyresults" | "okrkr" | "kr" => Kind::KeyResult,
            _ => return Err(format!("{kind:?} is no kind that has a status: write keyresult/NAME or objective/NAME")),
        };
        match name {
            "" => Err("the name after / is missing".to_owned()),
            name if name.contains('/') => Err("write KIND/NAME; the namespace goes into -n".to_owned()),
            name => Ok(Self { kind: Some(kind), name: name.to_owned() }),
        }
    }
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
