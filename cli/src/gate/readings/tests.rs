use std::collections::BTreeSet;

use super::*;

fn readings(path: &str) -> Result<BTreeSet<String>, Unreadable> {
    let readings = Readings::of(path)?;
    Ok(readings.iter().map(|reading| String::from_utf8(reading.to_vec()).unwrap()).collect())
}

#[test]
fn usual_paths_have_one_reading() {
    for path in
        ["/", "/a", "/a/b.html", "/a.b/c..d", "/A/b-c_d~e!$&'()*+,:@=", "/.well-known/x", "/a/.../b", "/a./b"]
    {
        assert_eq!(readings(path), Ok([path.to_owned()].into()), "{path}");
    }
}

#[test]
fn odd_paths_are_read_as_each_program_reads_them() {
    for (path, expected) in [
        ("/public/..%2fadmin", &["/public/..%2fadmin", "/public/../admin", "/admin"][..]),
        ("/public/%2e%2e/admin", &["/public/%2e%2e/admin", "/public/../admin", "/admin"]),
        (
            "/public/%252e%252e/admin",
            &["/public/%252e%252e/admin", "/public/%2e%2e/admin", "/public/../admin", "/admin"],
        ),
        ("/public//../admin", &["/public//../admin", "/public/../admin", "/admin", "/public/admin"]),
        ("/public/..;/admin", &["/public/..;/admin", "/public/../admin", "/admin"]),
        ("/public/..;x=y/admin", &["/public/..;x=y/admin", "/public/../admin", "/admin"]),
        ("/public\\..\\admin", &["/public\\..\\admin", "/public/../admin", "/admin"]),
        // As URL parsers read it, which take `%2e` for a dot and leave `%2f`.
        ("/x%2fy/%2e%2e/admin", &["/x%2fy/../admin", "/admin", "/x/y/../admin", "/x/admin"]),
        ("//evil.example/admin", &["//evil.example/admin", "/evil.example/admin", "/admin"]),
        ("/admin%3f/public", &["/admin?/public", "/admin"]),
        ("/admin%23/public", &["/admin#/public", "/admin"]),
        ("/./admin/.", &["/./admin/.", "/admin/"]),
        ("/../../admin", &["/../../admin", "/admin"]),
        ("/wiki/Z%C3%BCrich", &["/wiki/Z%C3%BCrich", "/wiki/Zürich"]),
        ("/100%25", &["/100%25", "/100%"]),
    ] {
        let found = readings(path).unwrap();
        for reading in expected {
            assert!(found.contains(*reading), "{path} is not read as {reading}: {found:?}");
        }
    }
}

#[test]
fn no_path_is_malformed() {
    for path in [
        "",
        "a",
        "*",
        "http://evil.example/",
        "/a b",
        "/a\tb",
        "/a\0",
        "/a\u{7f}",
        "/é",
        "/%",
        "/%2",
        "/%zz",
        "/a%u002fb",
        "/%00",
        "/a%0d%0aSet-Cookie:x",
        "/%2500",
        "/%7f",
        "/%c0%af",
        "/%c0%ae%c0%ae/",
        "/%e0%80%af",
        "/%ff",
        "/%C2%85",
        "\\a",
    ] {
        assert_eq!(readings(path), Err(Unreadable::Malformed), "{path:?}");
    }
}

#[test]
fn the_number_of_readings_is_bounded() {
    let many = format!("/{}", "a;b/%252e%252e/\\..//./%3b/%2525/".repeat(20));
    assert_eq!(readings(&many), Err(Unreadable::TooMany));
    assert_eq!(readings(&format!("/{}", "%41".repeat(3_000))), Err(Unreadable::TooMany));
    assert!(readings(&format!("/{}", "a".repeat(20_000))).is_ok(), "long, but read in one way");
    let nested = format!("/%{}41", "25".repeat(100));
    assert_eq!(readings(&nested), Err(Unreadable::TooMany));
}
