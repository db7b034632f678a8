//! Metrics: ids belong to a VM, values to the whole process.
//!
//! Source: Envoy `source/extensions/common/wasm/context.cc` (`defineMetric` and on) and `wasm.h` (ids). The low two bits
//! of an id are its type, and defining a name again gives another id for the same value.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::abi::{Answer, MetricType, Status};

const TYPE_BITS: u32 = 0b11;
const ID_STEP: u32 = 0b100;

/// The values, which all VMs share.
#[derive(Debug, Clone, Default)]
pub(super) struct Metrics {
    values: BTreeMap<(MetricType, String), u64>,
    histograms: BTreeMap<String, Histogram>,
}

/// The ids that one VM was given.
#[derive(Debug, Clone, Default)]
pub(super) struct MetricIds {
    names: BTreeMap<u32, String>,
    defined: [u32; 3],
    /// Hash of the names, in order.
    digest: u64,
}

/// What was recorded in a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Histogram {
    /// How many values.
    pub count: u64,
    /// Their sum, wrapping.
    pub sum: u64,
    /// The smallest; 0 when there is none.
    pub min: u64,
    /// The largest.
    pub max: u64,
}

// === impl Metrics ===

impl Metrics {
    /// Adds to a counter or gauge.
    pub(super) fn increment(&mut self, ids: &MetricIds, id: u32, offset: i64) -> Answer {
        let kind = kind(id)?;
        if kind == MetricType::Histogram {
            return Err(Status::BadArgument);
        }
        let value = self.value_mut(ids, kind, id)?;
        if kind == MetricType::Counter && offset <= 0 {
            return Err(Status::BadArgument);
        }
        *value = value.wrapping_add_signed(offset);
        Ok(())
    }

    /// Adds to a counter, sets a gauge, records in a histogram.
    pub(super) fn record(&mut self, ids: &MetricIds, id: u32, value: u64) -> Answer {
        // An id of no type is not found here, unlike everywhere else.
        let kind = kind(id).map_err(|_| Status::NotFound)?;
        match kind {
            MetricType::Counter => {
                let counter = self.value_mut(ids, kind, id)?;
                *counter = counter.wrapping_add(value);
            }
            MetricType::Gauge => *self.value_mut(ids, kind, id)? = value,
            MetricType::Histogram => {
                let name = ids.names.get(&id).ok_or(Status::NotFound)?;
                self.histograms.entry(name.clone()).or_default().record(value);
            }
        }
        Ok(())
    }

    /// Reads a counter or gauge.
    pub(super) fn get(&self, ids: &MetricIds, id: u32) -> Answer<u64> {
        let kind = kind(id)?;
        if kind == MetricType::Histogram {
            return Err(Status::BadArgument);
        }
        let name = ids.names.get(&id).ok_or(Status::NotFound)?;
        Ok(self.values.get(&(kind, name.clone())).copied().unwrap_or(0))
    }

    /// Adds one to a counter of the host's own.
    pub(super) fn count(&mut self, name: &str) {
        *self.values.entry((MetricType::Counter, name.to_owned())).or_default() += 1;
    }

    /// The counter or else the gauge of this name.
    pub(super) fn by_name(&self, name: &str) -> Option<u64> {
        [MetricType::Counter, MetricType::Gauge]
            .into_iter()
            .find_map(|kind| self.values.get(&(kind, name.to_owned())).copied())
    }

    /// Counters and gauges by name; a counter hides a gauge of the same name.
    pub(super) fn all(&self) -> BTreeMap<String, u64> {
        // In the order of the types, counters come first; the reverse lets them win.
        self.values.iter().rev().map(|((_, name), value)| (name.clone(), *value)).collect()
    }

    /// The histogram of this name.
    pub(super) fn histogram(&self, name: &str) -> Option<Histogram> {
        self.histograms.get(name).copied()
    }

    fn value_mut(&mut self, ids: &MetricIds, kind: MetricType, id: u32) -> Answer<&mut u64> {
        let name = ids.names.get(&id).ok_or(Status::NotFound)?;
        Ok(self.values.entry((kind, name.clone())).or_default())
    }

