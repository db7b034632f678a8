//! What a VM is at one moment: its memory and its globals, and how it goes back to it in microseconds.
//!
//! On Linux an [`Image`] is a file in memory that is mapped privately over the guest's memory: the kernel then knows which
//! pages the guest has changed since, and only those are copied back. Elsewhere every page is compared.

use wasmtime::{AsContextMut, Memory, Val};
use xxhash_rust::xxh3::Xxh3;

const PAGE_BYTES: usize = 4096;

/// What a VM was when it was frozen.
#[derive(Debug)]
pub(super) struct Image {
    bytes: Vec<u8>,
    globals: Vec<Val>,
    #[cfg(target_os = "linux")]
    tracker: Option<tracker::Tracker>,
}

/// What a VM was at a later moment: the pages that differ from its image.
#[derive(Debug, Clone, Default)]
pub(super) struct Checkpoint {
    /// Numbers of pages, in order.
    pages: Vec<usize>,
    /// What was in them, one after the other.
    bytes: Vec<u8>,
    size: usize,
    globals: Vec<Val>,
}

// === impl Image ===

impl Image {
    pub(super) fn take(memory: Memory, store: &mut impl AsContextMut, globals: Vec<Val>) -> Image {
        let bytes = memory.data(&*store).to_vec();
        let mut image = Image {
            bytes,
            globals,
            #[cfg(target_os = "linux")]
            tracker: None,
        };
        image.track(memory, store);
        image
    }

    /// Follows another memory, of a VM that was made anew. Its contents are then those of the image.
    #[cfg(target_os = "linux")]
    pub(super) fn track(&mut self, memory: Memory, store: &mut impl AsContextMut) {
        // The file is the same for every memory: a private mapping never changes it.
        let file = self.tracker.take().map(tracker::Tracker::into_file);
        self.tracker = tracker::Tracker::map(&self.bytes, file, memory, store);
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn track(&mut self, _memory: Memory, _store: &mut impl AsContextMut) {}

    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Copies back what has changed, and gives the globals.
    pub(super) fn restore(&self, memory: Memory, store: &mut impl AsContextMut) -> &[Val] {
        for page in self.changed(memory, store) {
            copy(memory.data_mut(&mut *store), page, self.page(page));
        }
        &self.globals
    }

    /// Fills what lies below an address with zeros, where it has changed.
    pub(super) fn clear_below(&self, end: usize, memory: Memory, store: &mut impl AsContextMut) {
        let changed = self.changed(memory, store);
        let bytes = memory.data_mut(&mut *store);
        let end = end.min(bytes.len());
        for start in changed.into_iter().map(|page| page * PAGE_BYTES).take_while(|start| *start < end) {
            bytes[start..end.min(start + PAGE_BYTES)].fill(0);
        }
    }

    /// What the VM is now, in few bits: the pages that differ from the image, and the globals. `None` where a global is a
    /// reference, which has no bits.
    pub(super) fn digest(
        &self,
        memory: Memory,
        store: &mut impl AsContextMut,
        globals: &[Val],
    ) -> Option<u128> {
        let mut digest = Xxh3::new();
        let changed = self.changed(memory, store);
        let bytes = memory.data(&*store);
        digest.update(&bytes.len().to_le_bytes());
        for page in changed {
            let now = bytes.chunks(PAGE_BYTES).nth(page);
            if let Some(now) = now.filter(|now| self.page(page) != Some(now)) {
                digest.update(&page.to_le_bytes());
                digest.update(now);
            }
        }
        for global in globals {
            match global {
                Val::I32(value) => digest.update(&value.to_le_bytes()),
                Val::I64(value) => digest.update(&value.to_le_bytes()),
                Val::F32(bits) => digest.update(&bits.to_le_bytes()),
                Val::F64(bits) => digest.update(&bits.to_le_bytes()),
                Val::V128(bits) => digest.update(&bits.as_u128().to_le_bytes()),
                _ => return None,
            }
        }
        Some(digest.digest128())
    }

    /// The pages that may differ from the image, in order.
    fn changed(&self, memory: Memory, store: &mut impl AsContextMut) -> Vec<usize> {
        #[cfg(target_os = "linux")]
        if let Some(pages) = self.tracker.as_ref().and_then(|tracker| tracker.changed(memory, store)) {
            return pages;
        }
        let bytes = memory.data(&*store);
        bytes
            .chunks(PAGE_BYTES)
            .enumerate()
            .filter(|(page, now)| self.page(*page) != Some(*now))
            .map(|(page, _)| page)
            .collect()
    }

    fn page(&self, page: usize) -> Option<&[u8]> {
        self.bytes.chunks(PAGE_BYTES).nth(page)
    }
}

// === impl Checkpoint ===

impl Checkpoint {
    pub(super) fn take(
        image: Option<&Image>,
        memory: Memory,
        store: &mut impl AsContextMut,
        globals: Vec<Val>,
    ) -> Checkpoint {
        let changed = match image {
            Some(image) => image.changed(memory, store),
            None => (0..memory.data_size(&*store).div_ceil(PAGE_BYTES)).collect(),
        };
        let memory = memory.data(&*store);
        let mut checkpoint = Checkpoint {
            pages: Vec::with_capacity(changed.len()),
            bytes: Vec::with_capacity(changed.len() * PAGE_BYTES),
            size: memory.len(),
            globals,
        };
        for page in changed {
            if let Some(bytes) = memory.chunks(PAGE_BYTES).nth(page) {
                checkpoint.pages.push(page);
                checkpoint.bytes.extend_from_slice(bytes);
            }
        }
        checkpoint
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// About how much memory this takes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Checkpoint>() + self.bytes.capacity() + self.pages.capacity() * size_of::<usize>()
    }

