//! Certificates for Redis and memcached, besides those for 127.0.0.1 of [`make_certificates`](super::make_certificates).

use std::ffi::OsString;
use std::path::Path;

use super::{make_certificates, program, run};

/// Makes, each with its `.key`: `ca.pem`; signed by it `server.pem` for 127.0.0.1, `localhost.pem` for that name,
/// `elsewhere.pem` for another one, `expired.pem` and `client.pem`; another authority `stranger.pem`, and signed by
/// that `foreign.pem`; and `alone.pem`, signed by itself for another host, as Heroku's.
pub(crate) fn make_all(folder: &Path) {
    make_certificates(folder, None);
    let openssl = |arguments: &str| {
        let words = arguments.split(' ').map(OsString::from);
        run(None, std::iter::once(program("openssl", &[]).into()).chain(words), folder);
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(&format!("req -x509 {key} -days 2 -subj /CN=strangers -keyout stranger.key -out stranger.pem"));
    openssl(&format!("req -x509 {key} -days 2 -subj /CN=alone.example -keyout alone.key -out alone.pem"));
    for (name, subject, authority, days) in [
        ("localhost", "DNS:localhost", "ca", "2"),
        ("elsewhere", "DNS:elsewhere.example", "ca", "2"),
        ("expired", "IP:127.0.0.1", "ca", "-1"),
        ("client", "DNS:client.example", "ca", "2"),
        ("foreign", "DNS:client.example", "stranger", "2"),
    ] {
        let extensions = format!("subjectAltName={subject}\nbasicConstraints=CA:FALSE\n");
        std::fs::write(folder.join(format!("{name}.names")), extensions).unwrap();
        openssl(&format!("req {key} -subj /CN={name} -keyout {name}.key -out {name}.csr"));
        openssl(&format!(
            "x509 -req -in {name}.csr -CA {authority}.pem -CAkey {authority}.key -CAcreateserial -days {days} -extfile \
             {name}.names -out {name}.pem"
        ));
    }
}