    /// Defines a metric for a VM and gives its id.
    pub(super) fn define(&mut self, ids: &mut MetricIds, kind: MetricType, name: &str) -> u32 {
        if kind != MetricType::Histogram {
            self.values.entry((kind, name.to_owned())).or_default();
        }
        ids.define(kind, name)
    }
}

// === impl MetricIds ===

impl MetricIds {
    fn define(&mut self, kind: MetricType, name: &str) -> u32 {
        let defined = &mut self.defined[kind as usize];
        *defined += 1;
        let id = *defined * ID_STEP + kind as u32;
        self.names.insert(id, name.to_owned());
        self.digest = xxh3_64_with_seed(name.as_bytes(), self.digest ^ u64::from(id));
        id
    }

    /// What was defined, in few bits.
    pub(super) fn digest(&self) -> u64 {
        self.digest
    }
}

// === impl Histogram ===

impl Histogram {
    fn record(&mut self, value: u64) {
        self.min = if self.count == 0 { value } else { self.min.min(value) };
        self.max = self.max.max(value);
        self.count += 1;
        self.sum = self.sum.wrapping_add(value);
    }
}

fn kind(id: u32) -> Answer<MetricType> {
    MetricType::try_from(id & TYPE_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_start_at_four_five_and_six_and_grow_by_four() {
        let (mut metrics, mut ids) = (Metrics::default(), MetricIds::default());
        assert_eq!(metrics.define(&mut ids, MetricType::Counter, "a"), 4);
        assert_eq!(metrics.define(&mut ids, MetricType::Gauge, "b"), 5);
        assert_eq!(metrics.define(&mut ids, MetricType::Histogram, "c"), 6);
        assert_eq!(metrics.define(&mut ids, MetricType::Counter, "a"), 8);
    }

    #[test]
    fn a_name_that_is_defined_again_is_the_same_value() {
        let (mut metrics, mut first, mut second) =
            (Metrics::default(), MetricIds::default(), MetricIds::default());
        let one = metrics.define(&mut first, MetricType::Counter, "a");
        let two = metrics.define(&mut second, MetricType::Counter, "a");
        metrics.increment(&first, one, 2).unwrap();
        metrics.increment(&second, two, 3).unwrap();
        assert_eq!(metrics.get(&first, one), Ok(5));
        assert_eq!(metrics.by_name("a"), Some(5));
    }

    #[test]
    fn statuses_are_those_of_envoy() {
        let (mut metrics, mut ids) = (Metrics::default(), MetricIds::default());
        let counter = metrics.define(&mut ids, MetricType::Counter, "c");
        let gauge = metrics.define(&mut ids, MetricType::Gauge, "g");
        let histogram = metrics.define(&mut ids, MetricType::Histogram, "h");
        assert_eq!(metrics.increment(&ids, counter, 0), Err(Status::BadArgument));
        assert_eq!(metrics.increment(&ids, counter, -1), Err(Status::BadArgument));
        assert_eq!(metrics.increment(&ids, histogram, 1), Err(Status::BadArgument));
        assert_eq!(metrics.get(&ids, histogram), Err(Status::BadArgument));
        assert_eq!(metrics.get(&ids, 7), Err(Status::BadArgument));
        assert_eq!(metrics.record(&ids, 7, 1), Err(Status::NotFound));
        assert_eq!(metrics.increment(&ids, 400, 1), Err(Status::NotFound));
        assert_eq!(metrics.increment(&ids, gauge, 5), Ok(()));
        assert_eq!(metrics.increment(&ids, gauge, -2), Ok(()));
        assert_eq!(metrics.get(&ids, gauge), Ok(3));
        assert_eq!(metrics.record(&ids, gauge, 9), Ok(()));
        assert_eq!(metrics.record(&ids, counter, 9), Ok(()));
        assert_eq!((metrics.by_name("g"), metrics.by_name("c")), (Some(9), Some(9)));
    }

    #[test]
    fn a_histogram_keeps_count_sum_and_bounds() {
        let (mut metrics, mut ids) = (Metrics::default(), MetricIds::default());
        let id = metrics.define(&mut ids, MetricType::Histogram, "h");
        for value in [7, 3, 5] {
            metrics.record(&ids, id, value).unwrap();
        }
        assert_eq!(metrics.histogram("h"), Some(Histogram { count: 3, sum: 15, min: 3, max: 7 }));
    }
}
