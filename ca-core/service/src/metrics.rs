//! Numbers for operators, in the text format that Prometheus reads (version 0.0.4).
//!
//! A registry of its own rather than a dependency: what is counted is known beforehand, a scrape is the only reader, and
//! labels must have a bound. Values come from enumerations, status codes and route templates; whatever would still go past
//! [`MAX_SERIES`] is counted under `other`. It deliberately lacks anything that a client chose: names, addresses, ids.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;

/// The content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The most series of one metric.
const MAX_SERIES: usize = 512;

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

#[derive(Default)]
struct Series {
    /// A counter's or gauge's value; the sum of a histogram, in seconds.
    value: f64,
    /// How many observations fell into each bucket, and into none.
    buckets: [u64; BUCKETS.len() + 1],
}

struct Family {
    metric: &'static Metric,
    series: BTreeMap<Vec<String>, Series>,
}

/// What a process counts.
#[derive(Default)]
pub struct Metrics(Mutex<BTreeMap<&'static str, Family>>);

impl Metrics {
    /// Counts one more.
    pub fn count(&self, metric: &'static Metric, labels: &[&str]) {
        self.change(metric, labels, |series| series.value += 1.0);
    }

    /// Shows a series from now on, at 0 until something is counted: so that a scrape sees the first one come.
    pub fn declare(&self, metric: &'static Metric, labels: &[&str]) {
        self.change(metric, labels, |_| {});
    }

    /// Says what is so now.
    pub fn set(&self, metric: &'static Metric, labels: &[&str], value: f64) {
        self.change(metric, labels, |series| series.value = value);
    }

    /// Adds how long something took.
    pub fn observe(&self, metric: &'static Metric, labels: &[&str], took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len());
        self.change(metric, labels, |series| {
            series.value += seconds;
            series.buckets[bucket] += 1;
        });
    }

    fn families(&self) -> MutexGuard<'_, BTreeMap<&'static str, Family>> {
        // Whoever panicked while holding it had at most not counted.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, metric: &'static Metric, labels: &[&str], change: impl FnOnce(&mut Series)) {
        debug_assert_eq!(labels.len(), metric.labels.len(), "{}", metric.name);
        let mut families = self.families();
        let series = &mut families.entry(metric.name).or_insert_with(|| Family { metric, series: BTreeMap::new() }).series;
        let mut key: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        if series.len() >= MAX_SERIES && !series.contains_key(&key) {
            key = vec!["other".to_owned(); labels.len()];
        }
        change(series.entry(key).or_default());
    }

    /// Everything, as a scrape reads it.
    pub fn render(&self) -> String {
        let mut out = String::new();
        for (name, Family { metric, series }) in self.families().iter() {
            let kind = match metric.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let _ = writeln!(out, "# HELP {name} {}\n# TYPE {name} {kind}", metric.help);
            for (values, series) in series {
                let labels: Vec<String> =
                    metric.labels.iter().zip(values).map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
                match metric.kind {
                    Kind::Counter | Kind::Gauge => line(&mut out, name, &labels, series.value),
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
    for (bound, count) in bounds.zip(series.buckets) {
        total += count;
        let labels = [labels, &[format!("le=\"{bound}\"")]].concat();
        line(out, &format!("{name}_bucket"), &labels, total as f64);
    }
    line(out, &format!("{name}_sum"), labels, series.value);
    line(out, &format!("{name}_count"), labels, total as f64);
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    static REQUESTS: Metric = Metric { name: "requests_total", help: "Requests.", kind: Kind::Counter, labels: &["route", "status"] };
    static WAIT: Metric = Metric { name: "wait_seconds", help: "The wait.", kind: Kind::Gauge, labels: &[] };
    static TOOK: Metric = Metric { name: "took_seconds", help: "How long.", kind: Kind::Histogram, labels: &["route"] };

    #[test]
    fn what_is_counted_is_rendered() {
        let metrics = Metrics::default();
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
        let metrics = Metrics::default();
        for i in 0..MAX_SERIES * 3 {
            metrics.count(&REQUESTS, &[&i.to_string(), "200"]);
        }
        let text = metrics.render();
        assert_eq!(text.lines().filter(|line| line.starts_with("requests_total{")).count(), MAX_SERIES + 1);
        assert!(text.contains(&format!("requests_total{{route=\"other\",status=\"other\"}} {}\n", MAX_SERIES * 2)), "{text}");
    }
}
