//! Numbers for operators, in the text format that Prometheus reads (version 0.0.4).
//!
//! A registry of its own rather than a dependency: what is counted is known beforehand, a scrape is the only reader, and
//! labels must have a bound. Values come from enumerations, status codes and route templates; whatever would still go past
//! [`MAX_SERIES`] is counted under `other`. Counting takes no lock, and allocates only for a series that is new: it happens
//! with each request, whether anyone reads it or not. It deliberately lacks anything that a client chose: names, addresses, ids.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use serde::Deserialize;

/// The content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The most series of one metric.
const MAX_SERIES: usize = 512;
/// Places for them, a power of two: twice as many, so that few meet.
const PLACES: usize = 2 * MAX_SERIES;

/// Upper bounds of a histogram's buckets, in seconds: from an answer out of memory to the longest wait for the worker.
const BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// `[metrics]`
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsSection {
    /// The loopback addresses on which `/metrics` is served, over plain HTTP; none: it is not served.
    pub listen: Vec<SocketAddr>,
}

impl MetricsSection {
    /// Whether it can be served.
    ///
    /// # Errors
    /// When an address is not a loopback one.
    pub fn check(&self) -> Result<(), String> {
        match self.listen.iter().find(|address| !address.ip().is_loopback()) {
            None => Ok(()),
            Some(address) => Err(format!(
                "metrics.listen has {address}, but metrics are served over plain HTTP on loopback only (hint: 127.0.0.1, and let the site's scraper run on this host)"
            )),
        }
    }
}

/// How many connections read metrics at a time.
pub const SCRAPERS: u32 = 8;

/// What a metric is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// It only grows; a restart begins at 0.
    Counter,
    /// What is so at the scrape.
    Gauge,
    /// How long things took, in seconds.
    Histogram,
}

/// A metric as it is declared.
#[derive(PartialEq, Eq, Debug)]
pub struct Metric {
    /// Its name, with the unit at its end.
    pub name: &'static str,
    /// What a person reads about it.
    pub help: &'static str,
    /// What it is.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
}

impl Metric {
    /// What only grows.
    pub const fn counter(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self { name, help, kind: Kind::Counter, labels }
    }

    /// What is so at the scrape.
    pub const fn gauge(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self { name, help, kind: Kind::Gauge, labels }
    }

    /// How long things took.
    pub const fn histogram(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self { name, help, kind: Kind::Histogram, labels }
    }

    /// The requests of a service over HTTP.
    pub const fn requests(name: &'static str) -> Self {
        Self::counter(name, "Requests by route template and HTTP status.", &["route", "status"])
    }

    /// How long they took.
    pub const fn request_seconds(name: &'static str) -> Self {
        Self::histogram(name, "How long requests took until their answer was ready.", &["route"])
    }

    /// Which version runs.
    pub const fn version(name: &'static str) -> Self {
        Self::gauge(name, "1, with the version that runs.", &["version"])
    }
}

/// One combination of label values.
struct Series {
    labels: Box<[Box<str>]>,
    /// A counter's count; a gauge's value, as the bits of an f64; the sum of a histogram, in nanoseconds.
    value: AtomicU64,
    /// How many observations fell into each bucket, and into none; empty but for a histogram.
    buckets: Box<[AtomicU64]>,
}

impl Series {
    fn new(metric: &Metric, labels: &[&str]) -> Box<Self> {
        let buckets = if metric.kind == Kind::Histogram { BUCKETS.len() + 1 } else { 0 };
        Box::new(Self {
            labels: labels.iter().map(|label| (*label).into()).collect(),
            value: AtomicU64::new(0),
            buckets: (0..buckets).map(|_| AtomicU64::new(0)).collect(),
        })
    }

    fn is(&self, labels: &[&str]) -> bool {
        self.labels.iter().map(|label| &**label).eq(labels.iter().copied())
    }
}

/// The series of one metric: a table with open addressing, of which a place once taken never changes. So a series that is
/// there is found without a lock, and only a new one is allocated.
struct Family {
    metric: &'static Metric,
    places: Box<[OnceLock<Box<Series>>]>,
    taken: AtomicUsize,
    /// What goes past the bound.
    other: OnceLock<Box<Series>>,
}

impl Family {
    fn new(metric: &'static Metric) -> Self {
        let places = if metric.labels.is_empty() { 1 } else { PLACES };
        Self { metric, places: (0..places).map(|_| OnceLock::new()).collect(), taken: AtomicUsize::new(0), other: OnceLock::new() }
    }

