//! The password field of each algorithm, as Django's `hashers` writes and reads it. Pure.

use std::num::NonZeroU32;

use base64_simd::{STANDARD, STANDARD_NO_PAD};
use cloakroom_formats::signing::constant_time_equal;
use ring::pbkdf2::{self, PBKDF2_HMAC_SHA1, PBKDF2_HMAC_SHA256};

use super::PasswordAlgorithm;
use crate::site::error::Error;

/// The characters of a salt. Django's `RANDOM_STRING_CHARS`.
const SALT_CHARS: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// The length of a salt with the 128 bits of Django's `salt_entropy`.
const SALT_LENGTH: usize = 22;

/// The length of an Argon2 hash in bytes. argon2-cffi's `DEFAULT_HASH_LENGTH`.
const ARGON2_HASH_LENGTH: usize = 32;

/// The memory that Argon2 may take, in KiB: ten times what Django's hasher takes. A larger cost in a field would end the
/// process when the memory is touched.
const ARGON2_MEMORY_LIMIT: u32 = 1 << 20;

/// The memory that scrypt may take, in bytes. OpenSSL's limit, which holds for Django's `maxmem = 0`.
const SCRYPT_MEMORY_LIMIT: u64 = 32 << 20;

/// A password field, read.
pub(super) struct Field<'a> {
    algorithm: PasswordAlgorithm,
    /// The whole field.
    encoded: &'a str,
    rest: Rest<'a>,
}

