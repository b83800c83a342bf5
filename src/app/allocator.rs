//! What the C library's allocator is told, so that the daemon stays small.

/// Has threads share arenas. By default there can be eight a core, and each keeps what was free in it at the worst
/// moment: with the threads of the blocking pool that was more than all records in memory.
///
/// To be called before threads are started.
#[expect(unsafe_code, reason = "the C library has no other call for it")]
pub(super) fn share_arenas() {
    #[cfg(target_env = "gnu")]
    {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let arenas = i32::try_from(cores).unwrap_or(i32::MAX).clamp(2, 16);
        // SAFETY: sets a number that the allocator reads when a thread looks for an arena; takes no pointer.
        unsafe { nix::libc::mallopt(nix::libc::M_ARENA_MAX, arenas) };
    }
}

/// Gives back what opening and recovering needed for a moment; the allocator would keep it for later.
#[expect(unsafe_code, reason = "the C library has no other call for it")]
pub(super) fn return_free() {
    // SAFETY: releases only memory that nothing uses; may be called at any time, from any thread.
    #[cfg(target_env = "gnu")]
    unsafe {
        nix::libc::malloc_trim(0);
    }
}
