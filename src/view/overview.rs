//! Which rows, in which order, on which page. Of thousands of objects only an outline is kept at a time; the rows of
//! one page are read again in full.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
};

use jiff::Timestamp;

use crate::{
    api::{BigQueryConnection, NamespacesFrom, OkrStatus},
    domain::judgement::Gaps,
};

pub use crate::domain::judgement::WORST_FIRST;

use super::{
    Visible,
    brief::{Brief, Kind, decode},
    catalog::Catalog,
    row::{Connections, Name, Row, TroubleKind, display_name, worst_trouble},
    standing::{Moment, standing},
};

/// What is asked for. Everything that is absent admits everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub namespace: Option<String>,
    pub owner: Option<String>,
    pub status: Option<StatusFilter>,
    pub connection: Option<Name>,
    /// Part of a title, a name or an owner, in any case.
    pub text: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusFilter {
    Status(OkrStatus),
    Trouble(TroubleKind),
}

impl StatusFilter {
    /// Every choice, the worst status first.
    pub fn all() -> impl Iterator<Item = Self> {
        let troubles = [TroubleKind::Failing, TroubleKind::Stale].map(Self::Trouble);
        WORST_FIRST.map(Self::Status).into_iter().chain(troubles)
    }

    /// The name in an address and on a command line, such as AtRisk.
    pub fn name(self) -> &'static str {
        match self {
            Self::Status(status) => status.name(),
            Self::Trouble(trouble) => trouble.word(),
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::all().find(|filter| filter.name() == name)
    }
}

/// Who asks, and when.
pub struct Asking<'a> {
    pub filter: &'a Filter,
    /// Whether the objects of a namespace may be seen.
    pub visible: &'a Visible,
    /// The operator's thresholds.
    pub gaps: &'a Gaps,
    pub now: Timestamp,
}

/// One page of the tree.
#[derive(Debug)]
pub struct Overview {
    pub totals: Totals,
    pub choices: Choices,
    pub lines: Vec<Line>,
    /// From 1.
    pub page: usize,
    pub pages: usize,
}

/// One row of the tree.
#[derive(Debug)]
pub struct Line {
    /// 0 for what belongs to nothing.
    pub depth: usize,
    /// Shown for what is below it: it does not fit the filter, or has its own place on an earlier page.
    pub is_context: bool,
    /// An objective that is named but not there, absent or not for these eyes, or one that leads back to itself.
    pub lost: Option<Lost>,
    pub children: Children,
    pub row: Row,
}

/// Why something stands at the top although it refers to an objective.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// There is none of that name, or none that may be seen.
    NotFound,
    /// It does not admit this namespace.
    NotShared,
    /// It counts for this one in turn.
    Cycle,
}

/// How many belong to an objective directly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Children {
    pub objectives: usize,
    pub key_results: usize,
}

/// Counts over everything that fits the filter, its status left aside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    pub objectives: usize,
    pub key_results: usize,
    /// Key results by status.
    pub by_status: BTreeMap<u8, usize>,
    pub failing: usize,
    pub stale: usize,
}

impl Totals {
    pub fn of(&self, okr_status: OkrStatus) -> usize {
        self.by_status.get(&rank(okr_status)).copied().unwrap_or_default()
    }
}

/// What there is to choose from.
#[derive(Debug, Default)]
pub struct Choices {
    pub namespaces: BTreeSet<String>,
    pub owners: BTreeSet<String>,
    pub connections: Connections,
}

/// The place among [`WORST_FIRST`]. 2, after Behind, is left for what is wrong otherwise.
fn rank(okr_status: OkrStatus) -> u8 {
    let place = (0..).zip(WORST_FIRST).find(|(_, other)| *other == okr_status);
    place.map_or(u8::MAX, |(place, _)| place + u8::from(place >= 2))
}

/// What is kept of every object while one page is made.
struct Outline {
    kind: Kind,
    namespace: Box<str>,
    name: Box<str>,
    /// As it is referred to, then as it was found.
    reference: Option<Name>,
    parent: Option<usize>,
    lost: Option<Lost>,
    okr_status: OkrStatus,
    trouble: Option<TroubleKind>,
    /// How far it lies behind, in percentage points; for the order alone.
    gap: f64,
    /// The rank of it and of all below it.
    rank: u8,
    worst: u8,
    fits: Fits,
}

/// How an object stands to a filter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fits {
    Wholly,
    ButForStatus,
    No,
}

/// Who may belong to an objective from other namespaces.
enum Admits {
    None,
    All,
    /// A selector over labels that are not known here: those that the operator found.
    Listed(HashSet<(Kind, String, String)>),
}

/// Everything, in outline.
struct Outlines {
    all: Vec<Outline>,
    /// Objectives by namespace and name.
    objectives: HashMap<(Box<str>, Box<str>), usize>,
    admits: HashMap<usize, Admits>,
    choices: Choices,
    moment: Moment,
}