/// The parts of a field beside the costs.
enum Rest<'a> {
    /// PBKDF2 and scrypt.
    Salt(&'a str),
    Argon2 {
        variety: argon2::Algorithm,
        version: argon2::Version,
        salt: Vec<u8>,
        hash: Vec<u8>,
    },
    /// The field of the bcrypt library, behind Django's name of the algorithm.
    Bcrypt(&'a str),
}

impl<'a> Field<'a> {
    /// Reads a field. `None` if its algorithm is not one of Django's default `PASSWORD_HASHERS`, or it is malformed.
    pub(super) fn read(encoded: &'a str) -> Option<Field<'a>> {
        let (name, parts) = encoded.split_once('$')?;
        let (algorithm, rest) = match name {
            "pbkdf2_sha256" | "pbkdf2_sha1" => {
                let [iterations, salt, _hash] = split(parts)?;
                let iterations = iterations.parse().ok()?;
                let algorithm = match name {
                    "pbkdf2_sha256" => PasswordAlgorithm::Pbkdf2Sha256 { iterations },
                    _ => PasswordAlgorithm::Pbkdf2Sha1 { iterations },
                };
                (algorithm, Rest::Salt(salt))
            }
            "argon2" => argon2_field(parts)?,
            "bcrypt_sha256" => {
                let [empty, _version, rounds, _salt_and_hash] = split(parts)?;
                let rounds = rounds.parse().ok().filter(|_| empty.is_empty())?;
                (PasswordAlgorithm::BcryptSha256 { rounds }, Rest::Bcrypt(parts))
            }
            "scrypt" => {
                let [work_factor, salt, block_size, parallelism, _hash] = split(parts)?;
                let algorithm = PasswordAlgorithm::Scrypt {
                    work_factor: work_factor.parse().ok()?,
                    block_size: block_size.parse().ok()?,
                    parallelism: parallelism.parse().ok()?,
                };
                (algorithm, Rest::Salt(salt))
            }
            _ => return None,
        };
        let has_salt = !matches!(rest, Rest::Salt(""));
        (has_salt && algorithm.is_possible()).then_some(Field { algorithm, encoded, rest })
    }

    /// Whether the password is the field's. In constant time, as far as the hash goes.
    pub(super) fn matches(&self, password: &str) -> bool {
        match &self.rest {
            Rest::Salt(salt) => {
                let again = self.algorithm.encode_with(password, salt);
                again.is_some_and(|again| constant_time_equal(again.as_bytes(), self.encoded.as_bytes()))
            }
            Rest::Argon2 { variety, version, salt, hash } => {
                let PasswordAlgorithm::Argon2 { time_cost, memory_cost, parallelism } = self.algorithm else {
                    return false;
                };
                let costs = argon2_costs(time_cost, memory_cost, parallelism, hash.len());
                let again = costs
                    .and_then(|costs| argon2_hash(*variety, *version, costs, password, salt, hash.len()));
                again.is_some_and(|again| constant_time_equal(&again, hash))
            }
            Rest::Bcrypt(hash) => bcrypt::verify(sha256_hex(password), hash).unwrap_or(false),
        }
    }

    /// Whether the field should be replaced by one of the preferred algorithm. Django's `must_update`.
    pub(super) fn must_update(&self, preferred: PasswordAlgorithm) -> bool {
        let salt_is_short = match &self.rest {
            // Django's scrypt leaves the salt as it is.
            Rest::Salt(_) if matches!(preferred, PasswordAlgorithm::Scrypt { .. }) => false,
            Rest::Salt(salt) => salt.chars().count() < SALT_LENGTH,
            Rest::Argon2 { salt, .. } => salt.len() < SALT_LENGTH,
            Rest::Bcrypt(_) => false,
        };
        let is_old = match &self.rest {
            Rest::Argon2 { variety, version, hash, .. } => {
                (*variety, *version, hash.len())
                    != (argon2::Algorithm::Argon2id, argon2::Version::V0x13, ARGON2_HASH_LENGTH)
            }
            _ => false,
        };
        self.algorithm != preferred || is_old || salt_is_short
    }

    /// Takes the time by which this field is cheaper than the preferred algorithm. Django's `harden_runtime`, which
    /// does nothing for Argon2 and scrypt, or where the algorithms differ.
    pub(super) fn harden_runtime(&self, preferred: PasswordAlgorithm, password: &str) {
        use PasswordAlgorithm::{BcryptSha256, Pbkdf2Sha1, Pbkdf2Sha256};
        match (self.algorithm, preferred, &self.rest) {
            (Pbkdf2Sha256 { iterations: own }, Pbkdf2Sha256 { iterations }, Rest::Salt(salt)) => {
                let iterations = iterations.saturating_sub(own);
                let _ = Pbkdf2Sha256 { iterations }.encode_with(password, salt);
            }
            (Pbkdf2Sha1 { iterations: own }, Pbkdf2Sha1 { iterations }, Rest::Salt(salt)) => {
                let iterations = iterations.saturating_sub(own);
                let _ = Pbkdf2Sha1 { iterations }.encode_with(password, salt);
            }
            // Each further round doubles the work.
            (BcryptSha256 { rounds: own }, BcryptSha256 { rounds }, _) => {
                for rounds in own..rounds {
                    let _ = bcrypt::hash_with_salt(sha256_hex(password), rounds, [0; 16]);
                }
            }
            _ => {}
        }
    }
}

/// Splits into exactly so many parts, of which the last keeps further `$`.
fn split<const PARTS: usize>(text: &str) -> Option<[&str; PARTS]> {
    text.splitn(PARTS, '$').collect::<Vec<_>>().try_into().ok()
}

/// Reads `argon2id$v=19$m=102400,t=2,p=8$SALT$HASH`. Without `v` it is version 16.
fn argon2_field(parts: &str) -> Option<(PasswordAlgorithm, Rest<'static>)> {
    let parts: Vec<&str> = parts.split('$').collect();
    let (variety, version, costs, salt, hash) = match parts[..] {
        [variety, version, costs, salt, hash] => (variety, version.strip_prefix("v=")?, costs, salt, hash),
        [variety, costs, salt, hash] => (variety, "16", costs, salt, hash),
        _ => return None,
    };
    let [memory_cost, time_cost, parallelism] = costs.split(',').collect::<Vec<_>>().try_into().ok()?;
    let cost = |text: &str, name: &str| text.strip_prefix(name)?.parse().ok();
    let algorithm = PasswordAlgorithm::Argon2 {
        time_cost: cost(time_cost, "t=")?,
        memory_cost: cost(memory_cost, "m=")?,
        parallelism: cost(parallelism, "p=")?,
    };
    let rest = Rest::Argon2 {
        variety: variety.parse().ok()?,
        version: version.parse::<u32>().ok()?.try_into().ok()?,
        salt: STANDARD_NO_PAD.decode_to_vec(salt).ok()?,
        hash: STANDARD_NO_PAD.decode_to_vec(hash).ok()?,
    };
    Some((algorithm, rest))
}

impl PasswordAlgorithm {
    /// Whether a hash can be made at these costs.
    pub(super) fn is_possible(self) -> bool {
        match self {
            PasswordAlgorithm::Pbkdf2Sha256 { iterations } | PasswordAlgorithm::Pbkdf2Sha1 { iterations } => {
                iterations > 0
            }
            PasswordAlgorithm::Argon2 { time_cost, memory_cost, parallelism } => {
                argon2_costs(time_cost, memory_cost, parallelism, ARGON2_HASH_LENGTH).is_some()
            }
            PasswordAlgorithm::BcryptSha256 { rounds } => (4..=31).contains(&rounds),
            PasswordAlgorithm::Scrypt { work_factor, block_size, parallelism } => {
                scrypt_costs(work_factor, block_size, parallelism).is_some()
            }
        }
    }

    /// Encodes a password with a new salt. Django's `make_password`.
    pub(super) fn encode(self, password: &str) -> Result<String, Error> {
        let encoded = match self {
            // It makes its own salt.
            PasswordAlgorithm::BcryptSha256 { rounds } => {
                let hash = bcrypt::hash(sha256_hex(password), rounds);
                Some(format!("bcrypt_sha256${}", hash.map_err(|error| Error::Random(error.to_string()))?))
            }
            _ => self.encode_with(password, &salt()?),
        };
        encoded.ok_or_else(|| Error::Random("no memory to hash a password".to_owned()))
    }

    /// Encodes a password with this salt. `None` when the costs are impossible or there is no memory.
    fn encode_with(self, password: &str, salt: &str) -> Option<String> {
        let pbkdf2 = |algorithm, name: &str, iterations: u32, hash: &mut [u8]| {
            let rounds = NonZeroU32::new(iterations)?;
            pbkdf2::derive(algorithm, rounds, salt.as_bytes(), password.as_bytes(), hash);
            Some(format!("{name}${iterations}${salt}${}", STANDARD.encode_to_string(hash)))
        };
        match self {
            PasswordAlgorithm::Pbkdf2Sha256 { iterations } => {
                pbkdf2(PBKDF2_HMAC_SHA256, "pbkdf2_sha256", iterations, &mut [0; 32])
            }
            PasswordAlgorithm::Pbkdf2Sha1 { iterations } => {
                pbkdf2(PBKDF2_HMAC_SHA1, "pbkdf2_sha1", iterations, &mut [0; 20])
            }
            PasswordAlgorithm::Argon2 { time_cost, memory_cost, parallelism } => {
                let (variety, version) = (argon2::Algorithm::Argon2id, argon2::Version::V0x13);
                let costs = argon2_costs(time_cost, memory_cost, parallelism, ARGON2_HASH_LENGTH)?;
                let hash =
                    argon2_hash(variety, version, costs, password, salt.as_bytes(), ARGON2_HASH_LENGTH)?;
                Some(format!(
                    "argon2$argon2id$v=19$m={memory_cost},t={time_cost},p={parallelism}${}${}",
                    STANDARD_NO_PAD.encode_to_string(salt),
                    STANDARD_NO_PAD.encode_to_string(hash)
                ))
            }
            PasswordAlgorithm::BcryptSha256 { .. } => None,
            PasswordAlgorithm::Scrypt { work_factor, block_size, parallelism } => {
                let costs = scrypt_costs(work_factor, block_size, parallelism)?;
                let mut hash = [0; 64];
                scrypt::scrypt(password.as_bytes(), salt.as_bytes(), &costs, &mut hash).ok()?;
                let hash = STANDARD.encode_to_string(hash);
                Some(format!("scrypt${work_factor}${salt}${block_size}${parallelism}${hash}"))
            }
        }
    }
}

fn argon2_costs(
    time_cost: u32,
    memory_cost: u32,
    parallelism: u32,
    hash_length: usize,
) -> Option<argon2::Params> {
    let is_within = memory_cost <= ARGON2_MEMORY_LIMIT;
    argon2::Params::new(memory_cost, time_cost, parallelism, Some(hash_length)).ok().filter(|_| is_within)
}

fn argon2_hash(
    variety: argon2::Algorithm,
    version: argon2::Version,
    costs: argon2::Params,
    password: &str,
    salt: &[u8],
    length: usize,
) -> Option<Vec<u8>> {
    let mut hash = vec![0; length];
    let hasher = argon2::Argon2::new(variety, version, costs);
    hasher.hash_password_into(password.as_bytes(), salt, &mut hash).ok()?;
    Some(hash)
}

fn scrypt_costs(work_factor: u32, block_size: u32, parallelism: u32) -> Option<scrypt::Params> {
    let [n, r, p] = [work_factor, block_size, parallelism].map(u64::from);
    // As OpenSSL counts it.
    let memory = r.checked_mul(128)?.checked_mul(p.checked_add(n)?.checked_add(2)?)?;
    if !work_factor.is_power_of_two() || n < 2 || memory > SCRYPT_MEMORY_LIMIT {
        return None;
    }
    scrypt::Params::new(work_factor.ilog2() as u8, block_size, parallelism).ok()
}

/// Django hashes the password first, because bcrypt takes only 72 bytes.
fn sha256_hex(password: &str) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(password.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn salt() -> Result<String, Error> {
    let mut salt = String::with_capacity(SALT_LENGTH);
    let mut random = [0; 2 * SALT_LENGTH];
    while salt.len() < SALT_LENGTH {
        getrandom::fill(&mut random).map_err(|error| Error::Random(error.to_string()))?;
        // Six bits a character; the two numbers beyond the last one are left out, so that all are as likely.
        let characters = random.iter().filter_map(|byte| SALT_CHARS.get(usize::from(byte & 63)));
        salt.extend(characters.take(SALT_LENGTH - salt.len()).map(|byte| char::from(*byte)));
    }
    Ok(salt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn salts_have_128_bits_of_django_s_characters() {
        let salts: std::collections::HashSet<String> = (0..500).map(|_| salt().unwrap()).collect();
        assert_eq!(salts.len(), 500);
        let used: std::collections::HashSet<char> = salts.iter().flat_map(|salt| salt.chars()).collect();
        assert_eq!(used.len(), 62);
        assert!(salts.iter().all(|salt| salt.len() == SALT_LENGTH));
    }

    #[test]
    fn an_encoded_password_is_read_back_by_each_algorithm() {
        for algorithm in [
            PasswordAlgorithm::Pbkdf2Sha256 { iterations: 3 },
            PasswordAlgorithm::Pbkdf2Sha1 { iterations: 3 },
            PasswordAlgorithm::Argon2 { time_cost: 1, memory_cost: 64, parallelism: 2 },
            PasswordAlgorithm::BcryptSha256 { rounds: 4 },
            PasswordAlgorithm::Scrypt { work_factor: 16, block_size: 2, parallelism: 1 },
        ] {
            for password in ["", "a\0b", "pässword", &"x".repeat(1_000_000)] {
                let encoded = algorithm.encode(password).unwrap();
                assert!(encoded.len() <= 128 || password.len() > 10, "{encoded}");
                let field = Field::read(&encoded).unwrap();
                assert!(field.matches(password), "{encoded}");
                assert!(!field.matches("another"));
                assert!(!field.matches(&format!("{password} ")), "{encoded}");
                assert!(!field.must_update(algorithm), "{encoded}");
            }
        }
    }

    /// Fields that Django refuses with an error, or that would take all memory.
    #[test]
    fn malformed_fields_match_nothing_and_end_nothing() {
        for encoded in [
            "",
            "$",
            "!",
            "!abc",
            "pbkdf2_sha256",
            "pbkdf2_sha256$",
            "pbkdf2_sha256$0$salt$hash",
            "pbkdf2_sha256$-1$salt$hash",
            "pbkdf2_sha256$99999999999$salt$hash",
            "pbkdf2_sha256$1$$hash",
            "pbkdf2_sha256$1$salt",
            "pbkdf2_sha256$x$salt$hash",
            "argon2$argon2id",
            "argon2$argon2id$v=19$m=102400,t=2$c2FsdHNhbHQ$aGFzaGhhc2g",
            "argon2$argon2id$v=19$m=4294967295,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2g",
            "argon2$argon2id$v=19$m=8,t=0,p=1$c2FsdHNhbHQ$aGFzaGhhc2g",
            "argon2$argon2id$v=19$m=8,t=1,p=0$c2FsdHNhbHQ$aGFzaGhhc2g",
            "argon2$argon2x$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2g",
            "argon2$argon2id$v=99$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2g",
            "argon2$argon2id$v=19$m=8,t=1,p=1$é$é",
            "bcrypt_sha256$$2b$12",
            "bcrypt_sha256$$2b$99$abcdefghijklmnopqrstuuvwxyz",
            "bcrypt_sha256$$2b$0$abcdefghijklmnopqrstuuvwxyz",
            "scrypt$16384$salt$8$5",
            "scrypt$0$salt$8$5$hash",
            "scrypt$16383$salt$8$5$hash",
            "scrypt$4294967295$salt$8$5$hash",
            "scrypt$2147483648$salt$4294967295$4294967295$hash",
            "scrypt$16384$$8$5$hash",
            "md5$salt$hash",
            "unknown$1$2$3",
            "5f4dcc3b5aa765d61d8327deb882cf99",
        ] {
            assert!(Field::read(encoded).is_none(), "{encoded}");
        }
        for encoded in [
            "pbkdf2_sha256$1$salt$é",
            "argon2$argon2id$v=19$m=8,t=1,p=1$c2FsdA$aGFzaGhhc2g",
            "bcrypt_sha256$$2b$04$short",
            "bcrypt_sha256$$2b$04$ééééééééééééééééééééééééééé",
            "scrypt$16$salt$1$1$",
        ] {
            assert!(Field::read(encoded).is_some_and(|field| !field.matches("password")), "{encoded}");
        }
    }
}