    fn series(&self, labels: &[&str]) -> &Series {
        let mask = self.places.len() - 1;
        let mut at = hash(labels) & mask;
        // More places than series, so that the walk ends at a free one.
        loop {
            let place = &self.places[at];
            let found = match place.get() {
                Some(series) => series,
                None if self.taken.fetch_add(1, Ordering::Relaxed) >= MAX_SERIES => {
                    self.taken.fetch_sub(1, Ordering::Relaxed);
                    return self.other.get_or_init(|| Series::new(self.metric, &vec!["other"; labels.len()]));
                }
                None => {
                    let mut was_free = false;
                    let series = place.get_or_init(|| {
                        was_free = true;
                        Series::new(self.metric, labels)
                    });
                    if !was_free {
                        // Another was quicker with this place.
                        self.taken.fetch_sub(1, Ordering::Relaxed);
                    }
                    series
                }
            };
            if found.is(labels) {
                return found;
            }
            at = (at + 1) & mask;
        }
    }

    /// Every series, by label values.
    fn all(&self) -> Vec<&Series> {
        let mut all: Vec<&Series> =
            self.places.iter().chain([&self.other]).filter_map(|place| place.get().map(|series| &**series)).collect();
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        all
    }
}

/// FNV-1a. Clients choose no label, so that nobody can aim at one place.
fn hash(labels: &[&str]) -> usize {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for octet in labels.iter().flat_map(|label| label.bytes().chain([0xff])) {
        hash = (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3);
    }
    // The low half is what is used; the high half is mixed into it.
    (hash ^ (hash >> 32)) as usize
}

/// What a process counts: of the metrics that it was made with.
pub struct Metrics(Vec<Family>);