/// The page of the tree, from 1, that `asking` wants, with so many rows at most; one too high is the last.
pub fn overview(catalog: &dyn Catalog, asking: &Asking<'_>, page: usize, rows: usize) -> Overview {
    let outlines = outlines(catalog, asking);
    let totals = totals(&outlines.all);
    let (lines, children) = tree(&outlines.all);
    let pages = lines.len().div_ceil(rows).max(1);
    let page = page.clamp(1, pages);
    let start = (page - 1) * rows;
    let shown = &lines[start..lines.len().min(start.saturating_add(rows))];
    let ancestors = ancestors(&outlines.all, shown.first());
    let context = ancestors.into_iter().map(|(index, depth)| (index, depth, true));
    let rows = shown.iter().map(|&(index, depth)| (index, depth, outlines.all[index].fits != Fits::Wholly));
    let lines = context
        .chain(rows)
        .filter_map(|(index, depth, is_context)| {
            let outline = &outlines.all[index];
            let row = outline.row(catalog, &outlines.choices.connections, asking)?;
            Some(Line { depth, is_context, lost: outline.lost, children: children[index], row })
        })
        .collect();
    Overview { totals, choices: outlines.choices, lines, page, pages }
}

/// One page of a flat list.
pub struct List {
    pub rows: Vec<Row>,
    /// How many there are on all pages.
    pub total: usize,
    /// From 1.
    pub page: usize,
    pub pages: usize,
}

/// Everything of one kind that fits, the worst first.
pub fn list(catalog: &dyn Catalog, kind: Kind, asking: &Asking<'_>, page: usize, limit: usize) -> List {
    let outlines = outlines(catalog, asking);
    let mut found: Vec<&Outline> =
        outlines.all.iter().filter(|outline| outline.kind == kind && outline.fits == Fits::Wholly).collect();
    found.sort_by(|one, other| one.before(other));
    let pages = found.len().div_ceil(limit).max(1);
    let page = page.clamp(1, pages);
    let shown = found.iter().skip((page - 1) * limit).take(limit);
    let rows =
        shown.filter_map(|outline| outline.row(catalog, &outlines.choices.connections, asking)).collect::<Vec<_>>();
    List { rows, total: found.len(), page, pages }
}

/// The connections that may be seen, with their display names. One that cannot be read goes by its own name.
pub fn connections(catalog: &dyn Catalog, visible: &Visible) -> Connections {
    let mut connections = Connections::new();
    catalog.each_connection(&mut |json| {
        let named = match serde_json::from_slice::<BigQueryConnection>(json) {
            Ok(connection) => display_name(&connection),
            Err(error) => {
                let broken = super::brief::broken(json, &error);
                (Name { namespace: broken.namespace, name: broken.name.clone() }, broken.name)
            }
        };
        if visible.shows(&named.0.namespace) {
            connections.insert(named.0, named.1);
        }
    });
    connections
}

fn outlines(catalog: &dyn Catalog, asking: &Asking<'_>) -> Outlines {
    let mut outlines = Outlines {
        all: Vec::new(),
        objectives: HashMap::new(),
        admits: HashMap::new(),
        choices: Choices { connections: connections(catalog, asking.visible), ..Choices::default() },
        moment: Moment::new(asking.now),
    };
    let text = asking.filter.text.as_ref().map(|text| text.to_lowercase());
    catalog.each_objective(&mut |json| outlines.add(Kind::Objective, json, asking, text.as_deref()));
    catalog.each_key_result(&mut |json| outlines.add(Kind::KeyResult, json, asking, text.as_deref()));
    outlines.link();
    outlines
}

impl Outlines {
    fn add(&mut self, kind: Kind, json: &[u8], asking: &Asking<'_>, text: Option<&str>) {
        let decoded = decode(kind, json);
        let (namespace, name) = match &decoded {
            Ok(brief) => (&*brief.metadata.namespace, &*brief.metadata.name),
            Err(broken) => (broken.namespace.as_str(), broken.name.as_str()),
        };
        if !asking.visible.shows(namespace) {
            return;
        }
        if !self.choices.namespaces.contains(namespace) {
            self.choices.namespaces.insert(namespace.to_owned());
        }
        let index = self.all.len();
        if kind == Kind::Objective {
            self.objectives.insert((namespace.into(), name.into()), index);
        }
        let mut outline = Outline {
            kind,
            namespace: namespace.into(),
            name: name.into(),
            reference: None,
            parent: None,
            lost: None,
            okr_status: OkrStatus::NotStarted,
            trouble: Some(TroubleKind::Unreadable),
            gap: 0.0,
            rank: 2,
            worst: 2,
            fits: Fits::No,
        };
        if let Ok(brief) = &decoded {
            if let Some(owner) = brief.spec.owner.as_deref().filter(|owner| !self.choices.owners.contains(*owner)) {
                self.choices.owners.insert(owner.to_owned());
            }
            if kind == Kind::Objective {
                self.admits.insert(index, admits(brief));
            }
            outline.read(brief, asking.gaps, &mut self.moment);
        }
        outline.fits = fits(&outline, decoded.as_ref().ok(), asking.filter, text);
        self.all.push(outline);
    }

