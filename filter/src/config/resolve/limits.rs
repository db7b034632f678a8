//! What bundles and requests may cost.

use std::time::Duration;

use super::{Resolver, document};
use crate::{
    authz::BodyLimits,
    config::{EvaluationLimits, Limits},
};

const MAX_EVALUATION_STEPS: u64 = 1_000_000_000;
/// A quarter of what Envoy gives a VM.
const MAX_EVALUATION_BYTES: u64 = 256 << 20;
const MAX_EVALUATION_DEPTH: u32 = 20_000;
const MAX_EVALUATION_MS: u64 = 10_000;
const MAX_VM_FAILURES: usize = 100;
const MAX_DOWNLOAD_BYTES: u64 = 768 << 20;
/// A body is read in one go, and its values may take forty times its bytes.
const MAX_BODY_BYTES: usize = 1 << 20;
const MAX_BODIES_BYTES: usize = 512 << 20;
const MAX_REMEMBERED_BYTES: usize = 256 << 20;

impl Resolver {
    pub(super) fn limits(&mut self, limits: &document::Limits) -> Limits {
        let Limits { evaluation, vm_failures, download_bytes, remembered_bytes } = Limits::default();
        Limits {
            evaluation: self.evaluation(limits, evaluation),
            vm_failures: self.within(
                "portcullis.limits.vm_failures",
                limits.vm_failures.unwrap_or(vm_failures),
                1..=MAX_VM_FAILURES,
            ),
            download_bytes: self.within(
                "portcullis.limits.download_bytes",
                limits.download_bytes.unwrap_or(download_bytes),
                1..=MAX_DOWNLOAD_BYTES,
            ),
            remembered_bytes: self.within(
                "portcullis.limits.remembered_bytes",
                limits.remembered_bytes.unwrap_or(remembered_bytes),
                0..=MAX_REMEMBERED_BYTES,
            ),
        }
    }

    /// Bodies are read where the section is there.
    pub(super) fn body(&mut self, body: &document::Body) -> BodyLimits {
        let BodyLimits { max_bytes, in_flight_bytes } = BodyLimits::default();
        let max_bytes =
            self.within("portcullis.body.max_bytes", body.max_bytes.unwrap_or(max_bytes), 1..=MAX_BODY_BYTES);
        // One request has room at least.
        let in_flight_bytes = self.within(
            "portcullis.body.in_flight_bytes",
            body.in_flight_bytes.unwrap_or(in_flight_bytes.max(max_bytes)),
            max_bytes..=MAX_BODIES_BYTES,
        );
        BodyLimits { max_bytes, in_flight_bytes }
    }

    /// Of the wall clock the default is generous, because V8 compiles each path of the module on its first use and that
    /// time counts too.
    fn evaluation(&mut self, limits: &document::Limits, default: EvaluationLimits) -> EvaluationLimits {
        let EvaluationLimits { steps, bytes, depth, time } = default;
        let ms = limits.evaluation_ms.map_or(time, |ms| Duration::from_millis(ms.into())).as_millis();
        EvaluationLimits {
            steps: self.within(
                "portcullis.limits.evaluation_steps",
                limits.evaluation_steps.unwrap_or(steps),
                1..=MAX_EVALUATION_STEPS,
            ),
            bytes: self.within(
                "portcullis.limits.evaluation_bytes",
                limits.evaluation_bytes.unwrap_or(bytes),
                1..=MAX_EVALUATION_BYTES,
            ),
            depth: self.within(
                "portcullis.limits.evaluation_depth",
                limits.evaluation_depth.unwrap_or(depth),
                1..=MAX_EVALUATION_DEPTH,
            ),
            time: Duration::from_millis(self.within(
                "portcullis.limits.evaluation_ms",
                u64::try_from(ms).unwrap_or(u64::MAX),
                1..=MAX_EVALUATION_MS,
            )),
        }
    }
}
