//! Where the figures live: one atomic cell a series, all of them made when the process starts.
//!
//! Handles are the `metrics` crate's. The cells are ours because the exporter's histogram keeps every sample, in blocks that
//! it allocates, until somebody scrapes; the engine thread must not allocate, and nothing may grow. Counters of seconds are
//! kept as whole microseconds, since a `metrics` counter is an integer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, Label};
use parking_lot::Mutex;

use super::labels::{Labels, Pair};

/// What kind of figure a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

/// What a metric counts. The name ends accordingly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Seconds,
    /// Seconds since 1970.
    Timestamp,
    Bytes,
    Ratio,
    Watts,
    Celsius,
    /// Things, named in the plural as the metric's name has it.
    Of(&'static str),
    /// 1 for what is, 0 for what is not.
    State,
    /// Always 1; the labels are the message.
    Info,
}

/// One entry of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: MetricKind,
    pub unit: Unit,
    pub help: &'static str,
    /// Upper bounds, ascending; empty unless the kind is a histogram.
    pub buckets: &'static [f64],
    /// Label pairs of every series (one empty list when there are none).
    pub labels: fn() -> Vec<Vec<Pair>>,
    /// Why no panel shows it; none when one does.
    pub hidden: Option<&'static str>,
}

/// The value of one series.
pub(super) enum Cell {
    Counter(Arc<AtomicU64>),
    /// Microseconds.
    SecondsCounter(Arc<AtomicU64>),
    /// Bits of an `f64`.
    Gauge(Arc<AtomicU64>),
    Histogram(Arc<Buckets>),
}

/// One series: its metric, its name with labels, its value.
pub(super) struct Series {
    pub metric: &'static Metric,
    pub key: Key,
    pub cell: Cell,
}

/// All series of the process.
#[derive(Clone, Default)]
pub(super) struct Store {
    series: Arc<Mutex<Vec<Series>>>,
}

impl Store {
    fn add(&self, metric: &'static Metric, labels: &[Pair], cell: Cell) {
        let labels: Vec<Label> = labels
            .iter()
            .map(|(k, v)| Label::new(*k, v.to_string()))
            .collect();
        let key = Key::from_parts(metric.name, labels);
        self.series.lock().push(Series { metric, key, cell });
    }

    /// Calls `f` with every series, in the order they were made.
    pub(super) fn each(&self, f: impl FnMut(&Series)) {
        self.series.lock().iter().for_each(f);
    }
}

/// A histogram with fixed bounds. Recording is a few atomic additions.
pub(super) struct Buckets {
    pub bounds: &'static [f64],
    /// One more than `bounds`: the last is for what exceeds them all. Not cumulative.
    pub counts: Box<[AtomicU64]>,
    /// Bits of an `f64`.
    sum: AtomicU64,
}

impl Buckets {
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }

    pub(super) fn sum(&self) -> f64 {
        f64::from_bits(self.sum.load(Relaxed))
    }
}

impl HistogramFn for Buckets {
    fn record(&self, value: f64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.counts[at].fetch_add(1, Relaxed);
        // The update closure always returns a value, so this cannot fail.
        let _ = self.sum.fetch_update(Relaxed, Relaxed, |sum| {
            Some((f64::from_bits(sum) + value).to_bits())
        });
    }
}

/// A counter of seconds.
#[derive(Clone, Debug)]
pub struct SecondsCounter(Counter);

