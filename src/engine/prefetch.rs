//! Telling the processor what will be read soon: the only `unsafe` of the library.
//!
//! A prefetch is a hint: it changes nothing that a program can observe, it faults at no address,
//! and where the machine has no such instruction it is nothing at all.

/// Asks for the cache line `value` begins on. Returns at once.
#[inline(always)]
#[allow(unsafe_code)]
pub(super) fn prefetch<T: ?Sized>(value: &T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let address = std::ptr::from_ref(value).cast::<i8>();
        debug_assert!(!address.is_null());
        // SAFETY: `_mm_prefetch` reads no memory the program could see and faults at no address; it
        // is `unsafe` only for taking a pointer. This one comes from a reference, so it is even
        // valid to read.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = value;
}
