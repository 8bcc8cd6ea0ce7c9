//! Full disks, failing disks, too many open files: a typed error, and what was there stays whole.

use axum::body::Body;
use cloakroom::store::Updated;
use cloakroom::{LazySession, SessionLayer, SessionMiddleware, StoreError, StoreErrorKind};
use http::{Request, Response, header};
use tower::{Layer, ServiceExt, service_fn};

use super::*;

const OLD: &str = r#"{"old":1}"#;

/// Larger than any of the limits below.
fn large() -> String {
    // Not to be compressed into what fits.
    let mut state = 1u64;
    let text: String = (0..40_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'a' + (state >> 59) as u8 % 26)
        })
        .collect();
    format!(r#"{{"new":"{text}"}}"#)
}

/// Tries to save a large session in every way, and tells what came of it.
async fn try_to_save(folder: &Path) -> [Option<StoreError>; 3] {
    let mut options = cloakroom::FileStore::at(folder);
    options.durable = true;
    let store = options.open(&settings()).await.unwrap();
    let new = data(&large());
    [
        store.create(&SessionKey::from_trusted("another0"), record(&new)).await.err(),
        store.update(&session_key(), None, record(&new)).await.err(),
        store.rotate(&session_key(), None, &SessionKey::from_trusted("rotated0"), record(&new)).await.err(),
    ]
}

async fn with_an_old_session() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    create(&open(place.path()).await, &session_key(), OLD).await;
    place
}

/// That the old session alone is there, and nothing else.
async fn assert_untouched(folder: &Path) {
    let store = open(folder).await;
    assert_eq!(load(&store, &session_key()).await.as_deref(), Some(OLD));
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1);
}

/// The file can grow to 8 kB only: the first write is a short one, the next one fails.
#[tokio::test]
async fn a_short_write_is_an_error_and_the_old_content_is_whole() {
    const TEST: &str = "failures::a_short_write_is_an_error_and_the_old_content_is_whole";
    if let Some(folder) = restarted::folder_given() {
        for error in try_to_save(&folder).await {
            let error = error.expect("an error");
            assert_eq!(error.kind(), StoreErrorKind::Unavailable);
            assert!(error.to_string().contains("cannot write a temporary file: File too large"), "{error}");
        }
        return;
    }
    let place = with_an_old_session().await;
    let shell = "trap '' XFSZ; ulimit -f 16; exec \"$@\"";
    restarted::run(&["sh", "-c", shell, "sh"], TEST, place.path());
    assert_untouched(place.path()).await;
}

