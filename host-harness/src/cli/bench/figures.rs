//! Figures of a benchmark: one value for each round, and their median.
//!
//! Two contenders are compared round by round, because a round takes little time and the machine is the same for both in
//! it; the median of those ratios is not the ratio of the medians.

use std::time::Duration;

use serde::Serialize;

/// One thing measured once a round.
#[derive(Debug, Default, Clone, PartialEq, Serialize)]
pub(super) struct Figure {
    pub(super) median: f64,
    /// In the order of the rounds.
    pub(super) rounds: Vec<f64>,
}

impl Figure {
    pub(super) fn new(rounds: Vec<f64>) -> Self {
        Self { median: median(&rounds), rounds }
    }

    pub(super) fn push(&mut self, value: f64) {
        self.rounds.push(value);
        self.median = median(&self.rounds);
    }

    /// How many times as much as another it was, round by round.
    pub(super) fn of(&self, other: &Self) -> Self {
        self.pairs(other, |own, other| own / other)
    }

    /// How much more than another it was, round by round.
    pub(super) fn beyond(&self, other: &Self) -> Self {
        self.pairs(other, |own, other| own - other)
    }

    fn pairs(&self, other: &Self, figure: impl Fn(f64, f64) -> f64) -> Self {
        Self::new(self.rounds.iter().zip(&other.rounds).map(|(own, other)| figure(*own, *other)).collect())
    }
}

/// The middle value, or the mean of the two middle ones; 0 of none.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.get(middle) {
        None => 0.0,
        Some(upper) if sorted.len() % 2 == 1 => *upper,
        Some(upper) => (sorted[middle - 1] + upper) / 2.0,
    }
}

/// The least time that so many percent of all do not exceed; zero of none.
pub(super) fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

pub(super) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_of_what_was_measured() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[7.0]), 7.0);
        assert_eq!(median(&[9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[9.0, 1.0, 2.0, 4.0]), 3.0);
        let mut figure = Figure::default();
        for value in [5.0, 1.0, 3.0] {
            figure.push(value);
        }
        assert_eq!(figure, Figure { median: 3.0, rounds: vec![5.0, 1.0, 3.0] });
    }

    #[test]
    fn contenders_are_compared_within_a_round() {
        // The machine was three times as slow in the second round, for both.
        let (one, other) = (Figure::new(vec![2.0, 6.0, 4.0]), Figure::new(vec![1.0, 3.0, 1.0]));
        assert_eq!(one.of(&other), Figure { median: 2.0, rounds: vec![2.0, 2.0, 4.0] });
        assert_eq!(one.beyond(&other), Figure { median: 3.0, rounds: vec![1.0, 3.0, 3.0] });
        assert!((one.median / other.median - 4.0).abs() < 1e-9);
    }

    #[test]
    fn a_percentile_is_one_of_the_times() {
        let times: Vec<_> = (1..=200).map(Duration::from_micros).collect();
        assert_eq!(percentile(&times, 50), Duration::from_micros(100));
        assert_eq!(percentile(&times, 99), Duration::from_micros(198));
        assert_eq!(percentile(&times[..3], 99), Duration::from_micros(3));
        assert_eq!(percentile(&times[..3], 50), Duration::from_micros(2));
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }
}
