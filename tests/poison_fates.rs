//! What has ended VMs once, read and compiled natively: what is refused is refused with a reason, what is loaded is decided
//! within its limits.

use std::time::Duration;

use portcullis_filter::{
    bundle::Bundle,
    policy::{EvaluationLimits, Moment, Policy, object},
};
use portcullis_tests::poisons::{self, Fate};

#[test]
fn what_has_ended_vms_is_loaded_or_refused_as_it_is_said() {
    // The defaults are for an optimised build; a bound is met at the same place whatever it is.
    let limits = EvaluationLimits { steps: 200_000, time: Duration::MAX, ..EvaluationLimits::default() };
    let mut others = Vec::new();
    for poison in poisons::all() {
        let bundle = Bundle::read("a", &poison.archive, 64 << 20).map_err(|error| error.to_string());
        let policy = bundle.and_then(|bundle| {
            Policy::compile("a/p", &[bundle.part()], limits).map_err(|error| error.to_string())
        });
        let (fate, said) = match policy {
            Ok(policy) => {
                let value = policy.evaluate(object([]), Moment::default());
                let value = value.map(|value| value.map_or(0, |value| value.weight()));
                (Fate::Loaded, format!("{value:?}"))
            }
            Err(error) => (Fate::Refused, error),
        };
        println!("{:?} {}: {fate:?}: {said}", poison.fate, poison.name);
        if fate != poison.fate {
            others.push(poison.name);
        }
    }
    assert!(others.is_empty(), "{others:?} became something else");
}
