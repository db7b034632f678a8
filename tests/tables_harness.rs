//! Every table of cases through the built module, in the wasmtime harness.

use portcullis_tests::{harness, table::Table};

fn run(name: &str) {
    let table = Table::read(name);
    let mut envoy = harness::load(&table);
    table.run("harness", |request| harness::exchange(&mut envoy, request));
}

portcullis_tests::for_every_table!(run);
