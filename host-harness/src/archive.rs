//! OPA bundle archives: a gzipped tar, byte for byte the same for the same files.
//!
//! Entries are named, moded and dated as `opa build` writes them (`/data.json`, 0600, 1970-01-01; seen with OPA
//! 1.20.2). Data files stay where they lie, while `opa build` merges them into one `/data.json`: OPA reads both
//! alike.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use flate2::{Compression, GzBuilder};
use tar::{EntryType, Header};

/// The files of one bundle, by their path from its root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Archive {
    /// Contents by entry name; every name starts with one `/`.
    files: BTreeMap<String, Vec<u8>>,
}

/// Which files of folders are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// Those of a bundle.
    Bundle,
    /// Those that tests need: with `*_test.rego`, and without manifests, which tests do not ask for.
    Tests,
}

/// Why folders could not be made into an archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// A folder or file could not be read.
    #[error("`{}` cannot be read: {source}: check that it exists and that you may read it", path.display())]
    Unreadable {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Two folders provide one path of the bundle.
    #[error(
        "`{}` and `{}` are both `{name}` in the bundle: remove or move one of them",
        first.display(), second.display()
    )]
    Collision {
        /// The entry's name.
        name: String,
        /// The file of the folder named earlier.
        first: PathBuf,
        /// The file of the folder named later.
        second: PathBuf,
    },
    /// A manifest that does not lie at the root of its folder. OPA would take it for the manifest of the whole
    /// bundle, and the last one read would win.
    #[error("`{}` is not at the root of its folder: move it to `{}`", path.display(), root.join(".manifest").display())]
    NestedManifest {
        /// The manifest.
        path: PathBuf,
        /// The folder given.
        root: PathBuf,
    },
    /// A path that cannot be the name of an entry.
    #[error("`{}` is not UTF-8: rename it, bundle paths are text", path.display())]
    NameNotText {
        /// The file or folder.
        path: PathBuf,
    },
    /// The folders hold nothing that belongs in a bundle.
    #[error(
        "no bundle file in {folders}: a bundle takes `.manifest`, `data.json`, `data.yaml`, `data.yml` and `*.rego`, \
         but not `*_test.rego` and nothing in hidden folders"
    )]
    Empty {
        /// The folders given, each in backticks.
        folders: String,
    },
}

// === impl Archive ===

impl Archive {
    /// An archive without files.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a file in, or replaces the one that was at this path.
    ///
    /// Shape: `path` is taken from the bundle's root, with or without a leading `/`; nothing is checked, so that a
    /// test can build what OPA must refuse.
    #[must_use]
    pub fn file(mut self, path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.insert(entry_name(path), bytes.into());
        self
    }

    /// Merges source folders into one archive; the root of each folder is the root of the bundle.
    ///
    /// Takes `.manifest` at a folder's root, and below it every `data.json`, `data.yaml`, `data.yml` and `*.rego`:
    /// what OPA reads from a directory bundle (OPA v1/bundle/bundle.go `Read`). Leaves out `*_test.rego`, hidden
    /// files and folders, and everything else. A link to a file is followed and a link to a folder is not, as in
    /// Go's `filepath.Walk`.
    ///
    /// Errors: [`ArchiveError`] for what cannot be read, for one path from two folders, for a manifest that is not
    /// at a root, and when nothing was taken.
    pub fn from_folders(folders: &[&Path]) -> Result<Self, ArchiveError> {
        Ok(Self::with_origins(folders, Take::Bundle)?.0)
    }

    /// The same, with the file that each entry was made of, by the entry's name. `take` says which files.
    pub fn with_origins(
        folders: &[&Path],
        take: Take,
    ) -> Result<(Self, BTreeMap<String, PathBuf>), ArchiveError> {
        let mut origins = BTreeMap::new();
        for root in folders {
            let mut found = Vec::new();
            collect(root, root, "", take, &mut found)?;
            for (name, second) in found {
                if let Some(first) = origins.insert(name.clone(), second.clone()) {
                    return Err(ArchiveError::Collision { name, first, second });
                }
            }
        }
        if origins.is_empty() {
            let quoted: Vec<_> = folders.iter().map(|folder| format!("`{}`", folder.display())).collect();
            return Err(ArchiveError::Empty { folders: quoted.join(", ") });
        }
        let mut files = BTreeMap::new();
        for (name, path) in &origins {
            let bytes =
                fs::read(path).map_err(|source| ArchiveError::Unreadable { path: path.clone(), source })?;
            files.insert(name.clone(), bytes);
        }
        Ok((Self { files }, origins))
    }

