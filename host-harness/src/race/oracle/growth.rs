//! Sizes that grow although nothing happens: a leak.

use std::collections::BTreeMap;

use super::Violation;

/// Sizes by name, as `shared data bytes` or `w0 memory bytes`, at the end of one idle round.
pub type Sizes = BTreeMap<String, u64>;

/// Fewer samples than this show no habit: two pairs of rounds are the least.
pub const LEAST_SAMPLES: usize = 3;

/// So many more rounds are run where something grew in each of the first: what a late answer or a thread that stood still
/// began is over by then, and a leak is not.
pub const ROUNDS_TO_CONFIRM: usize = 3;

/// Says so for every size that is larger at the end of each idle round than at the end of the one before.
///
/// A buffer that is filled once and a cache that has a limit stop growing; what grows in every round does so for ever.
#[must_use]
pub fn check(rounds: &[Sizes]) -> Vec<Violation> {
    let Some(first) = rounds.first().filter(|_| rounds.len() >= LEAST_SAMPLES) else { return Vec::new() };
    let grows = |name: &String| -> Option<Vec<u64>> {
        let sizes: Vec<u64> = rounds.iter().map(|round| round.get(name).copied()).collect::<Option<_>>()?;
        sizes.windows(2).all(|pair| matches!(pair, [before, after] if after > before)).then_some(sizes)
    };
    let reported = |name: &String| {
        let sizes: Vec<String> = grows(name)?.iter().map(u64::to_string).collect();
        let message = format!(
            "nothing happens for {} rounds, so {name} must not grow for ever, and it grows in each: {}",
            rounds.len(),
            sizes.join(" → ")
        );
        Some(Violation::new("growth", message))
    };
    first.keys().filter_map(reported).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_in_every_round_is_a_leak() {
        let reported =
            check(&rounds(&[("queue items", &[1, 2, 4, 5]), ("shared data bytes", &[7, 7, 7, 7])]));
        let expected = "nothing happens for 4 rounds, so queue items must not grow for ever, \
                        and it grows in each: 1 → 2 → 4 → 5";
        assert_eq!(reported, [Violation::new("growth", expected)]);
    }

    #[test]
    fn what_stands_still_once_or_shrinks_once_is_none() {
        assert_eq!(check(&rounds(&[("a", &[1, 2, 2]), ("b", &[1, 3, 2]), ("c", &[3, 2, 1])])), []);
    }

    #[test]
    fn one_step_is_no_habit() {
        assert_eq!(check(&rounds(&[("a", &[1, 2])])), []);
        assert_eq!(check(&[]), []);
    }

    #[test]
    fn what_was_not_measured_in_every_round_is_not_checked() {
        let mut rounds = rounds(&[("a", &[1, 2, 3])]);
        rounds[1].clear();
        assert_eq!(check(&rounds), []);
    }

    fn rounds(sizes: &[(&str, &[u64])]) -> Vec<Sizes> {
        let count = sizes[0].1.len();
        let round = |index| sizes.iter().map(|(name, sizes)| ((*name).to_owned(), sizes[index])).collect();
        (0..count).map(round).collect()
    }
}
