//! What a VM that is about to end can still say: others need not wait until it counts as dead.

use std::time::Duration;

use super::{
    failures,
    member::MAX_MEMBERS,
    record::{self, End, MemberRecord, VmName},
    sets,
    shared::{Seen, SharedData, Task, TaskKind},
};

/// Writes down what a VM ended at. For a panic hook: it uses nothing of the manager, which may be in any state.
pub fn note_end(task: &Task, now: Duration, shared: &dyn SharedData) {
    let vm = VmName(task.vm);
    let end = match &task.kind {
        TaskKind::Request(policy) => {
            failures::note(policy, vm, now, shared);
            End::AtRequest
        }
        TaskKind::Load(policy) => {
            if let Some(policy) = policy {
                sets::amend(policy, 0, shared, |record| {
                    let trial = record.trial.iter_mut().map(|trial| &mut trial.mark);
                    let mut mine: Vec<_> =
                        trial.chain(&mut record.adopting).filter(|mark| mark.vm == vm).collect();
                    mine.iter_mut().for_each(|mark| mark.has_ended = true);
                    !mine.is_empty()
                });
            }
            End::AtLoad
        }
    };
    let Some(place) = task.member else { return };
    let Some(instance) =
        member(place, shared).filter(|(member, _)| member.vm == vm).map(|(it, _)| it.instance)
    else {
        return;
    };
    // The other contexts of this VM end with it.
    for place in 0..MAX_MEMBERS {
        let Some((mut member, seen)) = member(place, shared) else { break };
        if member.instance == instance && member.until_ms > 0 {
            member.until_ms = 0;
            member.ended = Some(if member.vm == vm { end } else { End::AtRequest });
            record::write(shared, &MemberRecord::key(place), &member, seen);
        }
    }
}

fn member(place: usize, shared: &dyn SharedData) -> Option<(MemberRecord, Seen)> {
    let (found, seen) = record::read(shared, &MemberRecord::key(place))?;
    Some((found?, seen))
}