    /// Names of the entries, sorted; each starts with `/`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// The contents of an entry, by its name with the leading `/`.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(Vec::as_slice)
    }

    /// The archive's bytes: a gzip stream of a tar with one regular file per entry, sorted by name.
    pub fn build(&self) -> Vec<u8> {
        // 255 is "unknown system", as Go writes it; the default would differ between platforms.
        let gzip = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::default());
        let mut tar = tar::Builder::new(gzip);
        for (name, bytes) in &self.files {
            append(&mut tar, name, bytes).expect("writing into memory does not fail");
        }
        tar.into_inner().and_then(|gzip| gzip.finish()).expect("writing into memory does not fail")
    }
}

fn entry_name(path: &str) -> String {
    format!("/{}", path.trim_start_matches('/'))
}

/// Collects the bundle files of `folder` as (entry name, path); `prefix` is the entry name of `folder`.
fn collect(
    root: &Path,
    folder: &Path,
    prefix: &str,
    take: Take,
    found: &mut Vec<(String, PathBuf)>,
) -> Result<(), ArchiveError> {
    let unreadable = |source| ArchiveError::Unreadable { path: folder.to_path_buf(), source };
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let path = entry.path();
        let file_name = entry.file_name();
        let file_type =
            entry.file_type().map_err(|source| ArchiveError::Unreadable { path: path.clone(), source })?;
        let hidden = file_name.as_encoded_bytes().starts_with(b".");
        if file_type.is_dir() {
            if !hidden {
                let name =
                    file_name.to_str().ok_or_else(|| ArchiveError::NameNotText { path: path.clone() })?;
                collect(root, &path, &format!("{prefix}/{name}"), take, found)?;
            }
        } else if file_name == ".manifest" && take == Take::Tests {
            continue;
        } else if file_name == ".manifest" && !prefix.is_empty() {
            return Err(ArchiveError::NestedManifest { path, root: root.to_path_buf() });
        } else if is_bundle_file(file_name.as_encoded_bytes(), take) {
            // Follows a link, so that a dangling one is an error and not a file less.
            let target = fs::metadata(&path)
                .map_err(|source| ArchiveError::Unreadable { path: path.clone(), source })?;
            if !target.is_file() {
                continue;
            }
            let name = file_name.to_str().ok_or_else(|| ArchiveError::NameNotText { path: path.clone() })?;
            found.push((format!("{prefix}/{name}"), path));
        }
    }
    Ok(())
}

fn is_bundle_file(name: &[u8], take: Take) -> bool {
    match name {
        b".manifest" | b"data.json" | b"data.yaml" | b"data.yml" => true,
        _ => {
            let is_left_out = name.ends_with(b"_test.rego") && take == Take::Bundle;
            name.ends_with(b".rego") && !is_left_out && !name.starts_with(b".")
        }
    }
}

/// Appends one file. The `tar` crate refuses the leading `/` that OPA writes, so the name goes in by hand: in the
/// header's name field, split over its prefix field, or in a PAX record, whichever it fits first (as in Go's
/// archive/tar).
fn append<W: io::Write>(tar: &mut tar::Builder<W>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o600);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(bytes.len() as u64);
    let fields = header.as_ustar_mut().expect("the header was made as ustar");
    let (name_size, prefix_size) = (fields.name.len(), fields.prefix.len());
    match split_name(name, name_size, prefix_size) {
        Some((prefix, rest)) => {
            fields.name[..rest.len()].copy_from_slice(rest.as_bytes());
            fields.prefix[..prefix.len()].copy_from_slice(prefix.as_bytes());
        }
        None => {
            let cut = name.floor_char_boundary(name_size);
            fields.name[..cut].copy_from_slice(&name.as_bytes()[..cut]);
            tar.append_pax_extensions([("path", name.as_bytes())])?;
        }
    }
    header.set_cksum();
    tar.append(&header, bytes)
}

