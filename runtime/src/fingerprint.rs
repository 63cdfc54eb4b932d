//! A number that tells two programs of one size apart, for `rrun explain`. FNV-1a: nobody is to be kept from finding two that are alike.

/// Of a program's instructions, each as one number.
pub fn fingerprint(words: impl IntoIterator<Item = u64>) -> u64 {
    words
        .into_iter()
        .flat_map(u64::to_le_bytes)
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::fingerprint;

    #[test]
    fn order_and_every_bit_count() {
        let all = [vec![], vec![0], vec![1], vec![1 << 63], vec![0, 1], vec![1, 0]].map(fingerprint);
        for (i, a) in all.iter().enumerate() {
            assert!(all.iter().skip(i + 1).all(|b| a != b), "{i}");
        }
    }
}