impl Metrics {
    /// Counts these, in a scrape by name.
    pub fn new(metrics: &[&'static Metric]) -> Self {
        let mut families: Vec<Family> = metrics.iter().map(|metric| Family::new(metric)).collect();
        families.sort_by_key(|family| family.metric.name);
        Self(families)
    }

    /// Counts one more.
    pub fn count(&self, metric: &'static Metric, labels: &[&str]) {
        if let Some(series) = self.series(metric, labels) {
            series.value.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Shows a series from now on, at 0 until something is counted: so that a scrape sees the first one come.
    pub fn declare(&self, metric: &'static Metric, labels: &[&str]) {
        let _ = self.series(metric, labels);
    }

    /// Says what is so now; of a counter, how far another one has counted.
    pub fn set(&self, metric: &'static Metric, labels: &[&str], value: f64) {
        if let Some(series) = self.series(metric, labels) {
            let stored = if metric.kind == Kind::Counter { value as u64 } else { value.to_bits() };
            series.value.store(stored, Ordering::Relaxed);
        }
    }

    /// Shows a gauge's series no longer, until it is set again.
    pub fn unset(&self, metric: &'static Metric, labels: &[&str]) {
        self.set(metric, labels, f64::NAN);
    }

    /// Adds how long something took.
    pub fn observe(&self, metric: &'static Metric, labels: &[&str], took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len());
        if let Some(series) = self.series(metric, labels)
            && let Some(bucket) = series.buckets.get(bucket)
        {
            series.value.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn series(&self, metric: &'static Metric, labels: &[&str]) -> Option<&Series> {
        debug_assert_eq!(labels.len(), metric.labels.len(), "{}", metric.name);
        let family = self.0.iter().find(|family| std::ptr::eq(family.metric, metric));
        debug_assert!(family.is_some(), "{} is not among this process's metrics", metric.name);
        family.map(|family| family.series(labels))
    }

    /// Everything that was counted, as a scrape reads it.
    pub fn render(&self) -> String {
        let mut out = String::new();
        for family in &self.0 {
            let (metric, mut all) = (family.metric, family.all());
            all.retain(|series| metric.kind != Kind::Gauge || !f64::from_bits(series.value.load(Ordering::Relaxed)).is_nan());
            if all.is_empty() {
                continue;
            }
            let kind = match metric.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let name = metric.name;
            let _ = writeln!(out, "# HELP {name} {}\n# TYPE {name} {kind}", metric.help);
            for series in all {
                let labels = metric.labels.iter().zip(&series.labels).map(|(name, value)| format!("{name}=\"{}\"", escaped(value)));
                let labels: Vec<String> = labels.collect();
                let value = series.value.load(Ordering::Relaxed);
                match metric.kind {
                    Kind::Counter => line(&mut out, name, &labels, value as f64),
                    Kind::Gauge => line(&mut out, name, &labels, f64::from_bits(value)),
                    Kind::Histogram => histogram(&mut out, name, &labels, series),
                }
            }
        }
        out
    }
}

fn line(out: &mut String, name: &str, labels: &[String], value: f64) {
    // Writing to a String does not fail.
    let _ = match labels {
        [] => writeln!(out, "{name} {value}"),
        labels => writeln!(out, "{name}{{{}}} {value}", labels.join(",")),
    };
}

fn histogram(out: &mut String, name: &str, labels: &[String], series: &Series) {
    let bounds = BUCKETS.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
    let mut total = 0u64;
    for (bound, count) in bounds.zip(&series.buckets) {
        total += count.load(Ordering::Relaxed);
        let labels = [labels, &[format!("le=\"{bound}\"")]].concat();
        line(out, &format!("{name}_bucket"), &labels, total as f64);
    }
    line(out, &format!("{name}_sum"), labels, Duration::from_nanos(series.value.load(Ordering::Relaxed)).as_secs_f64());
    line(out, &format!("{name}_count"), labels, total as f64);
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    static REQUESTS: Metric = Metric::counter("requests_total", "Requests.", &["route", "status"]);
    static WAIT: Metric = Metric::gauge("wait_seconds", "The wait.", &[]);
    static TOOK: Metric = Metric::histogram("took_seconds", "How long.", &["route"]);

    #[test]
    fn what_is_so_no_longer_is_not_shown() {
        let metrics = Metrics::new(&[&WAIT]);
        metrics.set(&WAIT, &[], 2.0);
        metrics.unset(&WAIT, &[]);
        assert_eq!(metrics.render(), "");
        metrics.set(&WAIT, &[], 3.0);
        assert!(metrics.render().ends_with("wait_seconds 3\n"));
    }

    #[test]
    fn what_is_counted_is_rendered() {
        let metrics = Metrics::new(&[&WAIT, &TOOK, &REQUESTS]);
        metrics.count(&REQUESTS, &["/a", "200"]);
        metrics.count(&REQUESTS, &["/a", "200"]);
        metrics.count(&REQUESTS, &["quote\" back\\ line\n", "404"]);
        metrics.set(&WAIT, &[], 2.0);
        metrics.set(&WAIT, &[], 1.5);
        metrics.observe(&TOOK, &["/a"], Duration::from_millis(2));
        metrics.observe(&TOOK, &["/a"], Duration::from_secs(60));
        let text = metrics.render();
        for expected in [
            "# HELP requests_total Requests.\n# TYPE requests_total counter\nrequests_total{route=\"/a\",status=\"200\"} 2\n",
            "requests_total{route=\"quote\\\" back\\\\ line\\n\",status=\"404\"} 1\n",
            "# TYPE wait_seconds gauge\nwait_seconds 1.5\n",
            "# TYPE took_seconds histogram\ntook_seconds_bucket{route=\"/a\",le=\"0.001\"} 0\ntook_seconds_bucket{route=\"/a\",le=\"0.0025\"} 1\n",
            "took_seconds_bucket{route=\"/a\",le=\"30\"} 1\ntook_seconds_bucket{route=\"/a\",le=\"+Inf\"} 2\n",
            "took_seconds_sum{route=\"/a\"} 60.002\ntook_seconds_count{route=\"/a\"} 2\n",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
    }

    #[test]
    fn the_number_of_series_is_bounded() {
        let metrics = Metrics::new(&[&REQUESTS]);
        for i in 0..MAX_SERIES * 3 {
            metrics.count(&REQUESTS, &[&i.to_string(), "200"]);
        }
        let text = metrics.render();
        assert_eq!(text.lines().filter(|line| line.starts_with("requests_total{")).count(), MAX_SERIES + 1);
        assert!(text.contains(&format!("requests_total{{route=\"other\",status=\"other\"}} {}\n", MAX_SERIES * 2)), "{text}");
    }

    #[test]
    fn threads_that_meet_at_a_new_series_lose_no_count() {
        const THREADS: usize = 8;
        let metrics = Metrics::new(&[&REQUESTS, &TOOK]);
        let barrier = std::sync::Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    barrier.wait();
                    for i in 0..1000u32 {
                        metrics.count(&REQUESTS, &[&(i % 50).to_string(), "200"]);
                        metrics.observe(&TOOK, &["/a"], Duration::from_millis(1));
                    }
                });
            }
        });
        let text = metrics.render();
        for i in 0..50 {
            assert!(text.contains(&format!("requests_total{{route=\"{i}\",status=\"200\"}} {}\n", THREADS * 20)), "{text}");
        }
        assert_eq!(text.lines().filter(|line| line.starts_with("requests_total{")).count(), 50);
        assert!(text.contains("took_seconds_sum{route=\"/a\"} 8\n") && text.contains("took_seconds_count{route=\"/a\"} 8000\n"), "{text}");
    }
}
