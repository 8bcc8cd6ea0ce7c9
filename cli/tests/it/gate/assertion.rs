//! docs/gate-verify.md: its verifiers, each with the keys of a running gate and with assertions of every bad kind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

use super::process::Gate;
use crate::support::command::run;
use crate::support::documents::{document, root};

const DAY: u64 = 86_400;

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A key of the gate, in the test's own hands.
struct Key {
    pair: EcdsaKeyPair,
    kid: String,
    pem: String,
}

impl Key {
    fn new() -> Key {
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            document.as_ref(),
            &SystemRandom::new(),
        )
        .unwrap();
        let [x, y] = pair.public_key().as_ref()[1..]
            .chunks(32)
            .map(|part| URL_SAFE_NO_PAD.encode(part))
            .collect::<Vec<_>>()
            .try_into()
            .unwrap();
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(ring::digest::digest(&ring::digest::SHA256, canonical.as_bytes()));
        let body = STANDARD.encode(document.as_ref());
        Key { pair, kid, pem: format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n") }
    }

    fn write(&self, folder: &Path, created: u64) -> PathBuf {
        let path = folder.join(format!("{created}-test.pem"));
        fs::write(&path, &self.pem).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        path
    }

    /// An assertion with this key's id and signature.
    fn sign(&self, claims: &Value) -> String {
        self.sign_as(&json!({ "typ": "JWT", "alg": "ES256", "kid": self.kid }), claims)
    }

    fn sign_as(&self, header: &Value, claims: &Value) -> String {
        let signed = unsigned(header, claims);
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The public key in PEM, as OpenSSL writes it.
    fn public_pem(&self) -> String {
        let spki = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
        let prefix = (0..spki.len()).step_by(2).map(|at| u8::from_str_radix(&spki[at..at + 2], 16).unwrap());
        let der: Vec<u8> = prefix.chain(self.pair.public_key().as_ref().iter().copied()).collect();
        let body = STANDARD.encode(der);
        let (first, second) = body.split_at(64);
        format!("-----BEGIN PUBLIC KEY-----\n{first}\n{second}\n-----END PUBLIC KEY-----\n")
    }
}

fn unsigned(header: &Value, claims: &Value) -> String {
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    format!("{header}.{claims}")
}

fn claims() -> Value {
    json!({
        "iss": "cloakroom", "aud": "wiki.example.com", "sub": "7", "iat": now(), "exp": now() + 60,
        "preferred_username": "ada", "groups": ["editors"], "is_staff": true, "is_superuser": false,
    })
}

/// The claims with this one changed, or without it.
fn with(name: &str, value: Option<Value>) -> Value {
    let mut claims = claims();
    let object = claims.as_object_mut().unwrap();
    match value {
        Some(value) => drop(object.insert(name.to_owned(), value)),
        None => drop(object.shift_remove(name)),
    }
    claims
}

/// Assertions by what is wrong with them; the first ones are right.
fn assertions(current: &Key, retired: &Key) -> Vec<(&'static str, bool, String)> {
    let good = current.sign(&claims());
    let [header, body, signature] = <[&str; 3]>::try_from(good.split('.').collect::<Vec<_>>()).unwrap();
    let root = URL_SAFE_NO_PAD.encode(with("sub", Some(json!("1"))).to_string());
    let hs256 = |secret: &[u8]| {
        let signed = unsigned(&json!({ "typ": "JWT", "alg": "HS256", "kid": current.kid }), &claims());
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, signed.as_bytes())))
    };
    let of_header = |changed: Value| current.sign_as(&changed, &claims());
    let none = |alg: &str| format!("{}.", unsigned(&json!({ "alg": alg, "kid": current.kid }), &claims()));
    vec![
        ("right", true, good.clone()),
        ("valid for a second more", true, current.sign(&with("exp", Some(json!(now() + 30))))),
        ("expired", false, current.sign(&with("exp", Some(json!(now() - 1))))),
        ("without an end", false, current.sign(&with("exp", None))),
        ("for another service", false, current.sign(&with("aud", Some(json!("grafana.example.com"))))),
        ("for a name that begins alike", false, current.sign(&with("aud", Some(json!("wiki.example.co"))))),
        ("for nobody", false, current.sign(&with("aud", None))),
        ("of another issuer", false, current.sign(&with("iss", Some(json!("https://evil.example"))))),
        ("of no issuer", false, current.sign(&with("iss", None))),
        ("about nobody", false, current.sign(&with("sub", None))),
        ("of a retired key", false, retired.sign(&claims())),
        ("of another key under the same id", false, {
            Key { kid: current.kid.clone(), ..Key::new() }.sign(&claims())
        }),
        ("with an algorithm of none", false, none("none")),
        ("with an algorithm of None", false, none("None")),
        ("signed by HS256 with the public key", false, hs256(current.public_pem().as_bytes())),
        ("signed by HS256 with the public point", false, hs256(current.pair.public_key().as_ref())),
        ("with a signature of ES256 that says HS256", false, {
            of_header(json!({ "typ": "JWT", "alg": "HS256", "kid": current.kid }))
        }),
        (
            "with a signature of ES256 that says none",
            false,
            of_header(json!({ "alg": "none", "kid": current.kid })),
        ),
        ("with its own key", false, {
            let other = Key::new();
            let point = other.pair.public_key().as_ref();
            let [x, y] = [&point[1..33], &point[33..]].map(|part| URL_SAFE_NO_PAD.encode(part));
            let jwk = json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y });
            other.sign_as(&json!({ "alg": "ES256", "kid": current.kid, "jwk": jwk }), &claims())
        }),
        ("with other claims", false, format!("{header}.{root}.{signature}")),
        ("without a signature", false, format!("{header}.{body}.")),
        ("with a short signature", false, format!("{header}.{body}.{}", &signature[..43])),
        ("with a signature of zeros", false, format!("{header}.{body}.{}", URL_SAFE_NO_PAD.encode([0; 64]))),
        ("of two parts", false, format!("{header}.{body}")),
        ("of four parts", false, format!("{good}.{signature}")),
        ("empty", false, String::new()),
    ]
}