    /// Finds the objective of each, and cuts what leads back to itself.
    fn link(&mut self) {
        for index in 0..self.all.len() {
            let Some(reference) = self.all[index].reference.take() else { continue };
            let found = self.objectives.get(&(reference.namespace.as_str().into(), reference.name.as_str().into()));
            let outline = &mut self.all[index];
            match found {
                None => outline.lost = Some(Lost::NotFound),
                Some(&parent) if self.admits.get(&parent).is_some_and(|admits| admits.admit(&reference, outline)) => {
                    outline.parent = Some(parent);
                }
                Some(_) => outline.lost = Some(Lost::NotShared),
            }
        }
        self.cut_cycles();
        for index in 0..self.all.len() {
            let worst = self.all[index].worst;
            let mut above = self.all[index].parent;
            while let Some(parent) = above.filter(|&parent| self.all[parent].worst > worst) {
                self.all[parent].worst = worst;
                above = self.all[parent].parent;
            }
        }
    }

    fn cut_cycles(&mut self) {
        const UNSEEN: usize = usize::MAX;
        let mut seen_from = vec![UNSEEN; self.all.len()];
        for start in 0..self.all.len() {
            let mut at = start;
            while seen_from[at] == UNSEEN {
                seen_from[at] = start;
                let Some(parent) = self.all[at].parent else { break };
                if seen_from[parent] == start {
                    self.all[at].parent = None;
                    self.all[at].lost = Some(Lost::Cycle);
                    break;
                }
                at = parent;
            }
        }
    }
}

impl Admits {
    fn admit(&self, reference: &Name, child: &Outline) -> bool {
        if *reference.namespace == *child.namespace {
            return true;
        }
        match self {
            Admits::None => false,
            Admits::All => true,
            Admits::Listed(children) => {
                children.contains(&(child.kind, child.namespace.to_string(), child.name.to_string()))
            }
        }
    }
}

fn admits(objective: &Brief<'_>) -> Admits {
    match objective.spec.allowed_namespaces.as_ref().and_then(|allowed| allowed.from).unwrap_or_default() {
        NamespacesFrom::Same => Admits::None,
        NamespacesFrom::All => Admits::All,
        NamespacesFrom::Selector => {
            let children = objective.status.iter().flat_map(|status| &status.children);
            Admits::Listed(
                children
                    .filter(|child| child.namespace != objective.metadata.namespace)
                    .map(|child| {
                        let is_objective = &*child.kind == Kind::Objective.name();
                        let kind = if is_objective { Kind::Objective } else { Kind::KeyResult };
                        (kind, child.namespace.to_string(), child.name.to_string())
                    })
                    .collect(),
            )
        }
    }
}

impl Outline {
    fn read(&mut self, brief: &Brief<'_>, gaps: &Gaps, moment: &mut Moment) {
        let standing = standing(brief, gaps, moment);
        let percent = |text: &Option<String>| text.as_deref().and_then(|text| text.parse::<f64>().ok());
        self.reference = brief.objective();
        self.okr_status = standing.okr_status;
        self.trouble = brief.status.as_ref().and_then(worst_trouble);
        self.gap = match (percent(&standing.expected), percent(&standing.progress)) {
            (Some(expected), Some(progress)) => expected - progress,
            _ => 0.0,
        };
        let by_status = rank(self.okr_status);
        let is_wrong = matches!(self.trouble, Some(TroubleKind::Failing | TroubleKind::Stale));
        let at_rest = matches!(self.okr_status, OkrStatus::Closed | OkrStatus::Postponed);
        self.rank = if is_wrong && !at_rest { by_status.min(2) } else { by_status };
        self.worst = self.rank;
    }

    /// Worst first: by rank, by the worst below, by gap, by name.
    fn before(&self, other: &Self) -> Ordering {
        (self.rank, self.worst)
            .cmp(&(other.rank, other.worst))
            .then(other.gap.total_cmp(&self.gap))
            .then_with(|| (&self.name, &self.namespace).cmp(&(&other.name, &other.namespace)))
    }

    fn row(&self, catalog: &dyn Catalog, connections: &Connections, asking: &Asking<'_>) -> Option<Row> {
        let json = match self.kind {
            Kind::Objective => catalog.objective(&self.namespace, &self.name),
            Kind::KeyResult => catalog.key_result(&self.namespace, &self.name),
        };
        // Deleted in between: the next look shows it no more.
        Some(Row::of(self.kind, &json?, connections, asking.visible, asking.gaps, asking.now))
    }
}

