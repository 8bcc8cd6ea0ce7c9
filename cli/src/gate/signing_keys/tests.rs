use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::key::SigningKey;
use super::schedule::Schedule;
use super::{Arc, SigningKeys};

const DAY: i64 = 86_400;
/// A key a day, published 600 seconds ahead; assertions of 60 seconds.
const DAILY: Schedule = Schedule { rotate: 86_400, publish_ahead: 600, lifetime: 60 };

fn in_memory(now: i64) -> SigningKeys {
    SigningKeys::open(None, DAILY, now).unwrap()
}

fn in_folder(folder: &Path, now: i64) -> anyhow::Result<SigningKeys> {
    SigningKeys::open(Some(folder.to_owned()), DAILY, now)
}

/// The ids that are published, the newest first.
fn published(keys: &SigningKeys) -> Vec<String> {
    let set: Value = serde_json::from_str(&keys.public_keys()).unwrap();
    set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fn signs(keys: &SigningKeys, now: i64) -> String {
    keys.signing(now).unwrap().public_key.kid.clone()
}

fn files(folder: &Path) -> BTreeSet<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

fn refusal(folder: &Path) -> String {
    format!("{:#}", in_folder(folder, DAY).err().unwrap())
}

#[test]
fn a_new_key_is_published_before_it_signs_and_the_old_one_after() {
    let begin = 1_700_000_000;
    let keys = in_memory(begin);
    let first = published(&keys)[0].clone();
    assert_eq!(signs(&keys, begin), first, "the only key signs at once");
    let at = |offset: i64| {
        keys.update(begin + offset).unwrap();
        (signs(&keys, begin + offset), published(&keys))
    };
    assert_eq!(at(DAY - 1), (first.clone(), vec![first.clone()]));
    let (signing, both) = at(DAY);
    assert_eq!((signing.as_str(), both.len()), (first.as_str(), 2), "the new one is only published");
    let second = both[0].clone();
    assert_eq!(at(DAY + 599), (first.clone(), both.clone()));
    assert_eq!(at(DAY + 600), (second.clone(), both.clone()));
    // The last assertion of the first key expires 60 seconds later; clocks may be 600 seconds apart.
    assert_eq!(at(DAY + 600 + 659), (second.clone(), both));
    assert_eq!(at(DAY + 600 + 660), (second.clone(), vec![second]));
}

#[test]
fn the_change_of_keys_needs_no_update_in_time() {
    let keys = in_memory(0);
    keys.update(DAY).unwrap();
    let [second, first] = <[String; 2]>::try_from(published(&keys)).unwrap();
    assert_eq!([signs(&keys, DAY + 599), signs(&keys, DAY + 600)], [first, second]);
}

#[test]
fn a_clock_that_is_set_back_loses_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let keys = in_folder(folder.path(), 10 * DAY).unwrap();
    keys.update(11 * DAY).unwrap();
    let before = published(&keys);
    assert_eq!(signs(&keys, 11 * DAY + 600), before[0]);
    for back in [11 * DAY, 10 * DAY, 0, -DAY] {
        keys.update(back).unwrap();
        assert_eq!(published(&keys), before);
        assert_eq!(signs(&keys, back), before[1], "{back}");
        assert_eq!(published(&in_folder(folder.path(), back).unwrap()), before, "also after a new start");
    }
}

#[test]
fn a_clock_that_jumps_ahead_loses_no_key_that_signs() {
    let keys = in_memory(0);
    let first = signs(&keys, 0);
    keys.update(1000 * DAY).unwrap();
    assert_eq!(signs(&keys, 1000 * DAY), first, "its successor was not published long enough");
    assert_eq!(signs(&keys, 0), first);
}

#[test]
fn two_gates_of_one_folder_agree() {
    let folder = tempfile::tempdir().unwrap();
    let one = in_folder(folder.path(), 0).unwrap();
    let other = in_folder(folder.path(), 5).unwrap();
    assert_eq!(published(&one), published(&other));
    one.update(DAY).unwrap();
    other.update(DAY + 1).unwrap();
    assert_eq!(published(&one), published(&other));
    assert_eq!(files(folder.path()).len(), 2);
    for now in [DAY + 1, DAY + 599, DAY + 600, 2 * DAY] {
        assert_eq!(signs(&one, now), signs(&other, now));
    }
    // The first to see that a key is retired deletes it; the other finds it gone.
    one.update(DAY + 1260).unwrap();
    other.update(DAY + 1260).unwrap();
    assert_eq!((published(&one).len(), files(folder.path()).len()), (1, 1));
    assert_eq!(published(&one), published(&other));
}

#[test]
fn gates_that_start_at_once_make_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let barrier = std::sync::Barrier::new(8);
    let published: BTreeSet<_> = std::thread::scope(|scope| {
        let gates: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    published(&in_folder(folder.path(), 0).unwrap())
                })
            })
            .collect();
        gates.into_iter().map(|gate| gate.join().unwrap()).collect()
    });
    assert_eq!((published.len(), files(folder.path()).len()), (1, 1), "{published:?}");
}

#[test]
fn a_key_that_an_operator_deletes_is_gone_at_the_next_reading() {
    let folder = tempfile::tempdir().unwrap();
    let keys = in_folder(folder.path(), 0).unwrap();
    let stolen = published(&keys);
    let name = files(folder.path()).pop_first().unwrap();
    assert_eq!(name, format!("0-{}.pem", stolen[0]));
    std::fs::remove_file(folder.path().join(name)).unwrap();
    keys.update(1).unwrap();
    assert_eq!(published(&keys).len(), 1);
    assert_ne!(published(&keys), stolen);
    assert_eq!(signs(&keys, 1), published(&keys)[0]);
}

