//! Which boot of the machine this is.

/// Returns a word that names this boot of the machine. Where there is none, one that is never used again: then
/// nothing is taken for sound that was not made durable.
pub fn boot() -> Box<str> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    boot.map_or_else(|_| uuid::Uuid::new_v4().to_string(), |boot| boot.trim().to_owned()).into()
}
