//! Patterns over URIs: scheme, host and port as they are, the path by segments.

use std::fmt;

use crate::pki::UriName;

/// `https://HOST/a/*/b`: a `*` is exactly one path segment that is not empty. Nothing else is left open: a URI with a
/// query is covered only by a pattern with the same.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct UriPattern {
    origin: String,
    segments: Vec<String>,
    query: Option<String>,
}

impl UriPattern {
    /// Reads a pattern; none where the text is none. A `*` stands as a whole path segment, or nowhere.
    pub(super) fn parse(text: &str) -> Option<Self> {
        // With a letter in each star's place it must be a URI.
        let (path, query) = text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)));
        // Host and trust domain are never left open.
        if path.split('/').take(3).any(|before_the_path| before_the_path.contains('*')) {
            return None;
        }
        let model: Vec<&str> = path.split('/').map(|s| if s == "*" { "x" } else { s }).collect();
        let model = model.join("/");
        if model.contains('*') || query.is_some_and(|q| q.contains('*')) {
            return None;
        }
        let uri = UriName::parse(&query.map_or(model.clone(), |q| format!("{model}?{q}"))).ok()?;
        let (parsed_path, _) = uri.path_and_query();
        // The path is never folded: its segments are those of the text.
        let segments: Vec<_> = path.rsplit('/').take(parsed_path.matches('/').count()).map(str::to_owned).collect();
        Some(Self { origin: uri.origin().to_owned(), segments: segments.into_iter().rev().collect(), query: query.map(str::to_owned) })
    }

    /// Whether the pattern covers `uri`.
    pub(super) fn covers(&self, uri: &UriName) -> bool {
        let (path, query) = uri.path_and_query();
        let mut segments = path.split('/').skip(1);
        let path_fits = self.segments.iter().all(|s| segments.next().is_some_and(|t| s == t || s == "*" && !t.is_empty()));
        uri.origin() == self.origin && query == self.query.as_deref() && path_fits && segments.next().is_none()
    }

    /// Whether everything that this pattern covers is covered by `outer`.
    pub(super) fn is_within(&self, outer: &Self) -> bool {
        let path_fits = self.segments.len() == outer.segments.len()
            && self.segments.iter().zip(&outer.segments).all(|(i, o)| i == o || o == "*" && !i.is_empty());
        self.origin == outer.origin && self.query == outer.query && path_fits
    }

    /// The URI that it covers, where it has no star.
    pub(super) fn only_uri(&self) -> Option<UriName> {
        if self.segments.iter().any(|s| s == "*") { None } else { UriName::parse(&self.to_string()).ok() }
    }
}

impl fmt::Display for UriPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)?;
        self.segments.iter().try_for_each(|segment| write!(f, "/{segment}"))?;
        self.query.iter().try_for_each(|query| write!(f, "?{query}"))
    }
}
