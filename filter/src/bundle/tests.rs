use std::io::Write;

use sha2::Digest;

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
    assert!(error(b"no archive").contains("not a complete gzip-compressed tar archive"));
    for page in [&b"<html>"[..], b"\n <!DOCTYPE html><html>"] {
        assert!(error(page).starts_with("it is HTML"), "{}", error(page));
    }
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

#[test]
fn steps_come_to_the_same_bundle_and_the_digest_is_known_early() {
    let names: Vec<String> =
        (0..3000).map(|number| format!("\"user{number}\": {{\"n\": [{number}]}}")).collect();
    let users = format!("{{{}}}", names.join(","));
    let archive = pack(&[
        (
            "data.json",
            &format!("{{\"users\": {{\"root\": 0}}, \"list\": [{}]}}", vec!["1"; 60_000].join(",")),
        ),
        ("users/data.json", &users),
        ("a.rego", "package a\n\nx := 1\n"),
        ("limits/data.yml", "top: 3\n"),
    ]);
    let mut reading = Reading::new("b", archive.clone(), LIMIT);
    let (mut steps, mut steps_to_digest) = (0, 0);
    let bundle = loop {
        steps += 1;
        let result = reading.step();
        steps_to_digest += usize::from(reading.digest().is_none());
        if let Some(result) = result {
            break result.unwrap();
        }
    };
    assert!(steps > 100 && steps_to_digest < 10, "{steps_to_digest} of {steps} steps");
    assert!(reading.step().is_none(), "the result comes once");
    assert_eq!(reading.digest(), Some(bundle.digest.as_str()));
    assert_eq!(bundle.digest, format!("{:x}", sha2::Sha256::digest(&archive)));
    assert_eq!(bundle.modules.len(), 1);

    let whole = Bundle::read("b", &archive, LIMIT).unwrap();
    assert_eq!((&whole.data, &whole.digest), (&bundle.data, &bundle.digest));
    let data = |path: &[&str]| path.iter().try_fold(&bundle.data, |value, key| policy::field(value, key));
    assert_eq!(data(&["users"]).unwrap().as_object().unwrap().len(), 3001);
    assert_eq!(data(&["users", "user77", "n"]), Some(&policy::parse_json("[77]").unwrap()));
    assert_eq!(data(&["list"]).unwrap().as_array().unwrap().len(), 60_000);
    assert_eq!(data(&["limits", "top"]), Some(&Value::from(3)));
}

