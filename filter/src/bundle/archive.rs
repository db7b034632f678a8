//! The container: gzip around tar, read in steps, with a bound on what it inflates to.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, BufRead, Read},
    ops::Range,
    path::Component,
};

use flate2::bufread::MultiGzDecoder;

use crate::policy::segments::Segments;

/// A tar entry costs 512 bytes inflated and half a byte compressed; a bundle of small teams has a few dozen.
const MAX_ENTRIES: usize = 10_000;
/// A long name, or a list of attributes, is an entry of its own before the one that it belongs to.
const MAX_EXTENSION_BYTES: u64 = 64 << 10;
/// Data lies as deep as its folder, and whatever walks it goes that deep on the VM's stack.
const MAX_FOLDERS: usize = 64;
const BLOCK_BYTES: u64 = 512;
/// Bounds one step of inflating, both of what goes in and of what comes out: either can be large for nothing.
const COMPRESSED_PER_STEP: usize = 4 << 10;
const INFLATED_PER_STEP: usize = 32 << 10;

/// Why the container cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// There are no bytes at all.
    #[error("the answer is empty, not a gzip-compressed tar archive")]
    Empty,
    /// It is a page for people.
    #[error(
        "it is HTML, not a gzip-compressed tar archive: a page stands in front of the bundle server (a login, an error); check \
         the URL, and what the service sends as `credentials` and `headers`"
    )]
    Page,
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
    /// An entry's path has too many folders.
    #[error(
        "{path}…: more than {MAX_FOLDERS} folders lie within each other; put the data into one file above them"
    )]
    TooDeep {
        /// How the path begins.
        path: String,
    },
    /// An entry's path leads out of the archive or is not text.
    #[error("{path}: the path leads out of the archive or is not UTF-8")]
    Path {
        /// The path as far as it can be shown.
        path: String,
    },
}

/// Compressed bytes on their way out of gzip.
pub(super) struct Inflating<A> {
    decoder: MultiGzDecoder<Metered<A>>,
    buffer: Vec<u8>,
    inflated: Segments<u8>,
    limit_bytes: u64,
    left_bytes: u64,
}

/// An inflated archive whose entries are being listed.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Where the next header stands.
    at: usize,
    entries: usize,
    files: Files,
}

/// Where each file stands in the archive, by path without leading `/` or `./`, in order.
pub(super) type Files = BTreeMap<String, Range<usize>>;

// === impl ArchiveError ===

impl ArchiveError {
    fn malformed(error: &io::Error) -> Self {
        Self::Malformed { message: error.to_string() }
    }
}

// === impl Inflating ===

impl<A: AsRef<[u8]>> Inflating<A> {
    pub(super) fn new(archive: A, limit_bytes: u64) -> Self {
        Self {
            decoder: MultiGzDecoder::new(Metered { archive, at: 0, left: COMPRESSED_PER_STEP }),
            buffer: vec![0; INFLATED_PER_STEP],
            inflated: Segments::default(),
            limit_bytes,
            left_bytes: limit_bytes,
        }
    }

    /// Whether HTML came in the archive's place.
    fn is_page(&self) -> bool {
        let begin = self.decoder.get_ref().archive.as_ref().trim_ascii_start();
        let begin = begin.get(..9).unwrap_or(begin).to_ascii_lowercase();
        begin.starts_with(b"<html") || begin.starts_with(b"<!doctype")
    }

    /// Inflates a bounded piece; everything once there is no more.
    pub(super) fn step(&mut self) -> Option<Result<Segments<u8>, ArchiveError>> {
        self.decoder.get_mut().left = COMPRESSED_PER_STEP;
        let read = match self.decoder.read(&mut self.buffer) {
            Ok(0) => return Some(Ok(std::mem::take(&mut self.inflated))),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(_) if self.is_page() => return Some(Err(ArchiveError::Page)),
            Err(error) => return Some(Err(ArchiveError::malformed(&error))),
        };
        let Some(left) = self.left_bytes.checked_sub(read as u64) else {
            return Some(Err(ArchiveError::TooLarge { limit_bytes: self.limit_bytes }));
        };
        self.left_bytes = left;
        self.inflated.extend(self.buffer.get(..read).unwrap_or_default());
        None
    }
}

impl<A> fmt::Debug for Inflating<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflating").field("left_bytes", &self.left_bytes).finish_non_exhaustive()
    }
}

