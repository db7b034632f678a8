//! The container: gzip around tar, with a bound on what it inflates to.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    path::Component,
};

/// A tar entry costs 512 bytes inflated and half a byte compressed; a bundle of small teams has a few dozen.
const MAX_ENTRIES: usize = 10_000;

/// Why the container cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// There are no bytes at all.
    #[error("the answer is empty, not a gzip-compressed tar archive")]
    Empty,
    /// It is not gzip, not tar, or ends too early.
    #[error("it is not a complete gzip-compressed tar archive: {message}")]
    Malformed {
        /// The reader's message.
        message: String,
    },
    /// It inflates beyond the limit.
    #[error(
        "it inflates to more than {limit_bytes} bytes; raise `size_limit_bytes` of the bundle or split it"
    )]
    TooLarge {
        /// The configured limit.
        limit_bytes: u64,
    },
    /// It has too many files.
    #[error("it has more than {MAX_ENTRIES} entries; split the bundle")]
    TooManyEntries,
    /// Two entries have one path, and which of them counts would depend on the reader.
    #[error("{path}: the archive has this file twice")]
    Duplicate {
        /// The path of both.
        path: String,
    },
    /// An entry's path leads out of the archive or is not text.
    #[error("{path}: the path leads out of the archive or is not UTF-8")]
    Path {
        /// The path as far as it can be shown.
        path: String,
    },
}

/// Files by path, without leading `/` or `./`, in order.
pub(super) fn unpack(archive: &[u8], limit_bytes: u64) -> Result<BTreeMap<String, Vec<u8>>, ArchiveError> {
    if archive.is_empty() {
        return Err(ArchiveError::Empty);
    }
    // One byte more than allowed tells "too large" from "exactly full".
    let mut inflated =
        Bounded { inner: flate2::read::MultiGzDecoder::new(archive), left: limit_bytes, hit: false };
    let result = read_entries(&mut inflated);
    if inflated.hit {
        return Err(ArchiveError::TooLarge { limit_bytes });
    }
    result
}

fn read_entries(inflated: &mut impl Read) -> Result<BTreeMap<String, Vec<u8>>, ArchiveError> {
    let malformed = |error: io::Error| ArchiveError::Malformed { message: error.to_string() };
    let mut files = BTreeMap::new();
    let mut tar = tar::Archive::new(&mut *inflated);
    for (index, entry) in tar.entries().map_err(malformed)?.enumerate() {
        if index >= MAX_ENTRIES {
            return Err(ArchiveError::TooManyEntries);
        }
        let mut entry = entry.map_err(malformed)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = normalise(&entry)?;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(malformed)?;
        if files.insert(path.clone(), bytes).is_some() {
            return Err(ArchiveError::Duplicate { path });
        }
    }

    // The gzip trailer lies behind tar's own end; a truncated download shows only there.
    io::copy(inflated, &mut io::sink()).map_err(malformed)?;
    Ok(files)
}

fn normalise<R: Read>(entry: &tar::Entry<'_, R>) -> Result<String, ArchiveError> {
    let shown = || String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    let refused = || ArchiveError::Path { path: shown() };
    let path = entry.path().map_err(|_| refused())?;
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(part) => parts.push(part.to_str().ok_or_else(refused)?),
            Component::ParentDir | Component::Prefix(_) => return Err(refused()),
        }
    }
    Ok(parts.join("/"))
}

/// Ends the stream with an error, and remembers why, when more than the limit comes out of it.
struct Bounded<R> {
    inner: R,
    left: u64,
    hit: bool,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => self.left = left,
            None => {
                self.hit = true;
                return Err(io::Error::other("too large"));
            }
        }
        Ok(read)
    }
}