#[test]
fn what_was_read_of_a_faulty_bundle_is_freed_in_steps_before_the_error_comes() {
    let list = vec!["[\"x\"]"; 50_000].join(",");
    for files in [
        vec![("a/data.json", format!("[{list}, x]"))],
        vec![("a/data.json", format!("[{list}]")), ("data.json", r#"{"a": []}"#.to_owned())],
        vec![("a/data.json", "[]".to_owned()), ("data.json", format!("{{\"a\": [{list}]}}"))],
        vec![("data.json", format!("[{list}]"))],
        vec![("a/data.json", format!("[{list}]")), ("policy.wasm", String::new())],
        vec![(".manifest", r#"{"roots": ["b"]}"#.to_owned()), ("a/data.json", format!("[{list}]"))],
    ] {
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
        let mut reading = Reading::new("b", pack(&files), LIMIT);
        let mut steps_freeing = 0;
        let result = loop {
            let result = reading.step();
            steps_freeing += usize::from(format!("{reading:?}").contains("over"));
            if let Some(result) = result {
                break result;
            }
        };
        assert!(result.is_err());
        assert!(steps_freeing > 50, "{} took {steps_freeing} steps to free", result.unwrap_err());
    }
}

#[test]
fn a_reading_can_be_given_up_at_any_step() {
    let list = vec!["[1]"; 20_000].join(",");
    let archive =
        pack(&[("a/data.json", &format!("[{list}]")), ("data.json", &format!("{{\"b\": [{list}]}}"))]);
    let steps = {
        let mut reading = Reading::new("b", archive.as_slice(), LIMIT);
        (0..).find(|_| reading.step().is_some()).unwrap()
    };
    for given_up_after in (0..steps).step_by(5) {
        let mut reading = Reading::new("b", archive.as_slice(), LIMIT);
        (0..given_up_after).for_each(|_| assert!(reading.step().is_none()));
        let mut deferred = policy::DeferredDrop::default();
        reading.discard(&mut deferred);
        while deferred.step() {}
        assert!(deferred.is_empty());
    }
}

#[test]
fn an_archive_may_be_cut_into_pieces_anywhere() {
    let mut random = fastrand::Rng::with_seed(3);
    let noise: String = (0..9000).map(|_| random.alphanumeric()).collect();
    for length in 5200..5330 {
        let archive = pack(&[("data.json", &format!("{{\"a\": \"{}\"}}", &noise[..length]))]);
        assert!(archive.len() > 4096 - 100, "{}", archive.len());
        let bundle = Bundle::read("b", &archive, LIMIT).unwrap();
        assert_eq!(policy::field(&bundle.data, "a"), Some(&Value::from(&noise[..length])));
    }
}

#[test]
fn gzip_members_that_hold_nothing_are_passed_over_in_many_steps() {
    let mut archive = gzip(b"").repeat(5000);
    archive.extend(pack(&[("data.json", "{}")]));
    let mut reading = Reading::new("b", archive.clone(), LIMIT);
    let mut steps_to_digest = 1;
    while reading.digest().is_none() {
        assert!(reading.step().is_none());
        steps_to_digest += 1;
    }
    assert!(
        steps_to_digest > archive.len() / (40 << 10),
        "{steps_to_digest} steps for {} bytes",
        archive.len()
    );
    let steps = (0..).find(|_| reading.step().is_some_and(|result| result.is_ok())).unwrap();
    assert!(steps > archive.len() / (8 << 10), "{steps} steps for {} bytes", archive.len());
}

#[test]
fn an_archive_is_refused_beyond_its_limit_by_the_byte() {
    let archive = pack(&[("data.json", "{}")]);
    let mut inflated = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(archive.as_slice()), &mut inflated).unwrap();
    let limit_bytes = inflated.len() as u64;
    assert!(Bundle::read("b", &archive, limit_bytes).is_ok());
    let limit_bytes = limit_bytes - 1;
    let error = Bundle::read("b", &archive, limit_bytes).unwrap_err();
    assert_eq!(error, BundleError::Archive(ArchiveError::TooLarge { limit_bytes }));
}

#[test]
fn an_inflated_archive_cut_short_anywhere_is_refused_unless_it_ends_between_entries() {
    let mut whole = Vec::new();
    let archive = pack(&[("data.json", r#"{"a": 1}"#), ("a.rego", "package a\n\nx := 1\n")]);
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(archive.as_slice()), &mut whole).unwrap();
    for length in 0..=whole.len() {
        let result = Bundle::read("b", &gzip(&whole[..length]), LIMIT);
        // Headers, contents and the end are blocks of 512 bytes; zeros end an archive wherever they begin.
        let between = length % 1024 == 0 || length >= 2048 + 512;
        assert_eq!(result.is_ok(), between, "{length}: {:?}", result.err());
    }
}

#[test]
fn long_paths_are_read_and_endless_ones_refused() {
    let with_path = |path: &str| {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(2);
        tar.append_data(&mut header, path, &b"{}"[..]).unwrap();
        gzip(&tar.into_inner().unwrap())
    };
    let deep = format!("{}data.json", "f/".repeat(64));
    assert!(Bundle::read("b", &with_path(&deep), LIMIT).is_ok());
    for folders in [65, 20_000] {
        let error = Bundle::read("b", &with_path(&format!("{}data.json", "f/".repeat(folders))), LIMIT);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("more than 64 folders") && error.len() < 250, "{error}");
    }
    let folder = "f".repeat(150);
    let bundle = Bundle::read("b", &with_path(&format!("{folder}/data.json")), LIMIT).unwrap();
    assert!(policy::field(&bundle.data, &folder).is_some());

    let error =
        Bundle::read("b", &with_path(&format!("{}/data.json", "f".repeat(80_000))), LIMIT).unwrap_err();
    assert!(error.to_string().contains("larger than a path can be"), "{error}");
}

#[test]
fn an_entry_that_says_what_no_archive_holds_is_refused() {
    let with_header = |change: fn(&mut tar::Header)| {
        let mut header = tar::Header::new_gnu();
        header.set_size(2);
        header.as_mut_bytes()[..9].copy_from_slice(b"data.json");
        change(&mut header);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend([b"{}".as_slice(), &[0; 510 + 1024]].concat());
        Bundle::read("b", &gzip(&bytes), LIMIT).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(with_header(|_| {}), Ok(()));
    let error = |change| with_header(change).unwrap_err();
    assert!(error(|header| header.set_entry_type(tar::EntryType::GNUSparse)).contains("sparse"));
    assert!(error(|header| header.set_size(u64::MAX)).contains("not a complete"));
    assert!(error(|header| header.set_size(u64::MAX - 511)).contains("not a complete"));
    assert!(error(|header| header.set_size(2000)).contains("not a complete"));
    for kind in [tar::EntryType::GNULongName, tar::EntryType::GNULongLink, tar::EntryType::XHeader] {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::MAX);
        header.set_entry_type(kind);
        header.set_cksum();
        assert!(Bundle::read("b", &gzip(header.as_bytes()), LIMIT).is_err());
    }
}

#[test]
fn what_is_no_file_is_passed_over() {
    use tar::EntryType;
    for kind in
        [EntryType::Directory, EntryType::Symlink, EntryType::Link, EntryType::Fifo, EntryType::XGlobalHeader]
    {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(0);
        tar.append_data(&mut header, "a/data.json", &b""[..]).unwrap();
        let mut header = tar::Header::new_ustar();
        header.set_size(2);
        tar.append_data(&mut header, "b/data.json", &b"{}"[..]).unwrap();
        let bundle = Bundle::read("b", &gzip(&tar.into_inner().unwrap()), LIMIT).unwrap();
        assert_eq!(policy::field(&bundle.data, "a"), None, "{kind:?}");
        assert_eq!(policy::field(&bundle.data, "b"), Some(&policy::object([])), "{kind:?}");
    }
}

#[test]
fn an_archive_of_very_many_entries_is_refused() {
    let mut tar = tar::Builder::new(Vec::new());
    for number in 0..=10_000 {
        let mut header = tar::Header::new_ustar();
        header.set_size(0);
        tar.append_data(&mut header, format!("{number}.txt"), &b""[..]).unwrap();
    }
    let archive = gzip(&tar.into_inner().unwrap());
    let error = Bundle::read("b", &archive, 16 * LIMIT).unwrap_err();
    assert_eq!(error, BundleError::Archive(ArchiveError::TooManyEntries));
}

#[test]
fn a_data_file_that_is_no_text_is_refused_wherever_the_fault_is() {
    // Wherever the text is cut into pieces, one of these has a character there.
    let long = format!("[\"{0}\", \"x{0}\", \"", "é".repeat(200_000));
    for before in ["[\"", &long, &format!("x{long}")] {
        for broken in [&b"\xff\"]"[..], b"\xc3", b"\xe2\x82\"]", b"\xed\xa0\x80\"]"] {
            let bytes = [before.as_bytes(), broken].concat();
            let mut tar = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, "a/data.json", bytes.as_slice()).unwrap();
            let archive = gzip(&tar.into_inner().unwrap());
            let error = Bundle::read("b", &archive, LIMIT).unwrap_err();
            assert_eq!(error, BundleError::NotText { path: "a/data.json".to_owned() });
        }
    }
    let bundle = Bundle::read("b", &pack(&[("a/data.json", &format!("{long}\"]"))]), LIMIT).unwrap();
    assert_eq!(policy::field(&bundle.data, "a").unwrap().as_array().unwrap().len(), 3);
}

#[test]
fn a_manifest_that_takes_long_to_judge_is_refused() {
    let roots = |count: usize| {
        let roots: Vec<String> = (0..count).map(|number| format!("\"a{number}\"")).collect();
        Bundle::read("b", &pack(&[(".manifest", &format!("{{\"roots\": [{}]}}", roots.join(",")))]), LIMIT)
    };
    assert!(roots(256).is_ok());
    assert_eq!(roots(257).unwrap_err(), BundleError::Manifest(ManifestError::TooManyRoots));
    assert_eq!(roots(20_000).unwrap_err(), BundleError::Manifest(ManifestError::TooLarge));
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

#[test]
fn values_count_and_not_their_text_alone() {
    let limit = 256 << 10;
    let many = |value: &str, count: usize| format!("{{\"x\": [{}]}}", vec![value; count].join(","));
    for value in ["[]", "1", "{}", "\"\""] {
        let read = |files: &[(&str, &str)]| Bundle::read("b", &pack(files), limit);
        let text = many(value, 36_000);
        let error = read(&[("data.json", &text)]).unwrap_err();
        assert!(matches!(error, BundleError::Values { limit: 32_768, .. }), "{value}: {error}");
        assert!(read(&[("data.json", &many(value, 8000))]).is_ok(), "{value}");
        let half = many(value, 10_000);
        let files: Vec<String> = (0..4).map(|folder| format!("f{folder}/data.json")).collect();
        let files: Vec<(&str, &str)> = files.iter().map(|path| (path.as_str(), half.as_str())).collect();
        let error = read(&files).unwrap_err();
        assert!(
            matches!(&error, BundleError::Values { path, .. } if path != "f0/data.json"),
            "{value}: {error}"
        );
    }
    let yaml = format!("x: [{}]", vec!["1"; 15_000].join(","));
    let error = Bundle::read(
        "b",
        &pack(&["a/data.yaml", "b/data.yaml", "c/data.yaml"].map(|path| (path, yaml.as_str()))),
        limit,
    )
    .unwrap_err();
    assert!(matches!(error, BundleError::Values { .. }), "{error}");
}
