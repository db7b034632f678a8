//! What compiling costs: time by policy size, and the longest step.

use std::fmt::Write as _;
use std::time::Instant;

use portcullis_rego::{Compiler, Options, Progress, Version};

fn main() {
    for n in [200usize, 2000, 4000, 8000] {
        let mut text = String::from("package shop\nimport data.users\ndefault allow := false\n");
        for i in 0..n {
            let _ = writeln!(
                text,
                "allow if {{\n  input.method == \"GET\"\n  input.parsed_path = [\"p{i}\", name]\n  some role in users[name].roles\n  role == \"r{}\"\n  not denied(name, \"{i}\")\n}}",
                i % 7
            );
        }
        text.push_str("denied(name, at) if { name == \"x\"; at == \"1\" }\n");
        let start = Instant::now();
        let mut compiler = Compiler::new(Options::default());
        compiler.module("shop.rego", &text, Version::V1);
        let mut longest = 0.0f64;
        let mut steps = 0;
        loop {
            let step = Instant::now();
            let progress = compiler.step(50).unwrap_or_else(|e| panic!("{e}"));
            longest = longest.max(step.elapsed().as_secs_f64() * 1e3);
            steps += 1;
            if progress == Progress::Done {
                break;
            }
        }
        let last = Instant::now();
        let policy = compiler.finish().unwrap_or_else(|e| panic!("{e}"));
        let finish = last.elapsed().as_secs_f64() * 1e3;
        let all = start.elapsed().as_secs_f64() * 1e3;
        println!(
            "{n} rules, {} KiB: {all:.1} ms in {steps} steps, longest {longest:.2} ms, finish {finish:.2} ms {:?}",
            text.len() / 1024,
            policy
        );
    }
}