#[test]
fn an_unusable_file_is_named_and_the_keys_stay() {
    let folder = tempfile::tempdir().unwrap();
    let keys = in_folder(folder.path(), 0).unwrap();
    let before = published(&keys);
    let whole = std::fs::read_to_string(folder.path().join(files(folder.path()).first().unwrap())).unwrap();
    let body = whole.lines().nth(1).unwrap();
    let of_another_curve = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEIE0TxMM+15l3EnHLgeE5a+yA8Yx2aqbKsPIvBvBcWoiW\n-----END PRIVATE KEY-----\n";
    for (name, text, why) in [
        ("5-empty.pem", "", "it holds no key in PKCS#8"),
        ("5-cut.pem", &whole[..100], "it is no PEM file, or it is damaged"),
        ("5-sec1.pem", &whole.replace(" PRIVATE", " EC PRIVATE"), "it holds no key in PKCS#8"),
        ("5-public.pem", &whole.replace("PRIVATE", "PUBLIC"), "it holds no key in PKCS#8"),
        ("5-ed25519.pem", of_another_curve, "it must be one of the curve P-256"),
        ("mine.pem", &whole, "its name must begin with the Unix time"),
        ("99999999999999999999.pem", &whole, "its name must begin with the Unix time"),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
        let error = refusal(folder.path());
        assert!(error.contains(name) && error.contains(why), "{name}: {error}");
        assert!(!error.contains(body), "{error}");
        assert!(keys.update(1).is_err());
        assert_eq!((published(&keys), signs(&keys, 1)), (before.clone(), before[0].clone()), "{name}");
        std::fs::remove_file(folder.path().join(name)).unwrap();
    }
    // The folder itself.
    let moved = tempfile::tempdir().unwrap();
    std::fs::rename(folder.path(), moved.path().join("away")).unwrap();
    assert!(keys.update(1).is_err());
    assert_eq!(published(&keys), before);
}

#[test]
fn other_files_are_ignored() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["README", ".5-hidden.pem.swp", "5-abc.new"] {
        std::fs::write(folder.path().join(name), "no key").unwrap();
    }
    assert_eq!(published(&in_folder(folder.path(), 0).unwrap()).len(), 1);
}

/// As `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` wrote it.
#[test]
fn a_key_of_openssl_is_taken() {
    let pem = "-----BEGIN PRIVATE KEY-----\n\
        MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgEENJn92MBWMl/rT7\n\
        lm2o1s8pLMml68PDz5XthA1bKCChRANCAASWhgUTzXmffjvDfswG2mVQu6rQZNeM\n\
        ju/53u2kyJgfAvZCpSMH6brZl0iIXUkAoKEt1EL83zWbW8C9OwpAN+58\n\
        -----END PRIVATE KEY-----\n";
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("7-mine.pem"), pem).unwrap();
    let keys = in_folder(folder.path(), 8).unwrap();
    assert_eq!(published(&keys), ["xr340_tQN8hEpL_dAbMugoYvU3INcSVTdXZDce4gbPM"]);
    assert_eq!(files(folder.path()).len(), 1);
    // It is replaced and deleted as any other.
    for now in [7 + DAY, 7 + DAY + 1260] {
        keys.update(now).unwrap();
    }
    assert!(!files(folder.path()).contains("7-mine.pem"));
}

#[test]
fn a_configuration_that_is_read_again_keeps_the_keys() {
    let keys = in_memory(0);
    let before = published(&keys);
    let again = keys.reopen(None, Schedule { lifetime: 30, ..DAILY }, 5).unwrap();
    assert_eq!(published(&again), before);
    let folder = tempfile::tempdir().unwrap();
    let moved = again.reopen(Some(folder.path().join("keys")), DAILY, 5).unwrap();
    assert_ne!(published(&moved), before, "a key of the memory is written nowhere");
    assert!(moved.reopen(Some(folder.path().join("missing/keys")), DAILY, 5).is_err());
}

#[test]
fn a_missing_parent_or_a_file_is_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let error = refusal(&folder.path().join("missing/keys"));
    assert!(error.contains("cannot make the folder of signing keys") && error.contains("missing"), "{error}");
    std::fs::write(folder.path().join("file"), "").unwrap();
    let error = refusal(&folder.path().join("file"));
    assert!(error.contains("is not a folder"), "{error}");
}

#[cfg(unix)]
#[test]
fn nobody_else_can_read_or_add_keys() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    in_folder(&keys, 0).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&keys), 0o700);
    assert_eq!(mode(&keys.join(files(&keys).first().unwrap())), 0o600);
    for open in [0o720, 0o702] {
        std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(open)).unwrap();
        let error = refusal(&keys);
        assert!(error.contains("can put signing keys into") && error.contains("chmod 700"), "{error}");
    }
}

#[test]
fn each_public_key_says_what_it_is_for() {
    let (key, pem) = SigningKey::generate(0).unwrap();
    assert!(pem.0.lines().all(|line| line.len() <= 64));
    let read = SigningKey::from_pem(pem.0.as_bytes(), 0).unwrap();
    assert_eq!(read.public_key.kid, key.public_key.kid);
    let keys = in_memory(0);
    let set: Value = serde_json::from_str(&keys.public_keys()).unwrap();
    let key = &set["keys"][0];
    for (name, value) in [("kty", "EC"), ("crv", "P-256"), ("use", "sig"), ("alg", "ES256")] {
        assert_eq!(key[name], value);
    }
    assert_eq!(key.as_object().unwrap().len(), 7, "{key}");
    let length = |name: &str| key[name].as_str().unwrap().len();
    assert_eq!([length("x"), length("y"), length("kid")], [43, 43, 43]);
    assert!(Arc::ptr_eq(&keys.signing(0).unwrap(), &keys.signing(9).unwrap()));
}
