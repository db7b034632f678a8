//! The bound on what this VM may hold, below the one of Envoy: there the VM would end without a word.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};

/// Source: proxy-wasm-cpp-host, `limits.h`: Envoy's V8 gives a VM 1 GiB.
const MOST_BYTES: usize = 768 << 20;

static HELD: AtomicUsize = AtomicUsize::new(0);
/// What ends a VM is told, for which some memory is needed.
static IS_ENDING: AtomicBool = AtomicBool::new(false);

/// The system's allocator, with a bound.
pub(super) struct Bounded;

impl Bounded {
    fn take(bytes: usize) {
        let held = HELD.load(Relaxed).saturating_add(bytes);
        HELD.store(held, Relaxed);
        if held > MOST_BYTES && !IS_ENDING.swap(true, Relaxed) {
            end(bytes);
        }
    }

    fn give_back(bytes: usize) {
        HELD.store(HELD.load(Relaxed).saturating_sub(bytes), Relaxed);
    }
}

#[cold]
#[expect(clippy::panic, reason = "there is no memory to go on with, and Envoy would say nothing of it")]
fn end(bytes: usize) {
    panic!(
        "this VM would hold more than {} MiB with another {bytes} bytes; what it was at is quarantined",
        MOST_BYTES >> 20
    );
}

// SAFETY: everything is the system allocator's; only the sizes are counted.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::take(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::take(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        Self::give_back(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::take(size);
        Self::give_back(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
