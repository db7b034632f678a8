//! The other side: OPA's own packages in a Go program beside this one (see `tests/oracle`).

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// Modules with cases to evaluate; the inputs are JSON text, kept as written.
#[derive(Serialize, Default)]
pub struct Request<'a> {
    pub modules: std::collections::BTreeMap<&'a str, &'a str>,
    pub v0: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<serde_json::value::RawValue>>,
    pub cases: Vec<Case>,
    pub calls: Vec<CallRequest>,
    pub now_ns: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub indexing: Option<bool>,
}

#[derive(Serialize)]
pub struct Case {
    pub query: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Box<serde_json::value::RawValue>>,
}

#[derive(Serialize, Clone)]
pub struct CallRequest {
    pub builtin: String,
    pub args: Vec<String>,
}

#[derive(Deserialize, Default, Debug)]
#[serde(default)]
pub struct Answer {
    pub compile: Vec<CompileError>,
    pub bad_request: String,
    pub results: Vec<CaseAnswer>,
}

#[derive(Deserialize, Default, Debug, Clone)]
#[serde(default)]
pub struct CompileError {
    pub code: String,
    pub message: String,
    pub place: String,
}

#[derive(Deserialize, Default, Debug, Clone, PartialEq)]
#[serde(default)]
pub struct CaseAnswer {
    pub value: Option<String>,
    pub values: Vec<String>,
    pub undefined: bool,
    pub error: String,
    pub message: String,
    pub panic: String,
    pub timeout: bool,
    pub crash: bool,
}

/// The running program.
pub struct Oracle {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

/// Where the program is: `REGO_ORACLE`, or what Go builds now; else the reason why there is none.
pub fn find() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os("REGO_ORACLE") {
        return Ok(PathBuf::from(path));
    }
    let go = [PathBuf::from("go"), PathBuf::from("/usr/local/go/bin/go")].into_iter().find(|go| {
        Command::new(go).arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    });
    let Some(go) = go else { return Err("no Go here to build OPA with".into()) };
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/oracle");
    let out = std::env::current_exe().map_err(|e| e.to_string())?.with_file_name("rego-oracle");
    let built = Command::new(go)
        .args(["build", "-o"])
        .arg(&out)
        .arg(".")
        .current_dir(source)
        .output()
        .map_err(|e| format!("go does not run: {e}"))?;
    if built.status.success() {
        Ok(out)
    } else {
        Err(format!("go build: {}", String::from_utf8_lossy(&built.stderr).trim()))
    }
}

impl Oracle {
    pub fn start() -> Result<Oracle, String> {
        let path = find()?;
        let mut child = Command::new(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{}: {e}", path.display()))?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        Ok(Oracle { child, stdin, stdout })
    }

    pub fn ask(&mut self, request: &Request<'_>) -> Answer {
        let mut line = serde_json::to_vec(request).expect("a request is JSON");
        line.push(b'\n');
        let stdin = self.stdin.as_mut().expect("the pipe is open");
        stdin.write_all(&line).expect("the oracle reads");
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).expect("the oracle answers");
        serde_json::from_str(&answer).unwrap_or_else(|e| panic!("the oracle said {answer:?}: {e}"))
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // The end of its input ends it.
        self.stdin.take();
        let _ = self.child.wait();
    }
}

/// JSON as it is written, numbers included.
pub fn raw(json: &Json) -> Box<serde_json::value::RawValue> {
    serde_json::value::to_raw_value(json).expect("JSON")
}