fn fits(outline: &Outline, brief: Option<&Brief<'_>>, filter: &Filter, text: Option<&str>) -> Fits {
    let Filter { namespace, owner, status, connection, text: _ } = filter;
    let title = brief.and_then(|brief| brief.spec.title.as_deref());
    let its_owner = brief.and_then(|brief| brief.spec.owner.as_deref());
    let has = |text: &str| {
        let texts = [Some(&*outline.name), title, its_owner];
        texts.into_iter().flatten().any(|part| part.to_lowercase().contains(text))
    };
    let fits = namespace.as_deref().is_none_or(|namespace| namespace == &*outline.namespace)
        && owner.as_deref().is_none_or(|owner| its_owner == Some(owner))
        && connection
            .as_ref()
            .is_none_or(|connection| brief.and_then(Brief::connection).is_some_and(|its| its == *connection))
        && text.is_none_or(has);
    let status_fits = match status {
        None => true,
        Some(StatusFilter::Status(status)) => {
            outline.trouble != Some(TroubleKind::Unreadable) && outline.okr_status == *status
        }
        Some(StatusFilter::Trouble(TroubleKind::Failing)) => is_failing(outline),
        Some(StatusFilter::Trouble(trouble)) => outline.trouble == Some(*trouble),
    };
    match (fits, status_fits) {
        (true, true) => Fits::Wholly,
        (true, false) => Fits::ButForStatus,
        (false, _) => Fits::No,
    }
}

/// Neither of the two gives a number.
fn is_failing(outline: &Outline) -> bool {
    matches!(outline.trouble, Some(TroubleKind::Failing | TroubleKind::Unreadable))
}

fn totals(all: &[Outline]) -> Totals {
    let mut totals = Totals::default();
    for outline in all.iter().filter(|outline| outline.fits != Fits::No) {
        match outline.kind {
            Kind::Objective => totals.objectives += 1,
            Kind::KeyResult => {
                totals.key_results += 1;
                if outline.trouble != Some(TroubleKind::Unreadable) {
                    *totals.by_status.entry(rank(outline.okr_status)).or_default() += 1;
                }
            }
        }
        totals.failing += usize::from(is_failing(outline));
        totals.stale += usize::from(outline.trouble == Some(TroubleKind::Stale));
    }
    totals
}

/// What is shown, each with its depth, and how many belong to each directly: objectives with what belongs to them,
/// then key results that belong to none.
fn tree(all: &[Outline]) -> (Vec<(usize, usize)>, Vec<Children>) {
    let mut shown = vec![false; all.len()];
    let mut children = vec![Children::default(); all.len()];
    let mut below: HashMap<Option<usize>, Vec<usize>> = HashMap::new();
    for (index, outline) in all.iter().enumerate() {
        if let Some(parent) = outline.parent {
            match outline.kind {
                Kind::Objective => children[parent].objectives += 1,
                Kind::KeyResult => children[parent].key_results += 1,
            }
        }
        let mut at = Some(index).filter(|_| outline.fits == Fits::Wholly);
        while let Some(index) = at.filter(|&index| !shown[index]) {
            shown[index] = true;
            below.entry(all[index].parent).or_default().push(index);
            at = all[index].parent;
        }
    }
    for siblings in below.values_mut() {
        siblings.sort_by(|&one, &other| all[one].before(&all[other]));
    }
    let (roots, loose): (Vec<usize>, Vec<usize>) =
        below.remove(&None).unwrap_or_default().into_iter().partition(|&root| all[root].kind == Kind::Objective);
    let mut lines = Vec::new();
    let mut pending: Vec<(usize, usize)> =
        loose.into_iter().rev().chain(roots.into_iter().rev()).map(|root| (root, 0)).collect();
    while let Some((index, depth)) = pending.pop() {
        lines.push((index, depth));
        let children = below.remove(&Some(index)).unwrap_or_default();
        pending.extend(children.into_iter().rev().map(|child| (child, depth + 1)));
    }
    (lines, children)
}

/// What stands above the first row of a page, from the top.
fn ancestors(all: &[Outline], first: Option<&(usize, usize)>) -> Vec<(usize, usize)> {
    let Some(&(first, depth)) = first else { return Vec::new() };
    let mut ancestors = Vec::new();
    let mut above = all[first].parent;
    while let Some(index) = above {
        ancestors.push(index);
        above = all[index].parent;
    }
    ancestors.reverse();
    debug_assert_eq!(ancestors.len(), depth);
    ancestors.into_iter().enumerate().map(|(depth, index)| (index, depth)).collect()
}
