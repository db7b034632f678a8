//! Whether a configuration may be refused to Envoy.
//!
//! Source: proxy-wasm-cpp-host, `WasmHandleBase::canary`: Envoy gives a configuration to a fresh VM on its main thread
//! first. If that one refuses it, Envoy keeps the listener that it has, and no worker sees the new one. Where a worker
//! refuses, Envoy sends requests past it. So only a fresh VM refuses, only while others decide by what is kept then, and
//! nobody refuses what was accepted once: whoever accepts first writes that down.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{
    member::Members,
    record::SCHEMA,
    shared::{Seen, SharedData},
    shared_cache::SharedCache,
};

/// Others accept the same at most once each, so a second try is rare and an eighth a host at fault.
const MAX_TRIES: usize = 8;

/// Whether a configuration that cannot be served may be refused by this VM. If not, it is accepted from now on, by all.
pub fn may_refuse(document: &[u8], cache: &SharedCache, now: Duration, shared: &dyn SharedData) -> bool {
    let key = format!("{SCHEMA}/accepted/{:x}", Sha256::digest(document));
    for _ in 0..MAX_TRIES {
        let Some(found) = shared.get(&key) else { return false };
        if found.seen != Seen::Absent {
            return false;
        }
        if cache.is_unused() && Members::default().has_any(now, shared) {
            return true;
        }
        if shared.compare_and_set(&key, b"{}", found.seen) {
            return false;
        }
    }
    false
}
