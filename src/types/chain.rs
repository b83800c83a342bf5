//! ChainIDs: what containerd calls the snapshots of an image's layers.

use sha2::{Digest as _, Sha256};

/// Returns the ChainIDs of layers by their DiffIDs, from the base layer up.
///
/// The first is the DiffID itself; each further one is the digest of the one before it, a space, and the next DiffID.
pub fn chain_ids<'d>(diff_ids: impl Iterator<Item = &'d str>) -> Vec<String> {
    let mut chain: Vec<String> = Vec::new();
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => diff_id.to_owned(),
            Some(below) => sha256(&format!("{below} {diff_id}")),
        };
        chain.push(next);
    }
    chain
}

fn sha256(text: &str) -> String {
    let digits = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("sha256:{digits}")
}

#[cfg(test)]
mod tests {
    use super::chain_ids;

    #[test]
    fn they_are_those_of_the_specification() {
        let diff_ids = ["a", "b", "c"].map(|digit| format!("sha256:{}", digit.repeat(64)));
        // As printed by `printf 'sha256:aa.. sha256:bb..' | sha256sum`, and so on.
        let second = "sha256:ccd722928bd92476ba1745586fed6e45a102504185ad88cd89e01ff116fd146c";
        let third = "sha256:c1377126441fb2f5ec2c21ae2a60255331d639e830f0ee1b40a36e52d4c40588";
        assert_eq!(chain_ids(diff_ids.iter().map(String::as_str)), [diff_ids[0].as_str(), second, third]);
        assert_eq!(chain_ids([].into_iter()), Vec::<String>::new());
    }
}
