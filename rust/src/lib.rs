//! hakmem as Rust's global allocator, and what its heap is made of.
//!
//! ```
//! #[global_allocator]
//! static ALLOCATOR: hakmem::Hakmem = hakmem::Hakmem;
//! ```
//!
//! The feature `hardened` selects the variant that finds double frees, overflows and writes after free, and then ends
//! the process with a report. C libraries in the same program keep libc's malloc. To replace that too, preload or link
//! libhakmem.so.
#![no_std]

use core::alloc::{GlobalAlloc, Layout};
use core::ffi::{c_char, c_int, c_void, CStr};

extern "C" {
    fn hak_malloc(size: usize) -> *mut c_void;
    fn hak_calloc(count: usize, size: usize) -> *mut c_void;
    fn hak_realloc(obj: *mut c_void, size: usize) -> *mut c_void;
    fn hak_aligned_alloc(align: usize, size: usize) -> *mut c_void;
    fn hak_free_sized(obj: *mut c_void, size: usize);
    fn hak_free_aligned_sized(obj: *mut c_void, align: usize, size: usize);
    fn hak_usable_size(obj: *const c_void) -> usize;
    fn hak_trim(keep: usize) -> c_int;
    fn hak_profile_save(path: *const c_char) -> usize;
    fn hak_stats_json(out: *mut c_char, size: usize) -> usize;
    fn hak_version() -> *const c_char;
    fn hak_variant() -> *const c_char;
}

/// The alignment of every object. Larger alignments use another call.
const MIN_ALIGN: usize = 16;

/// The allocator. The type has no state: there is one heap per process.
pub struct Hakmem;

// Safety: an object is live until it is freed; its size and alignment are at least those of the layout; no call panics.
// The hardened variant checks at dealloc that the layout is that of the allocation.
unsafe impl GlobalAlloc for Hakmem {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= MIN_ALIGN {
            hak_malloc(layout.size()) as *mut u8
        } else {
            hak_aligned_alloc(layout.align(), layout.size()) as *mut u8
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= MIN_ALIGN {
            return hak_calloc(1, layout.size()) as *mut u8;
        }
        let obj = self.alloc(layout);
        if !obj.is_null() {
            obj.write_bytes(0, layout.size());
        }
        obj
    }

    unsafe fn dealloc(&self, obj: *mut u8, layout: Layout) {
        if layout.align() <= MIN_ALIGN {
            hak_free_sized(obj as *mut c_void, layout.size());
        } else {
            hak_free_aligned_sized(obj as *mut c_void, layout.align(), layout.size());
        }
    }

    unsafe fn realloc(&self, obj: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if layout.align() <= MIN_ALIGN {
            return hak_realloc(obj as *mut c_void, size) as *mut u8;
        }
        let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
        if !moved.is_null() {
            moved.copy_from_nonoverlapping(obj, layout.size().min(size));
            self.dealloc(obj, layout);
        }
        moved
    }
}

fn text(from: *const c_char) -> &'static str {
    // Safety: static strings of the library, in ASCII.
    unsafe { CStr::from_ptr(from) }.to_str().unwrap_or("")
}

/// The version of the allocator.
pub fn version() -> &'static str {
    text(unsafe { hak_version() })
}

/// "speed" or "hardened".
pub fn variant() -> &'static str {
    text(unsafe { hak_variant() })
}

/// The number of bytes that the object's owner may use.
///
/// # Safety
/// `obj` is a live object of this allocator.
pub unsafe fn usable_size(obj: *const u8) -> usize {
    hak_usable_size(obj as *const c_void)
}

/// Gives free memory back until at most `keep` bytes of it are resident. True when some was given back.
pub fn trim(keep: usize) -> bool {
    unsafe { hak_trim(keep) != 0 }
}

/// Writes statistics as JSON and returns their length in bytes: at least `out.len()` when the text was cut.
pub fn stats_json(out: &mut [u8]) -> usize {
    unsafe { hak_stats_json(out.as_mut_ptr() as *mut c_char, out.len()) }
}

/// Appends the heap profile to a file. Returns the bytes per sample, or 0 when the process has no profile.
pub fn profile_save(path: &CStr) -> usize {
    unsafe { hak_profile_save(path.as_ptr()) }
}
