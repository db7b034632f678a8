//! Every table of cases through the filter's core, natively.

use portcullis_tests::{native::Native, table::Table};

fn run(name: &str) {
    let table = Table::read(name);
    let mut native = Native::load(&table);
    table.run("native", |request| native.exchange(request));
}

portcullis_tests::for_every_table!(run);
