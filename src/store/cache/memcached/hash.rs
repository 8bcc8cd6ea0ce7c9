//! Chooses the server of a key: rendezvous hashing with MurmurHash3, as in pymemcache's `HashClient`, which
//! Django's `PyMemcacheCache` uses.

/// The index of the server that keeps this key. `names` are the servers as `host:port`.
pub(super) fn server_of<'n>(names: impl Iterator<Item = &'n str>, key: &str) -> usize {
    let scores =
        names.enumerate().map(|(index, name)| (murmur3(format!("{name}-{key}").as_bytes()), name, index));
    // For equal scores the name decides, as in pymemcache.
    scores.max().map_or(0, |(_, _, index)| index)
}

/// MurmurHash3, 32 bits, seed 0.
fn murmur3(data: &[u8]) -> u32 {
    let scramble = |word: u32| word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let mut hash = 0u32;
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        hash ^= scramble(u32::from_le_bytes(*word));
        hash = hash.rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    let mut last = [0; 4];
    last[..tail.len()].copy_from_slice(tail);
    hash ^= scramble(u32::from_le_bytes(last));
    hash ^= data.len() as u32;
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected values come from pymemcache 4.0.0.
    #[test]
    fn keys_go_where_pymemcache_sends_them() {
        assert_eq!(murmur3(b""), 0x00000000);
        assert_eq!(murmur3(b"a"), 0x3c2569b2);
        assert_eq!(murmur3(b"ab"), 0x9bbfd75f);
        assert_eq!(murmur3(b"abc"), 0xb3dd93fa);
        assert_eq!(murmur3(b"abcd"), 0x43ed676a);
        assert_eq!(
            murmur3(b"127.0.0.1:11211-:1:django.contrib.sessions.cacheabcdefgh12345678abcdefgh12345678"),
            0x6832fdc5
        );
        let names = ["127.0.0.1:11211", "127.0.0.1:11212", "cache.example:11211"];
        let expected = [1, 0, 2, 2, 1, 2, 1, 1, 0, 2, 1, 2, 0, 2, 1, 1];
        for (letter, expected) in ('a'..='p').zip(expected) {
            let key = format!(":1:django.contrib.sessions.cache{}", letter.to_string().repeat(32));
            assert_eq!(server_of(names.into_iter(), &key), expected, "{key}");
        }
    }
}
