//! What a session holds before it is measured: 300 bytes as compact JSON.

/// Texts of the session; beside them is the number `count`.
pub(crate) const TEXTS: [(&str, &str); 5] = [
    ("_auth_user_id", "12345"),
    ("_auth_user_backend", "django.contrib.auth.backends.ModelBackend"),
    ("_auth_user_hash", "6f0d1a5c93b7e2848d4f1f3b0a7c6e5d92b18a40c7f3e6d5b4a39281706f5e4d"),
    ("name", "Ada Lovelace"),
    ("token", "kq3vX8Zr1LwYt6Bn0Dc5Gm9Hs2Jp7Fu4Ka8Qe1Ro3Ti6Wx9Az2Cv5Bn0Mq4Es7Ul1YgRd5Tb8Nc3Vx6Zmq"),
];

/// What `/read` asks for.
pub(crate) const READ: &str = "name";
/// What `/new` puts into a new session.
pub(crate) const NEW: [(&str, &str); 3] = [("name", "Ada Lovelace"), ("language", "en"), ("theme", "dark")];