/// A gate with a retired key and a current one, and the two.
fn gate_with_keys() -> (Gate, Key, Key) {
    let (gate, retired, current) = (Gate::prepare(), Key::new(), Key::new());
    let old = retired.write(&gate.keys(), now() - 40 * DAY);
    current.write(&gate.keys(), now() - DAY);
    let gate = gate.start("", "");
    assert!(!old.exists(), "the retired key's file is deleted");
    (gate, retired, current)
}

/// Asks a verifier about all assertions, one a line. It answers `user ID` or `refused: WHY`.
fn assert_verifies(mut verifier: Command, (gate, retired, current): &(Gate, Key, Key), language: &str) {
    let mut assertions = assertions(current, retired);
    assertions.push(("of the gate itself", true, gate.assertion()));
    let input: String = assertions.iter().map(|(_, _, token)| format!("{token}\n")).collect();
    verifier.env_remove("PYTHONPATH");
    let ran = run(verifier, input.as_bytes());
    let lines = ran.lines();
    assert_eq!(lines.len(), assertions.len(), "{language}: {ran:?}");
    let mut faults = Vec::new();
    for ((what, is_right, _), said) in assertions.iter().zip(lines) {
        let is_as_meant = if *is_right { said == "user 7" } else { said.starts_with("refused: ") };
        if !is_as_meant {
            faults.push(format!("{language}: an assertion {what}: {said}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    println!(
        "{language}: {} of {} assertions are answered as they should be",
        assertions.len(),
        assertions.len()
    );
}

/// The page's verifier, with this gate's address, in a folder.
fn verifier(gate: &Gate, name: &str, folder: &Path) {
    let text = fs::read_to_string(root().join("examples/gate-backends").join(name)).unwrap();
    let here = text.replace("http://127.0.0.1:9180", &gate.url);
    assert_ne!(here, text, "{name} names the gate");
    fs::write(folder.join(name), here).unwrap();
}

/// Where the verifiers' libraries are installed, once for all runs.
fn libraries(name: &str) -> PathBuf {
    root().join("target/gate-backends").join(name)
}

fn must_run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A Python with the library of `requirements.txt`.
static PYTHON: LazyLock<PathBuf> = LazyLock::new(|| {
    let (folder, requirements) =
        (libraries("python"), root().join("examples/gate-backends/requirements.txt"));
    let wanted = fs::read_to_string(&requirements).unwrap();
    if fs::read_to_string(folder.join("stamp")).ok().as_ref() != Some(&wanted) {
        must_run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder));
        must_run(
            Command::new(folder.join("bin/pip"))
                .args(["install", "--quiet", "--requirement"])
                .arg(&requirements),
        );
        fs::write(folder.join("stamp"), wanted).unwrap();
    }
    folder.join("bin/python")
});

/// A folder with the library of `package.json`.
static NODE: LazyLock<PathBuf> = LazyLock::new(|| {
    let (folder, package) = (libraries("node"), root().join("examples/gate-backends/package.json"));
    let wanted = fs::read_to_string(&package).unwrap();
    if fs::read_to_string(folder.join("stamp")).ok().as_ref() != Some(&wanted) {
        fs::create_dir_all(&folder).unwrap();
        fs::copy(&package, folder.join("package.json")).unwrap();
        must_run(
            Command::new("npm").args(["install", "--silent", "--no-audit", "--no-fund"]).current_dir(&folder),
        );
        fs::write(folder.join("stamp"), wanted).unwrap();
    }
    folder
});

#[test]
fn python_verifies_assertions() {
    let gate = gate_with_keys();
    let folder = tempfile::tempdir().unwrap();
    verifier(&gate.0, "verify.py", folder.path());
    let code = "import sys, jwt, verify
for line in sys.stdin:
    try:
        print('user', verify.verify(line.rstrip('\\n'))['sub'])
    except jwt.PyJWTError as error:
        print('refused:', repr(error))";
    let mut python = Command::new(&*PYTHON);
    python.args(["-c", code]).current_dir(folder.path());
    assert_verifies(python, &gate, "Python");
}

#[test]
fn node_verifies_assertions() {
    let gate = gate_with_keys();
    // Modules are looked for beside the file.
    let folder = tempfile::tempdir_in(&*NODE).unwrap();
    verifier(&gate.0, "verify.mjs", folder.path());
    let code = "import { createInterface } from 'node:readline';
import { verify } from './verify.mjs';
for await (const line of createInterface({ input: process.stdin })) {
  try {
    console.log('user', (await verify(line)).sub);
  } catch (error) {
    console.log('refused:', error.code ?? 'TypeError', error.message);
  }
}";
    fs::write(folder.path().join("main.mjs"), code).unwrap();
    let mut node = Command::new("node");
    node.arg("main.mjs").current_dir(folder.path());
    assert_verifies(node, &gate, "Node");
}

#[test]
fn go_verifies_assertions() {
    let gate = gate_with_keys();
    let folder = tempfile::tempdir().unwrap();
    verifier(&gate.0, "verify.go", folder.path());
    let main = "package main

import (
\t\"bufio\"
\t\"fmt\"
\t\"os\"
)

func main() {
\tfor lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
\t\tif claims, err := Verify(lines.Text()); err != nil {
\t\t\tfmt.Println(\"refused:\", err)
\t\t} else {
\t\t\tfmt.Println(\"user\", claims.Subject)
\t\t}
\t}
}
";
    fs::write(folder.path().join("main.go"), main).unwrap();
    fs::write(folder.path().join("go.mod"), "module verify\n\ngo 1.19\n").unwrap();
    let go = |arguments: &[&str]| {
        let mut command = Command::new("go");
        command
            .args(arguments)
            .current_dir(folder.path())
            .env("GOCACHE", libraries("go"))
            .env("GOFLAGS", "-mod=mod");
        command.env("GOPROXY", "off");
        command
    };
    must_run(&mut go(&["vet", "."]));
    must_run(&mut go(&["build", "-o", "verify", "."]));
    assert_verifies(Command::new(folder.path().join("verify")), &gate, "Go");
}

/// The page shows the files that were tested.
#[test]
fn the_page_has_the_verifiers_word_for_word() {
    let page = document("gate-verify.md");
    for (name, language) in [("verify.py", "python"), ("verify.mjs", "js"), ("verify.go", "go")] {
        let text = fs::read_to_string(root().join("examples/gate-backends").join(name)).unwrap();
        assert!(page.contains(&format!("```{language}\n{text}```\n")), "{name} is another one on the page");
    }
}

/// The keys of a running gate are exchanged without a moment in which a verifier refuses a good assertion.
#[test]
fn keys_are_exchanged_while_the_gate_runs() {
    let gate = Gate::prepare().start("", "lifetime = 1\npublish_ahead = 4\nrotate = 5\n");
    let kids = || -> Vec<String> {
        let set: Value = serde_json::from_str(&gate.get("/.well-known/jwks.json")).unwrap();
        set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    };
    let first = kids();
    let (mut both, mut after) = (false, false);
    let begin = std::time::Instant::now();
    while !(both && after) {
        assert!(begin.elapsed() < Duration::from_secs(60), "the keys are not exchanged: {:?}", kids());
        std::thread::sleep(Duration::from_millis(100));
        let now = kids();
        both |= now.len() > 1 && now.contains(&first[0]);
        after |= both && !now.contains(&first[0]);
    }
    let files = fs::read_dir(gate.keys()).unwrap().count();
    assert!((1..=4).contains(&files), "{files}");
}

/// A bad key file stops the start, and at a reload the keys stay.
#[test]
fn a_bad_key_file_is_told_and_the_keys_stay() {
    let mut gate = Gate::prepare().start("", "");
    let before = gate.get("/.well-known/jwks.json");
    let bad = gate.keys().join("5-bad.pem");
    fs::write(&bad, "-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\n").unwrap();
    gate.reload();
    let log = gate.wait_for_log("5-bad.pem");
    assert!(log.contains("ERROR") && !log.contains("MIGH"), "{log}");
    assert_eq!(gate.get("/.well-known/jwks.json"), before);
    let (code, log) = gate.stop_and_start_again();
    assert_ne!(code, 0);
    assert!(log.contains("5-bad.pem") && log.contains("P-256") && !log.contains("MIGH"), "{log}");
}
