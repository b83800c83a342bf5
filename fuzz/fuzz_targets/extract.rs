//! Any bytes, extracted as an archive.
//!
//! Invariant: nothing outside of the directory changes, not even the layers below; it takes memory for what is in the
//! archive and not for what that says; what is reported of the result is so; nothing panics.
//!
//! The first byte says how: what is made of whiteouts, whether there are layers below, how the archive comes in, and whether
//! its checksums are put right first.

#![no_main]

use std::cell::OnceCell;

use leasehold_fuzz::archive::seal_all;
use leasehold_fuzz::diff::extract::Whiteouts;
use leasehold_fuzz::jail::Jail;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static JAIL: OnceCell<Jail> = const { OnceCell::new() };
}

fuzz_target!(|data: &[u8]| {
    let Some((how, archive)) = data.split_first() else { return };
    let mut archive = archive.to_vec();
    if how & 0x10 == 0 {
        seal_all(&mut archive);
    }
    let whiteouts =
        [Whiteouts::Overlay, Whiteouts::Remove, Whiteouts::OverlayUser, Whiteouts::Remove][usize::from(how & 3)];
    let chunk = if how & 8 == 0 { 1 << 20 } else { 7 };
    JAIL.with(|jail| {
        let jail = jail.get_or_init(Jail::enter);
        let parents = if how & 4 == 0 { vec![jail.lower()] } else { Vec::new() };
        // What it is refused for does not matter.
        _ = jail.extract(&archive, chunk, &jail.layer("0"), &parents, whiteouts);
    });
});