    /// Copies back what has changed, and gives the globals.
    pub(super) fn restore(
        &self,
        image: Option<&Image>,
        memory: Memory,
        store: &mut impl AsContextMut,
    ) -> &[Val] {
        let own = |page: usize| {
            let index = self.pages.binary_search(&page).ok()?;
            self.bytes.chunks(PAGE_BYTES).nth(index)
        };
        match image {
            Some(image) => {
                let mut changed = image.changed(memory, store);
                // A VM that was made anew has the image's pages again, not the checkpoint's.
                changed.extend_from_slice(&self.pages);
                for page in changed {
                    copy(memory.data_mut(&mut *store), page, own(page).or(image.page(page)));
                }
            }
            None => {
                for (page, bytes) in self.pages.iter().zip(self.bytes.chunks(PAGE_BYTES)) {
                    copy(memory.data_mut(&mut *store), *page, Some(bytes));
                }
            }
        }
        &self.globals
    }
}

/// Writes a page; what the source does not have is zero, as fresh memory is.
fn copy(memory: &mut [u8], page: usize, source: Option<&[u8]>) {
    let Some(target) = memory.chunks_mut(PAGE_BYTES).nth(page) else {
        return;
    };
    match source {
        Some(source) => target.copy_from_slice(source),
        None => target.fill(0),
    }
}

#[cfg(target_os = "linux")]
mod tracker {
    //! Which pages of a private mapping the guest has changed.
    //!
    //! Source: the kernel's `Documentation/admin-guide/mm/pagemap.rst`: a page of a private file mapping stays a page of
    //! the file until it is written to.

    use std::{fs::File, os::unix::fs::FileExt};

    use rustix::{
        fs::{MemfdFlags, memfd_create},
        mm::{MapFlags, ProtFlags, mmap},
    };
    use wasmtime::{AsContextMut, Memory};

    use super::PAGE_BYTES;

    const ENTRY_BYTES: usize = 8;
    const OF_FILE: u64 = 1 << 61;
    const SWAPPED: u64 = 1 << 62;
    const PRESENT: u64 = 1 << 63;

    #[derive(Debug)]
    pub(super) struct Tracker {
        /// With the bytes of the image.
        file: File,
        pagemap: File,
    }

    impl Tracker {
        pub(super) fn into_file(self) -> File {
            self.file
        }

        /// Maps a file with these bytes over the memory, or the one given, which has them already; `None` where the kernel
        /// does not let us, which only costs speed.
        pub(super) fn map(
            bytes: &[u8],
            file: Option<File>,
            memory: Memory,
            store: &mut impl AsContextMut,
        ) -> Option<Tracker> {
            let base = memory.data_ptr(&*store);
            let whole_pages =
                bytes.len().is_multiple_of(PAGE_BYTES) && base.addr().is_multiple_of(PAGE_BYTES);
            if bytes.is_empty() || !whole_pages || memory.data_size(&*store) < bytes.len() {
                return None;
            }
            if rustix::param::page_size() != PAGE_BYTES {
                return None;
            }
            let pagemap = File::open("/proc/self/pagemap").ok()?;
            let file = match file {
                Some(file) => file,
                None => {
                    let file = File::from(memfd_create("portcullis", MemfdFlags::CLOEXEC).ok()?);
                    file.write_all_at(bytes, 0).ok()?;
                    file
                }
            };
            let (read_write, private) =
                (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::FIXED);
            // SAFETY: the range is the guest's memory, which wasmtime has reserved and made readable and writable, and
            // which stays where it is for as long as the instance lives (it grows in place, within its reservation). It
            // keeps that protection. No reference into it lives here, because the store is borrowed, and no
            // guest runs. wasmtime unmaps the whole reservation in the end, whatever was mapped into it.
            let mapped = unsafe { mmap(base.cast(), bytes.len(), read_write, private, &file, 0) };
            mapped.ok().map(|_base| Tracker { file, pagemap })
        }

        /// The pages that the guest has changed, in order; `None` when the kernel does not say.
        pub(super) fn changed(&self, memory: Memory, store: &mut impl AsContextMut) -> Option<Vec<usize>> {
            let first = memory.data_ptr(&*store).addr() / PAGE_BYTES;
            let count = memory.data_size(&*store) / PAGE_BYTES;
            let mut entries = vec![0; count * ENTRY_BYTES];
            self.pagemap.read_exact_at(&mut entries, (first * ENTRY_BYTES) as u64).ok()?;
            let changed = |entry: &[u8]| {
                let entry = entry.try_into().map(u64::from_le_bytes).unwrap_or(PRESENT);
                entry & OF_FILE == 0 && entry & (PRESENT | SWAPPED) != 0
            };
            let pages = entries.chunks(ENTRY_BYTES).enumerate();
            Some(pages.filter(|(_, entry)| changed(entry)).map(|(page, _)| page).collect())
        }
    }
}
