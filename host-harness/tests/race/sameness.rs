//! One mistake is one finding: whichever random schedule shows it, it shrinks to the same file.
use super::*;

#[test]
fn tell() {
    for s in builtin::scenarios().unwrap() {
        if s.variant != "naive" || s.module != "portcullis:guests" {
            continue;
        }
        let s = Arc::new(s);
        let mut ids = std::collections::BTreeMap::<String, u32>::new();
        for seed in 1..=12 {
            let options = Options { random: 200, seed, stop_at_first: true, ..bounded(0) };
            let Ok(report) = race::explore(&GUESTS, &s, &options) else { continue };
            let Some(found) = report.first else { continue };
            let (schedule, _) = race::shrink(&GUESTS, &s, &found, &Options::default()).unwrap();
            *ids.entry(format!("{} {}", schedule.header("id").unwrap(), found.phase)).or_default() += 1;
        }
        println!("{} {ids:?}", s.name);
    }
}