/// Gives so many bytes and then lets its reader wait until it is allowed more.
struct Metered<A> {
    archive: A,
    at: usize,
    left: usize,
}

impl<A: AsRef<[u8]>> BufRead for Metered<A> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let rest = self.archive.as_ref().get(self.at..).unwrap_or_default();
        match rest.get(..rest.len().min(self.left)) {
            Some([]) if !rest.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
            given => Ok(given.unwrap_or_default()),
        }
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
        self.left = self.left.saturating_sub(amount);
    }
}

impl<A: AsRef<[u8]>> Read for Metered<A> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut given = self.fill_buf()?;
        let read = given.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

// === impl Listing ===

impl Listing {
    /// Lists one entry; all files once there is no more.
    ///
    /// The reader cannot be put down between entries, but it can begin at any of them.
    pub(super) fn step(&mut self, inflated: &[u8]) -> Option<Result<Files, ArchiveError>> {
        match self.list_entry(inflated) {
            Ok(true) => None,
            Ok(false) => Some(Ok(std::mem::take(&mut self.files))),
            Err(error) => Some(Err(error)),
        }
    }

    fn list_entry(&mut self, inflated: &[u8]) -> Result<bool, ArchiveError> {
        let rest = inflated.get(self.at..).unwrap_or_default();
        check_headers(rest)?;
        let mut archive = tar::Archive::new(rest);
        let mut entries = archive.entries().map_err(|error| ArchiveError::malformed(&error))?;
        let Some(entry) = entries.next() else {
            return Ok(false);
        };
        if self.entries >= MAX_ENTRIES {
            return Err(ArchiveError::TooManyEntries);
        }
        self.entries += 1;
        let entry = entry.map_err(|error| ArchiveError::malformed(&error))?;
        let place = place(&entry, rest.len()).ok_or_else(|| ArchiveError::Malformed {
            message: "unexpected end of the archive within an entry".to_owned(),
        })?;
        let start = self.at;
        self.at = start + place.next;
        if entry.header().entry_type().is_file() {
            let path = normalise(&entry)?;
            let bytes = start + place.data.start..start + place.data.end;
            if self.files.insert(path.clone(), bytes).is_some() {
                return Err(ArchiveError::Duplicate { path });
            }
        }
        Ok(true)
    }
}

struct Place {
    data: Range<usize>,
    next: usize,
}

/// Where an entry's data stands, and the next header; none where that is beyond the end.
fn place<R: Read>(entry: &tar::Entry<'_, R>, length: usize) -> Option<Place> {
    let start = entry.raw_file_position();
    let end = start.checked_add(entry.size())?;
    let next = usize::try_from(end.checked_next_multiple_of(BLOCK_BYTES)?).ok()?;
    let data = usize::try_from(start).ok()?..usize::try_from(end).ok()?;
    (next <= length).then_some(Place { data, next })
}

/// Refuses what would make the reader of one entry go far: long extensions before it, and maps of holes.
fn check_headers(mut rest: &[u8]) -> Result<(), ArchiveError> {
    let malformed = |message: &str| Err(ArchiveError::Malformed { message: message.to_owned() });
    // Each kind of extension may stand there once; the reader refuses the second.
    for _ in 0..4 {
        let Some(block) = rest.get(..BLOCK_BYTES as usize) else {
            return Ok(());
        };
        let header = tar::Header::from_byte_slice(block);
        let kind = header.entry_type();
        if kind.is_gnu_sparse() {
            return malformed("it has a sparse file; write it with `--format=ustar`");
        }
        if !(kind.is_gnu_longname() || kind.is_gnu_longlink() || kind.is_pax_local_extensions()) {
            return Ok(());
        }
        // What is no number, the reader will refuse.
        let size = header.entry_size().unwrap_or(0);
        if size > MAX_EXTENSION_BYTES {
            return malformed("the attributes of an entry are larger than a path can be");
        }
        let next = BLOCK_BYTES + size.next_multiple_of(BLOCK_BYTES);
        rest = rest.get(next as usize..).unwrap_or_default();
    }
    Ok(())
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
    if parts.len() > MAX_FOLDERS + 1 {
        return Err(ArchiveError::TooDeep { path: shown().chars().take(100).collect() });
    }
    Ok(parts.join("/"))
}