impl SecondsCounter {
    /// Adds `time`, to the microsecond.
    pub fn add(&self, time: Duration) {
        self.0
            .increment(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Adds the length of `samples` at `rate` Hz.
    pub fn add_samples(&self, samples: usize, rate: u32) {
        self.0
            .increment(samples as u64 * 1_000_000 / u64::from(rate.max(1)));
    }

    /// Sets the total, when another party does the counting.
    pub(super) fn set_total(&self, time: Duration) {
        self.0
            .absolute(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }
}

/// What a field of an area can be: a handle, or a handle for each label value.
pub(super) trait Instrument: Clone {
    const KIND: MetricKind;
    /// Makes the series, all at zero.
    fn register(store: &Store, metric: &'static Metric, base: &[Pair]) -> Self;
    /// The label pairs of every series.
    fn labels() -> Vec<Vec<Pair>> {
        vec![Vec::new()]
    }
}

impl Instrument for Counter {
    const KIND: MetricKind = MetricKind::Counter;
    fn register(store: &Store, metric: &'static Metric, base: &[Pair]) -> Self {
        let cell = Arc::new(AtomicU64::new(0));
        store.add(metric, base, Cell::Counter(cell.clone()));
        Self::from_arc(cell)
    }
}

impl Instrument for SecondsCounter {
    const KIND: MetricKind = MetricKind::Counter;
    fn register(store: &Store, metric: &'static Metric, base: &[Pair]) -> Self {
        let cell = Arc::new(AtomicU64::new(0));
        store.add(metric, base, Cell::SecondsCounter(cell.clone()));
        Self(Counter::from_arc(cell))
    }
}

impl Instrument for Gauge {
    const KIND: MetricKind = MetricKind::Gauge;
    fn register(store: &Store, metric: &'static Metric, base: &[Pair]) -> Self {
        let cell = Arc::new(AtomicU64::new(0));
        store.add(metric, base, Cell::Gauge(cell.clone()));
        Self::from_arc(cell)
    }
}

impl Instrument for Histogram {
    const KIND: MetricKind = MetricKind::Histogram;
    fn register(store: &Store, metric: &'static Metric, base: &[Pair]) -> Self {
        let cell = Arc::new(Buckets::new(metric.buckets));
        store.add(metric, base, Cell::Histogram(cell.clone()));
        Self::from_arc(cell)
    }
}

/// One handle for each value of a closed label set.
#[derive(Clone)]
pub struct Family<H, L> {
    handles: Arc<[H]>,
    labels: std::marker::PhantomData<fn(L)>,
}

impl<H, L: Labels> Family<H, L> {
    /// The handle of `labels`. No lookup by name, no allocation.
    pub fn of(&self, labels: L) -> &H {
        &self.handles[labels.index()]
    }

    /// Replaces the handle of `labels`.
    pub(super) fn replace(&mut self, labels: L, with: impl FnOnce(&H) -> H)
    where
        H: Clone,
    {
        let mut handles = self.handles.to_vec();
        handles[labels.index()] = with(&handles[labels.index()]);
        self.handles = handles.into();
    }
}

impl<H: Instrument, L: Labels + Clone> Instrument for Family<H, L> {
    const KIND: MetricKind = H::KIND;
    fn register(store: &Store, metric: &'static Metric, base: &[Pair]) -> Self {
        let handles = L::all()
            .into_iter()
            .map(|labels| H::register(store, metric, &[base, &labels].concat()))
            .collect();
        Self {
            handles,
            labels: std::marker::PhantomData,
        }
    }

    fn labels() -> Vec<Vec<Pair>> {
        L::all()
    }
}

/// Declares one area: the struct of handles and its part of the catalogue, from the same lines.
macro_rules! area {
    (
        $(#[$doc:meta])* $area:ident {
            $($field:ident : $ty:ty = $name:literal, $unit:expr $(, in $buckets:expr)?, $help:literal $(, hidden $why:literal)?;)+
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $area { $(#[doc = $help] pub $field: $ty,)+ }

        impl $area {
            /// This area's part of the catalogue.
            pub const CATALOGUE: &'static [Metric] =
                &[$(area!(@entry $ty, $name, $unit, [$($buckets)?], $help, [$($why)?])),+];

            /// Field names, in the order of the catalogue.
            pub const FIELDS: &'static [&'static str] = &[$(stringify!($field)),+];

            pub(super) fn register(store: &Store, base: &[Pair]) -> Self {
                Self {
                    $($field: {
                        const METRIC: &Metric = &area!(@entry $ty, $name, $unit, [$($buckets)?], $help, [$($why)?]);
                        <$ty as Instrument>::register(store, METRIC, base)
                    },)+
                }
            }
        }
    };
    (@entry $ty:ty, $name:literal, $unit:expr, [$($buckets:expr)?], $help:literal, [$($why:literal)?]) => {
        Metric {
            name: $name,
            kind: <$ty as Instrument>::KIND,
            unit: $unit,
            help: $help,
            buckets: area!(@or &[] $(, $buckets)?),
            labels: <$ty as Instrument>::labels,
            hidden: area!(@or None $(, Some($why))?),
        }
    };
    (@or $default:expr) => { $default };
    (@or $default:expr, $value:expr) => { $value };
}
pub(super) use area;
