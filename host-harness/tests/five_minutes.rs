//! The page that takes a filter of somebody else to a race that runs again: every file in it is written, every command typed,
//! and what is printed is what the page shows.
//!
//! `PORTCULLIS_WRITE_PAGE=1` puts what is printed into the page.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use regex::Regex;

#[test]
fn the_page_shows_what_one_sees() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let page = fs::read_to_string(&path).unwrap();
    let folder = tempfile::tempdir().unwrap();
    begin(folder.path());
    let (mut written, mut printed, mut commands) = (String::new(), String::new(), 0);
    // Between the fences stand by turns text and blocks.
    let mut mark = None;
    for (index, part) in page.split("```").enumerate() {
        if index > 0 {
            written += "```";
        }
        if index % 2 == 0 {
            mark = part.trim_end().lines().last().and_then(marked);
            written += part;
            continue;
        }
        let (language, body) = part.split_once('\n').unwrap();
        match (language, mark) {
            ("sh", None) => {
                printed = typed(folder.path(), body);
                commands += body.lines().count();
            }
            ("text", None) => {
                if env::var_os("PORTCULLIS_WRITE_PAGE").is_some() {
                    written += &format!("text\n{printed}");
                    continue;
                }
                assert_eq!(
                    stable(&printed),
                    stable(body),
                    "the page shows something else than this:\n{printed}"
                );
            }
            (_, Some(("file", file))) => fs::write(folder.path().join(file), body).unwrap(),
            (_, Some(("loop", file))) => mend(&folder.path().join(file), body),
            unknown => panic!("what is to be done with the block {unknown:?}?\n{body}"),
        }
        written += part;
    }
    assert_eq!(commands, 8, "every command of the page is typed");
    if written != page {
        fs::write(path, written).unwrap();
    }
}

/// What a comment above a block says of it: `<!-- file: src/lib.rs -->`.
fn marked(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("<!-- ")?.strip_suffix(" -->")?.split_once(": ")
}

/// A folder with the versions of crates that are built here anyhow, and with what was built the last time.
fn begin(folder: &Path) {
    fs::create_dir(folder.join("src")).unwrap();
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk/rust-0.2.5/Cargo.lock");
    let lock = fs::read_to_string(lock).unwrap();
    // The filter there logs, and this one does not.
    let lock =
        lock.replace("name = \"sdk-filter\"\nversion = \"0.0.0\"", "name = \"quota\"\nversion = \"0.1.0\"");
    fs::write(folder.join("Cargo.lock"), lock).unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("sdk/quota");
    fs::create_dir_all(&target).unwrap();
    std::os::unix::fs::symlink(target, folder.join("target")).unwrap();
}

/// What a shell prints that is given these lines.
fn typed(folder: &Path, lines: &str) -> String {
    let own = PathBuf::from(env!("CARGO_BIN_EXE_portcullis"));
    let paths = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect::<Vec<_>>();
    let paths = [vec![own.parent().unwrap().to_owned()], paths].concat();
    let output = Command::new("sh")
        .args(["-c", lines])
        .current_dir(folder)
        .env("PATH", env::join_paths(paths).unwrap())
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("CARGO_BUILD_TARGET")
        .env_remove("CARGO_TARGET_DIR")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!errors.contains("error") && !errors.contains("portcullis: "), "{lines}\n{errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Puts the loop in the place of what reads and writes once.
fn mend(path: &Path, body: &str) {
    let source = fs::read_to_string(path).unwrap();
    let from = source.find("        let (value, _) = self.get_shared_data").unwrap();
    let to = source.rfind("    }\n}").unwrap();
    fs::write(path, format!("{}{body}{}", &source[..from], &source[to..])).unwrap();
}

/// The text without what differs from machine to machine: times, and in which random schedule it was found.
fn stable(text: &str) -> String {
    let time = Regex::new(r" +\d+\.\d\d s").unwrap();
    let found = Regex::new(r"(?m)^  (random|pct \d|pos), schedule \d+ of \d+").unwrap();
    let text = time.replace_all(text, " TIME");
    found.replace_all(&text, "  random, schedule N of N").into_owned()
}
