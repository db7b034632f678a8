//! What the tests do where a tool is missing, and what the README and CI say of it.

#[path = "common/tools.rs"]
mod tools;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tools::{REQUIRE, Surroundings, Tool};

/// Set in a process that is this test once more.
const CHILD: &str = "PORTCULLIS_TEST_IS_CHILD";

/// A folder with programs that do nothing.
fn folder(programs: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for program in programs {
        let path = folder.path().join(program);
        fs::write(&path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

fn find(tool: Tool, path: &Path, require: &str) -> Result<Option<PathBuf>, String> {
    let surroundings = Surroundings { path: path.into(), require: require.to_owned(), chromium: None };
    tool.find_in(&surroundings)
}

#[test]
fn a_tool_is_found_by_each_of_its_names() {
    let cases: [(Tool, &[&str]); 6] = [
        (Tool::Browser, &["chromium"]),
        (Tool::Browser, &["chromium-browser"]),
        (Tool::Browser, &["google-chrome"]),
        (Tool::Browser, &["google-chrome-stable"]),
        (Tool::Go, &["go"]),
        (Tool::Npm, &["npm", "node"]),
    ];
    for (tool, programs) in cases {
        let folder = folder(programs);
        let expected = Some(folder.path().join(programs[0]));
        assert_eq!(find(tool, folder.path(), ""), Ok(expected.clone()), "{programs:?}");
        assert_eq!(find(tool, folder.path(), "browser,go,npm"), Ok(expected), "{programs:?}");
    }
}

#[test]
fn a_missing_tool_is_left_out_unless_it_is_required() {
    let nothing = folder(&[]);
    for tool in Tool::ALL {
        for require in ["", " ", ","] {
            assert_eq!(find(tool, nothing.path(), require), Ok(None), "{require:?}");
        }
        let others: Vec<_> = Tool::ALL.into_iter().filter(|other| *other != tool).map(Tool::word).collect();
        assert_eq!(find(tool, nothing.path(), &others.join(",")), Ok(None));
        for require in [tool.word().to_owned(), format!("{}, {}", others[0], tool.word())] {
            let error = find(tool, nothing.path(), &require).unwrap_err();
            assert!(error.contains(tool.word()) && error.contains(tool.cure()), "{error}");
        }
        let line = tool.left_out();
        assert!(line.starts_with("left out: ") && line.contains(tool.cure()), "{line}");
        assert_eq!(line.lines().count(), 1, "{line}");
    }
}

#[test]
fn half_of_npm_is_none_and_neither_is_a_file_that_nobody_may_run() {
    assert_eq!(find(Tool::Npm, folder(&["npm"]).path(), ""), Ok(None));
    assert_eq!(find(Tool::Npm, folder(&["node"]).path(), ""), Ok(None));
    let folder = folder(&["go"]);
    fs::set_permissions(folder.path().join("go"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(find(Tool::Go, folder.path(), ""), Ok(None));
}

#[test]
fn chromium_by_its_path_goes_before_one_in_path_and_must_be_there() {
    let (others, own) = (folder(&["chromium"]), folder(&["mine"]));
    let chromium = own.path().join("mine");
    let surroundings = |chromium: &Path| Surroundings {
        path: others.path().into(),
        chromium: Some(chromium.into()),
        require: String::new(),
    };
    assert_eq!(Tool::Browser.find_in(&surroundings(&chromium)), Ok(Some(chromium)));
    let error = Tool::Browser.find_in(&surroundings(&own.path().join("none"))).unwrap_err();
    assert!(error.contains("CHROMIUM") && error.contains("none"), "{error}");
}

#[test]
fn an_unknown_word_is_an_error_that_names_the_known_ones() {
    let everything = folder(&["chromium", "go", "npm", "node"]);
    for tool in Tool::ALL {
        let error = find(tool, everything.path(), "go,chrome").unwrap_err();
        for word in ["`chrome`", "`browser`", "`go`", "`npm`"] {
            assert!(error.contains(word), "{error}");
        }
    }
}

/// Runs itself a second time, as tests run where there is no tool.
#[test]
fn a_missing_tool_is_told_of_once_in_a_test_that_passes_and_fails_one_that_requires_it() {
    let name = "a_missing_tool_is_told_of_once_in_a_test_that_passes_and_fails_one_that_requires_it";
    if std::env::var_os(CHILD).is_some() {
        assert_eq!((Tool::Go.find(), Tool::Go.find(), Tool::Npm.find()), (None, None, None));
        return;
    }
    let nothing = folder(&[]);
    let run = |require: &str| -> Output {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(CHILD, "1")
            .env("PATH", nothing.path())
            .env(REQUIRE, require)
            .output()
            .unwrap()
    };
    let passed = run("browser");
    assert!(passed.status.success(), "{passed:?}");
    let expected = format!("{}\n{}\n", Tool::Go.left_out(), Tool::Npm.left_out());
    assert_eq!(String::from_utf8(passed.stderr).unwrap(), expected);
    let failed = run("npm");
    assert!(!failed.status.success());
    let said = String::from_utf8(failed.stdout).unwrap();
    assert!(said.contains(Tool::Npm.cure()), "{said}");
}

#[test]
fn the_readme_says_how_to_install_what_may_be_missing_and_ci_requires_all_of_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
    let readme = read("README.md");
    let words = Tool::ALL.map(Tool::word).join(",");
    let required = format!("{REQUIRE}={words}");
    assert!(readme.contains(&format!("`{required}`")), "the README has not got `{required}`");
    let ci = read(".ci/run");
    assert!(ci.contains(&format!("export {required}")), ".ci/run has not got `export {required}`");
    for tool in Tool::ALL {
        assert!(readme.contains(tool.cure()), "the README has not got `{}`", tool.cure());
    }
}
