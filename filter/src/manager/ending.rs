//! What a VM that is about to end can still say: others need not wait until it counts as dead.

use std::time::Duration;

use super::{
    failures,
    record::{self, End, MemberRecord, VmName},
    sets,
    shared::{SharedData, Task, TaskKind},
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
    let Some(key) = task.member.map(MemberRecord::key) else { return };
    if let Some((Some(mut member), seen)) = record::read::<MemberRecord>(shared, &key)
        && member.vm == vm
    {
        member.until_ms = 0;
        member.ended = Some(end);
        record::write(shared, &key, &member, seen);
    }
}
