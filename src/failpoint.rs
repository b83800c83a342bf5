//! Named points at which the crash tests end the process.
//!
//! Without the feature `failpoints` a point is nothing. With it, the process appends the name of every point that it
//! passes to the file `LEASEHOLD_POINTS`, and aborts where `LEASEHOLD_CRASH_AT` says: `3 store: written` is the third
//! time that it passes the point of that name. So a first run counts the points, and later runs crash at each of them.

/// Passes the point `name`.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn hit(_name: &'static str) {}

/// Passes the point `name`; ends the process when it is the one that the environment names.
#[cfg(feature = "failpoints")]
pub fn hit(name: &'static str) {
    use std::io::Write;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{LazyLock, Mutex};

    static PASSED: AtomicU64 = AtomicU64::new(0);
    static CRASH_AT: LazyLock<Option<(u64, String)>> = LazyLock::new(|| {
        let at = std::env::var("LEASEHOLD_CRASH_AT").ok()?;
        let (number, name) = at.split_once(' ')?;
        Some((number.parse().ok()?, name.to_owned()))
    });
    static TRACE: LazyLock<Option<Mutex<std::fs::File>>> = LazyLock::new(|| {
        let path = std::env::var_os("LEASEHOLD_POINTS")?;
        std::fs::OpenOptions::new().create(true).append(true).open(path).ok().map(Mutex::new)
    });

    if let Some(Ok(mut file)) = TRACE.as_ref().map(Mutex::lock) {
        // One write, so that lines of several threads do not mix.
        drop(file.write_all(format!("{name}\n").as_bytes()));
    }
    if let Some((number, crash_at)) = &*CRASH_AT
        && crash_at == name
        && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *number
    {
        // No destructor and no exit handler runs, as in a kill -9.
        std::process::abort();
    }
}
