use std::io::Write;

use super::*;

const LIMIT: u64 = 1 << 20;

#[test]
fn a_bundle_has_its_data_modules_and_manifest() {
    let archive = pack(&[
        ("/.manifest", r#"{"revision": "r7", "roots": ["shop", "roles"], "metadata": {"owner": "ada"}}"#),
        ("/data.json", r#"{"roles": {"admin": ["*"]}}"#),
        ("./shop/extra/data.yaml", "limit: 3\n"),
        ("shop/authz.rego", "package shop.authz\n\nallow := true\n"),
        ("README.md", "not for OPA"),
    ]);
    let bundle = Bundle::read("shop", &archive, LIMIT).unwrap();
    assert_eq!(bundle.manifest.revision, "r7");
    assert_eq!(bundle.modules.len(), 1);
    let expected = r#"{"roles": {"admin": ["*"]}, "shop": {"extra": {"limit": 3}}, "system": {"bundles": {"shop":
        {"manifest": {"revision": "r7", "roots": ["shop", "roles"], "metadata": {"owner": "ada"}}}}}}"#;
    assert_eq!(bundle.data, policy::parse_json(expected).unwrap());
}

#[test]
fn an_archive_cut_short_anywhere_is_refused() {
    let archive = pack(&[("data.json", r#"{"a": 1}"#), ("a.rego", "package a\n\nx := 1\n")]);
    for length in 0..archive.len() {
        assert!(
            Bundle::read("b", &archive[..length], LIMIT).is_err(),
            "accepted {length} of {}",
            archive.len()
        );
    }
    assert!(Bundle::read("b", &archive, LIMIT).is_ok());
}

#[test]
fn what_is_not_gzip_or_not_tar_is_refused() {
    let error = |bytes: &[u8]| Bundle::read("b", bytes, LIMIT).unwrap_err().to_string();
    assert!(error(b"").contains("the answer is empty"));
    assert!(error(b"<html>").contains("not a complete gzip-compressed tar archive"));
    assert!(error(&gzip(b"<html>not a tar</html>")).contains("not a complete gzip-compressed tar archive"));
}

#[test]
fn an_archive_that_inflates_beyond_its_limit_is_refused_before_it_fills_memory() {
    let archive = pack(&[("data.json", &format!("{{\"a\": \"{}\"}}", "x".repeat(4 << 20)))]);
    assert!(archive.len() < 100_000, "the archive must be small to make the point");
    let error = Bundle::read("b", &archive, LIMIT).unwrap_err();
    assert_eq!(error, BundleError::Archive(ArchiveError::TooLarge { limit_bytes: LIMIT }));
}

#[test]
fn every_other_fault_is_named_with_its_place() {
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[(".manifest", "{")], ".manifest: EOF while parsing"),
        (&[(".manifest", r#"{"roots": ["a", "a/b"]}"#)], "roots `a` and `a/b` overlap"),
        (&[(".manifest", r#"{"rego_version": 2}"#)], "rego version 2 is not known"),
        (&[(".manifest", r#"{"wasm": [{}]}"#)], "compiled policies are not run"),
        (&[("a/data.json", "{")], "a/data.json: EOF while parsing"),
        (&[("data.json", "[]")], "data.json: the root of the data must be an object"),
        (&[("data.json", r#"{"a": 1}"#), ("a/data.json", "2")], "data.json: `data.a` is given twice"),
        (&[(".manifest", r#"{"roots": ["a"]}"#), ("data.json", r#"{"b": 1}"#)], "`data.b` lies outside"),
        (
            &[(".manifest", r#"{"roots": ["a"]}"#), ("x.rego", "package b\n\nx := 1\n")],
            "x.rego (package b) lies outside",
        ),
        (&[("x.rego", "package b\n\nallow {\n")], "b/x.rego:3"),
        (&[("a.rego", "package a\n"), ("/a.rego", "package a\n")], "a.rego: the archive has this file twice"),
        (&[(".signatures.json", "{}")], "the bundle is signed"),
        (&[("patch.json", "{}")], "delta bundles are not applied"),
        (&[("policy.wasm", "\0asm")], "compiled policies are not run"),
    ];
    for (files, expected) in cases {
        let error = Bundle::read("b", &pack(files), LIMIT).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error:?} should contain {expected:?}");
    }
}

#[test]
fn a_path_that_leads_out_of_the_archive_is_refused() {
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    header.as_mut_bytes()[..12].copy_from_slice(b"../data.json");
    header.set_cksum();
    let mut tar = tar::Builder::new(Vec::new());
    tar.append(&header, &b"{}"[..]).unwrap();
    let archive = gzip(&tar.into_inner().unwrap());
    assert!(matches!(
        Bundle::read("b", &archive, LIMIT),
        Err(BundleError::Archive(ArchiveError::Path { path })) if path == "../data.json"
    ));
}

#[test]
fn rego_versions_come_from_the_manifest_file_by_file() {
    let v0 = "package a\n\nallow { true }\n";
    let archive = pack(&[(".manifest", r#"{"rego_version": 0}"#), ("a.rego", v0)]);
    assert!(Bundle::read("b", &archive, LIMIT).is_ok());
    let archive = pack(&[(".manifest", r#"{"file_rego_versions": {"/old/a.rego": 0}}"#), ("old/a.rego", v0)]);
    assert!(Bundle::read("b", &archive, LIMIT).is_ok());
    assert!(Bundle::read("b", &pack(&[("a.rego", v0)]), LIMIT).is_err());
}

/// Writes an archive byte by byte as named, also with names that tar's own writer would tidy up.
fn pack(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, text) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        tar.append(&header, text.as_bytes()).unwrap();
    }
    gzip(&tar.into_inner().unwrap())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
