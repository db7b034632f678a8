//! What a compiled policy takes in memory: a gateway of a thousand tenants holds a thousand of them in each worker.

use std::alloc::System;

use portcullis_rego::{Compiler, Options, Policy, Version};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static MEMORY: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes per byte of Rego; half of it in a module, where a pointer has 32 bits.
const MOST_BYTES_PER_BYTE: usize = 20;

fn compile(name: &str, text: &str) -> Policy {
    let mut compiler = Compiler::new(Options::default());
    compiler.module(name, text, Version::V1);
    compiler.finish().unwrap_or_else(|errors| panic!("{name}: {errors}"))
}

#[test]
fn a_policy_takes_no_more_memory_than_its_text_allows() {
    for (name, text) in [
        ("api", include_str!("../../../policies/api/authz.rego")),
        ("shop", include_str!("../../../policies/shop/authz.rego")),
        ("tenants", include_str!("../../../policies/tenants/authz.rego")),
    ] {
        // What is made once for all policies.
        drop(compile(name, text));
        let region = Region::new(MEMORY);
        let policy = compile(name, text);
        let change = region.change();
        let held = change.bytes_allocated.saturating_sub(change.bytes_deallocated);
        drop(policy);
        let after = region.change();
        let stays = after.bytes_allocated.saturating_sub(after.bytes_deallocated);
        println!("{name}: {} bytes of Rego, {held} bytes held", text.len());
        assert!(held < text.len() * MOST_BYTES_PER_BYTE, "{name}: {held} bytes for {}", text.len());
        // The runner of tests has memory of its own.
        assert!(stays < 1024, "{name}: {stays} bytes stay");
    }
}