/// Splits a name at a `/` into (prefix, name) that fit the fields of a ustar header; the prefix is empty if it fits
/// whole. Source: POSIX.1-1988 ustar interchange format.
fn split_name(name: &str, name_size: usize, prefix_size: usize) -> Option<(&str, &str)> {
    if name.len() <= name_size {
        return Some(("", name));
    }
    name.match_indices('/')
        .map(|(at, _)| (&name[..at], &name[at + 1..]))
        .find(|(prefix, rest)| !prefix.is_empty() && prefix.len() <= prefix_size && rest.len() <= name_size)
        .filter(|(_, rest)| !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::io::Read;

    #[test]
    fn the_same_files_give_the_same_bytes_in_whatever_order_they_came() {
        let one = Archive::new().file("data.json", "{}").file("/a/p.rego", "package a");
        let other = Archive::new().file("/a/p.rego", "package a").file("/data.json", "{}");
        assert_eq!(one.build(), other.build());
    }

    #[test]
    fn the_gzip_header_holds_no_time_and_no_system() {
        assert_eq!(Archive::new().build()[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
    }

    #[test]
    fn entries_look_like_those_of_opa_build() {
        let bytes = Archive::new().file(".manifest", "{}").file("a/data.json", "{\"x\":1}").build();
        let mut tar = tar::Archive::new(GzDecoder::new(bytes.as_slice()));
        let seen: Vec<_> = tar
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                assert_eq!((header.mode().unwrap(), header.mtime().unwrap()), (0o600, 0));
                assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
                assert_eq!(header.entry_type(), EntryType::Regular);
                String::from_utf8(entry.path_bytes().into_owned()).unwrap()
            })
            .collect();
        assert_eq!(seen, ["/.manifest", "/a/data.json"]);
    }

    #[test]
    fn names_of_every_length_survive() {
        let deep = "d/".repeat(60);
        for name in [
            "short.rego".to_owned(),
            format!("{}.rego", "n".repeat(94)),
            format!("{deep}p.rego"),
            format!("{}.rego", "n".repeat(300)),
            format!("{}.rego", "\u{e9}".repeat(120)),
        ] {
            let bytes = Archive::new().file(&name, "package p").build();
            assert_eq!(unpack(&bytes), [(format!("/{name}"), "package p".to_owned())], "`{name}`");
        }
    }

    #[test]
    fn folders_are_merged_and_only_bundle_files_are_taken() {
        let (rules, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(rules.path(), &["a/p.rego", "a/p_test.rego", "README.md", ".hidden.rego", ".git/x.rego"]);
        write(
            data.path(),
            &[".manifest", "data.json", "a/data.yaml", "b/data.yml", "b/other.json", ".signatures.json"],
        );
        let archive = Archive::from_folders(&[rules.path(), data.path()]).unwrap();
        let names: Vec<_> = archive.names().collect();
        assert_eq!(names, ["/.manifest", "/a/data.yaml", "/a/p.rego", "/b/data.yml", "/data.json"]);
        assert_eq!(unpack(&archive.build())[2], ("/a/p.rego".to_owned(), "a/p.rego".to_owned()));
    }

    #[test]
    fn one_path_from_two_folders_is_an_error_that_names_both() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(one.path(), &["a/data.json"]);
        write(two.path(), &["a/data.json"]);
        let error = Archive::from_folders(&[one.path(), two.path()]).unwrap_err().to_string();
        for part in [
            one.path().join("a/data.json").to_str().unwrap(),
            two.path().join("a/data.json").to_str().unwrap(),
            "`/a/data.json`",
            "remove or move",
        ] {
            assert!(error.contains(part), "`{part}` is missing in: {error}");
        }
    }

    #[test]
    fn a_manifest_below_the_root_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &["a/.manifest", "a/p.rego"]);
        let error = Archive::from_folders(&[folder.path()]).unwrap_err();
        assert!(matches!(error, ArchiveError::NestedManifest { .. }), "{error}");
    }

    #[test]
    fn a_folder_without_bundle_files_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &["README.md", "p_test.rego"]);
        let error = Archive::from_folders(&[folder.path()]).unwrap_err().to_string();
        assert!(error.contains(folder.path().to_str().unwrap()) && error.contains("*_test.rego"), "{error}");
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = Archive::from_folders(&[Path::new("/no/such/folder")]).unwrap_err().to_string();
        assert!(error.starts_with("`/no/such/folder` cannot be read"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn links_to_files_are_followed_and_links_to_folders_are_not() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(elsewhere.path(), &["p.rego", "sub/q.rego"]);
        std::os::unix::fs::symlink(elsewhere.path().join("p.rego"), folder.path().join("p.rego")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path().join("sub"), folder.path().join("sub")).unwrap();
        let archive = Archive::from_folders(&[folder.path()]).unwrap();
        assert_eq!(archive.names().collect::<Vec<_>>(), ["/p.rego"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_dangling_link_to_a_bundle_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/no/such/file", folder.path().join("data.json")).unwrap();
        let error = Archive::from_folders(&[folder.path()]).unwrap_err();
        assert!(matches!(error, ArchiveError::Unreadable { .. }), "{error}");
    }

    /// Writes files that hold their own names.
    fn write(root: &Path, names: &[&str]) {
        for name in names {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
    }

    fn unpack(bytes: &[u8]) -> Vec<(String, String)> {
        let mut tar = tar::Archive::new(GzDecoder::new(bytes));
        tar.entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
                let mut text = String::new();
                entry.read_to_string(&mut text).unwrap();
                (name, text)
            })
            .collect()
    }
}