/// On a file system of 32 kB, which only this process sees.
#[tokio::test]
async fn a_full_disk_is_an_error_and_the_old_content_is_whole() {
    const TEST: &str = "failures::a_full_disk_is_an_error_and_the_old_content_is_whole";
    if let Some(folder) = restarted::folder_given() {
        create(&open(&folder).await, &session_key(), OLD).await;
        for error in try_to_save(&folder).await {
            let error = error.expect("an error");
            assert_eq!(error.kind(), StoreErrorKind::Unavailable);
            assert!(error.to_string().contains("the disk or the quota is full"), "{error}");
        }
        assert_untouched(&folder).await;
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let shell = format!("mount -t tmpfs -o size=32k tmpfs '{}' && exec \"$@\"", place.path().display());
    let own_mounts: [&[&str]; 2] =
        [&["unshare", "--mount"], &["unshare", "--user", "--map-root-user", "--mount"]];
    let allowed = |unshare: &&&[&str]| {
        let mut probe = std::process::Command::new(unshare[0]);
        probe.args(&unshare[1..]).args(["sh", "-c", &shell, "sh", "true"]);
        probe.output().is_ok_and(|output| output.status.success())
    };
    let Some(unshare) = own_mounts.iter().find(allowed) else {
        return println!(
            "t25: a full disk SKIPPED, as nobody may mount one here; the injected ENOSPC stands in"
        );
    };
    restarted::run(&[unshare, &["sh", "-c", &shell, "sh"][..]].concat(), TEST, place.path());
    assert_eq!(
        std::fs::read_dir(place.path()).unwrap().count(),
        0,
        "the file system is gone with its process"
    );
    println!("t25: a full disk was refused 3 of 3 times");
}

/// The system's calls fail, or are interrupted, one after the other.
#[test]
fn a_failing_disk_is_an_error_and_the_old_content_is_whole() {
    // The tracer counts the calls of each thread, so that there is one for files.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(1).build().unwrap();
    match restarted::folder_given() {
        Some(folder) => println!("outcome: {}", runtime.block_on(save_or_fail(&folder))),
        None => runtime.block_on(inject_faults()),
    }
}

async fn save_or_fail(folder: &Path) -> String {
    let saved = async {
        let store = cloakroom::FileStore::at(folder).open(&settings()).await?;
        store.update(&session_key(), None, record(&data(r#"{"new":1}"#))).await
    };
    match saved.await {
        Ok(Updated::Updated(_)) => "saved".to_owned(),
        Ok(other) => format!("{other:?}"),
        Err(error) => format!("{:?}: {error}", error.kind()),
    }
}

async fn inject_faults() {
    const TEST: &str = "failures::a_failing_disk_is_an_error_and_the_old_content_is_whole";
    let (full, broken) = ("the disk or the quota is full", "Input/output error");
    let (writing, replacing) = ("cannot write a temporary file: ", "cannot replace a session's file: ");
    let new = r#"{"new":1}"#;
    let cases = [
        // Opening makes two temporary files and exchanges them; then the save does the same with one.
        ("fsync:error=EIO:when=3", "Unavailable", writing, broken, OLD),
        ("fsync:error=ENOSPC:when=3", "Unavailable", writing, full, OLD),
        ("fsync:error=EDQUOT:when=3", "Unavailable", writing, full, OLD),
        ("fchmod:error=EIO:when=3", "Unavailable", writing, broken, OLD),
        ("utimensat:error=EIO:when=3", "Unavailable", writing, broken, OLD),
        ("renameat2:error=EIO:when=2", "Unavailable", replacing, broken, OLD),
        ("renameat2:error=ENOSPC:when=2", "Unavailable", replacing, full, OLD),
        ("renameat2:error=EACCES:when=2", "Misconfigured", replacing, "must belong to this user", OLD),
        ("flock:error=EIO:when=1", "Unavailable", "cannot lock a session's file: ", broken, OLD),
        // It has its name already: the new content is whole, but nobody knows whether it outlives a power cut.
        ("fsync:error=EIO:when=4", "Unavailable", "cannot write the folder to the disk: ", broken, new),
        // What was interrupted is done again.
        ("fsync:error=EINTR:when=3..4", "saved", "", "", new),
        ("renameat2:error=EINTR:when=2", "saved", "", "", new),
        ("flock:error=EINTR:when=1", "saved", "", "", new),
        // The answer of a file system that cannot exchange files.
        ("renameat2:error=EINVAL:when=1", "Misconfigured", "cannot exchange two files in one step", "", OLD),
    ];
    for (fault, kind, what, why, content) in cases {
        let place = with_an_old_session().await;
        let (inject, call) = (format!("inject={fault}"), fault.split(':').next().unwrap());
        let trace = format!("trace={call}");
        let strace = ["strace", "-f", "-q", "-o", "/dev/null", "-e", &trace, "-e", &inject];
        let output = restarted::run(&strace, TEST, place.path());
        let told = String::from_utf8_lossy(&output.stdout);
        let outcome = told.lines().find_map(|line| line.split_once("outcome: ")).unwrap().1;
        assert!(
            outcome.starts_with(kind) && outcome.contains(what) && outcome.contains(why),
            "{fault}: {outcome}"
        );
        let store = open(place.path()).await;
        assert_eq!(load(&store, &session_key()).await.as_deref(), Some(content), "{fault}");
        assert_eq!(leftovers(place.path()), 0, "{fault}");
    }
    println!("t25: {0} of {0} faults left a whole session", cases.len());
}

/// A request through the layer with a cookie of the old session; gives the status and the cookies set.
async fn request(store: Arc<dyn SessionStore>) -> (u16, usize) {
    let middleware = SessionMiddleware::new(store, settings())
        .unwrap()
        .with_clock(Arc::new(cloakroom::ManualClock::new(now())));
    let service = SessionLayer::from(middleware).layer(service_fn(|request: Request<Body>| async move {
        let lazy = request.extensions().get::<LazySession>().cloned().unwrap();
        let status = match lazy.load().await {
            Ok(session) => {
                assert_eq!(session.data().to_json(), OLD);
                200
            }
            Err(error) => cloakroom::middleware::status_of(&error),
        };
        Ok::<_, std::convert::Infallible>(Response::builder().status(status).body(Body::empty()).unwrap())
    }));
    let cookie = format!("sessionid={}", session_key().as_str());
    let request = Request::builder().uri("/").header(header::COOKIE, cookie).body(Body::empty()).unwrap();
    let response = service.oneshot(request).await.unwrap();
    (response.status().as_u16(), response.headers().get_all(header::SET_COOKIE).iter().count())
}

#[tokio::test]
async fn too_many_open_files_is_a_5xx_without_a_cookie() {
    const TEST: &str = "failures::too_many_open_files_is_a_5xx_without_a_cookie";
    if let Some(folder) = restarted::folder_given() {
        let store = open(&folder).await;
        assert_eq!(request(Arc::clone(&store)).await, (200, 0));
        let mut hoard = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            hoard.push(file);
        }
        let error = store.load(&session_key(), now()).await.unwrap_err();
        let reply = request(Arc::clone(&store)).await;
        drop(hoard);
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        assert!(error.to_string().contains("Too many open files"), "{error}");
        assert!(error.to_string().contains("ulimit -n"), "{error}");
        assert_eq!(reply, (503, 0));
        assert_eq!(request(store).await, (200, 0), "and it heals");
        return;
    }
    let place = with_an_old_session().await;
    restarted::run(&["sh", "-c", "ulimit -n 60; exec \"$@\"", "sh"], TEST, place.path());
    assert_untouched(place.path()).await;
}

#[tokio::test]
async fn a_file_that_may_not_be_read_is_a_5xx_without_a_cookie() {
    const TEST: &str = "failures::a_file_that_may_not_be_read_is_a_5xx_without_a_cookie";
    if let Some(folder) = restarted::folder_given() {
        let store = open(&folder).await;
        let error = store.load(&session_key(), now()).await.unwrap_err();
        println!("outcome: {error}");
        let expected = match error.kind() {
            StoreErrorKind::Unavailable => (503, 0),
            _ => (500, 0),
        };
        assert_eq!(request(store).await, expected);
        return;
    }
    for (fault, expected) in
        [("EACCES", "must belong to this user"), ("EIO", "open a session's file: Input/output error")]
    {
        let place = with_an_old_session().await;
        let file = path(place.path(), &session_key());
        let inject = format!("inject=openat:error={fault}");
        let strace = [
            "strace",
            "-f",
            "-q",
            "-o",
            "/dev/null",
            "-P",
            file.to_str().unwrap(),
            "-e",
            "trace=openat",
            "-e",
            &inject,
        ];
        let output = restarted::run(&strace, TEST, place.path());
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(told.contains(expected), "{fault}: {told}");
        assert_untouched(place.path()).await;
    }
}
