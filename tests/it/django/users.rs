//! Users and passwords that a live Django made, on each database.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use cloakroom::auth::{
    self, AuthUser, CredentialSource, DjangoUser, DjangoUsers, PasswordAlgorithm, PasswordHasher, UserModel,
    UserSource,
};
use cloakroom::chrono::{DateTime, Utc};
use cloakroom::{MemoryStore, Session, Settings, StoreErrorKind};
use serde_json::Value;

use crate::support::back_end::BackEnd;
use crate::support::django::{Django, PASSWORD, Project, SECRET, USERNAME};

const HASHERS: [&str; 5] = ["pbkdf2_sha256", "pbkdf2_sha1", "argon2", "bcrypt_sha256", "scrypt"];

/// A user for each hasher, and users with each kind of permissions.
const MAKE_USERS: &str = r#"
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group, Permission
for name in ["pbkdf2_sha256", "pbkdf2_sha1", "argon2", "bcrypt_sha256", "scrypt"]:
    User.objects.create(username=name, password=make_password("pässword of " + name, hasher=name), email=name + "@a.example")
permission = lambda name: Permission.objects.get(content_type__app_label="auth", codename=name)
editors, nobody = Group.objects.create(name="Éditeurs 🦀"), Group.objects.create(name="nobody's")
editors.permissions.set([permission("change_user"), permission("view_user")])
nobody.permissions.set([permission("delete_user")])
for name, active, superuser in [("direct", True, False), ("grouped", True, False), ("Zoë", True, False),
        ("inactive", False, False), ("super", True, True), ("inactive super", False, True)]:
    user = User.objects.create_user(name, password="secret", is_active=active, is_superuser=superuser)
    if name in ["direct", "inactive", "super"]:
        user.user_permissions.add(permission("add_user"), permission("view_user"))
    if name in ["grouped", "inactive", "super"]:
        user.groups.add(editors)
result = [[str(user.pk), user.username, user.is_active, user.is_superuser, sorted(user.get_all_permissions()),
    sorted(user.groups.values_list("name", flat=True))] for user in User.objects.all()]
"#;

/// As Django 5.2's.
fn hasher() -> PasswordHasher {
    PasswordHasher::new(PasswordAlgorithm::Pbkdf2Sha256 { iterations: 1_000_000 }).unwrap()
}

fn sorted<'a>(values: impl IntoIterator<Item = &'a String>) -> Value {
    values.into_iter().collect::<BTreeSet<_>>().into_iter().map(String::as_str).collect()
}

async fn logged_in(users: &DjangoUsers, user: &DjangoUser) -> (Session, bool) {
    let session = Session::new(std::sync::Arc::new(MemoryStore::new()), Settings::new(SECRET));
    let id = user.id();
    auth::login(&session, auth::User { id: &id, password: user.password(), backend: auth::MODEL_BACKEND })
        .await
        .unwrap();
    let now = users.find(&id).await.unwrap().unwrap();
    let user = auth::User { id: &id, password: now.password(), backend: auth::MODEL_BACKEND };
    let is_in = auth::verify_user(&session, user).await.unwrap();
    (session, is_in)
}

async fn users_of(back_end: BackEnd, folder: &Path) {
    let project = back_end.project(Django::V5_2, folder);
    let made = project.evaluate(MAKE_USERS);
    let mut model = UserModel::default();
    model.extra = vec!["email".to_owned(), "first_name".to_owned()];
    let users = DjangoUsers::open(&back_end.url, model).await.unwrap();
    has_the_users_that_django_has(&users, &made).await;
    checks_and_upgrades_passwords(&users, &project).await;
    notes_logins_and_keeps_races_out(&users, &project).await;
    answers_odd_questions(&users).await;
    fails_by_name(&back_end.url).await;
}

async fn has_the_users_that_django_has(users: &DjangoUsers, made: &Value) {
    for row in made.as_array().unwrap() {
        let (id, name) = (row[0].as_str().unwrap(), row[1].as_str().unwrap());
        let user = users.find(id).await.unwrap().unwrap();
        assert_eq!((&*user.id(), user.username()), (id, name));
        assert_eq!((user.is_active(), user.is_superuser()), (row[2] == true, row[3] == true), "{name}");
        assert_eq!(user.is_staff(), name == USERNAME);
        let grants = users.grants(&user).await.unwrap();
        assert_eq!(sorted(&grants.permissions), row[4], "{name}");
        assert_eq!(sorted(&grants.groups), row[5], "{name}");
        let by_name = users.find_by_username(name).await.unwrap().unwrap();
        assert_eq!(by_name.id(), id);
    }
    let user = users.find_by_username("scrypt").await.unwrap().unwrap();
    assert_eq!((user.get("email"), user.get("first_name")), (Some("scrypt@a.example"), Some("")));
    assert_eq!((user.get("last_name"), user.get("password")), (None, None));
    assert!(!format!("{user:?} {users:?}").contains("scrypt$"));
}

async fn checks_and_upgrades_passwords(users: &DjangoUsers, project: &Project) {
    let hasher = hasher();
    for name in HASHERS {
        let password = format!("pässword of {name}");
        let before = users.find_by_username(name).await.unwrap().unwrap();
        assert!(before.password().starts_with(&format!("{name}$")));
        assert!(auth::authenticate(users, &hasher, name, "password").await.unwrap().is_none());
        let user = auth::authenticate(users, &hasher, name, &password).await.unwrap().unwrap();
        assert_eq!(before.password() == user.password(), name == HASHERS[0], "{name}");
        assert_eq!(user.password(), users.find(&user.id()).await.unwrap().unwrap().password());
        let (session, is_in) = logged_in(users, &user).await;
        assert!(is_in && auth::user_id(&session).unwrap().as_deref() == Some(&*user.id()));
    }
    let accepted = project.evaluate(
        r#"
from django.contrib.auth import authenticate
result = []
for name in ["pbkdf2_sha256", "pbkdf2_sha1", "argon2", "bcrypt_sha256", "scrypt"]:
    before = User.objects.get(username=name).password
    user = authenticate(username=name, password="pässword of " + name)
    result.append([user.username, user.password == before])
"#,
    );
    let expected: Value = HASHERS.iter().map(|name| serde_json::json!([name, true])).collect();
    assert_eq!(accepted, expected, "Django accepts each field and rewrites none");
    for (name, password) in
        [("inactive", "secret"), ("nobody", PASSWORD), ("direct", "Secret"), ("direct", "")]
    {
        assert!(auth::authenticate(users, &hasher, name, password).await.unwrap().is_none(), "{name}");
    }
    let user = auth::authenticate(users, &hasher, "Zoë", "secret").await.unwrap().unwrap();
    assert_eq!(user.username(), "Zoë");
}

async fn notes_logins_and_keeps_races_out(users: &DjangoUsers, project: &Project) {
    let user = users.find_by_username("direct").await.unwrap().unwrap();
    users.record_login(&user).await.unwrap();
    let noted = project.evaluate(
        "user = User.objects.get(username='direct'); result = user.last_login.isoformat()
user.set_password('changed'); user.save()",
    );
    let noted: DateTime<Utc> = noted.as_str().unwrap().parse().unwrap();
    assert!((Utc::now() - noted).num_seconds().abs() < 60, "{noted}");
    assert!(users.set_password(&user, "pbkdf2_sha256$1$a$b").await.unwrap().is_none(), "changed meanwhile");
    let check = "result = User.objects.get(username='direct').check_password('changed')";
    assert_eq!(project.evaluate(check), true);
    let changed = users.find(&user.id()).await.unwrap().unwrap();
    // The same but for the case of a letter, which some collations do not tell apart.
    let other_case = changed.password().replace("pbkdf2", "PBKDF2");
    let set = users.set_password(&changed, &other_case).await.unwrap().unwrap();
    assert_eq!(set.password(), other_case);
    assert!(users.set_password(&changed, "x").await.unwrap().is_none());
    project.evaluate("User.objects.filter(username='direct').delete()");
    assert!(users.set_password(&set, "x").await.unwrap().is_none());
    assert!(users.find(&user.id()).await.unwrap().is_none());
    users.record_login(&set).await.unwrap();
}

async fn answers_odd_questions(users: &DjangoUsers) {
    let long = "é".repeat(5_000);
    for id in [
        "",
        "0",
        "-1",
        "x",
        "1.5",
        "1e3",
        "99999999999999999999999",
        "1\0",
        "\0",
        "1' OR 1=1 --",
        "🦀",
        &long,
    ] {
        assert!(users.find(id).await.unwrap().is_none(), "{id}");
    }
    for name in ["", "\0", "ada\0", "ada' OR 1=1 --", "a%", "🦀", "\u{202e}ada", &long] {
        assert!(users.find_by_username(name).await.unwrap().is_none(), "{name}");
        assert!(auth::authenticate(users, &hasher(), name, "x").await.unwrap().is_none(), "{name}");
    }
    let finds: Vec<_> = (0..100)
        .map(|_| {
            let users = users.clone();
            tokio::spawn(async move { users.find("1").await.unwrap().unwrap().username().to_owned() })
        })
        .collect();
    for find in finds {
        assert_eq!(find.await.unwrap(), USERNAME);
    }
}

async fn fails_by_name(url: &str) {
    let mut model = UserModel::default();
    model.extra = vec!["shoe_size".to_owned()];
    let error = DjangoUsers::open(url, model).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
    assert!(error.to_string().contains("last_login and shoe_size"), "{error}");
    let mut model = UserModel::default();
    model.permissions.as_mut().unwrap().groups = "of_nobody".to_owned();
    let users = DjangoUsers::open(url, model).await.unwrap();
    let user = users.find("1").await.unwrap().unwrap();
    let error = users.grants(&user).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
    assert!(error.to_string().contains("of_nobody") && error.to_string().contains("`UserModel`"), "{error}");
    let mut model = UserModel::default();
    model.permissions = None;
    model.last_login = None;
    model.is_staff = None;
    model.is_active = None;
    let users = DjangoUsers::open(url, model).await.unwrap();
    let user = users.find_by_username("inactive").await.unwrap().unwrap();
    assert!(user.is_active() && !user.is_staff());
    assert!(users.grants(&user).await.unwrap().groups.is_empty());
    users.record_login(&user).await.unwrap();
    let mut model = UserModel::default();
    model.username = "is_staff".to_owned();
    let users = DjangoUsers::open(url, model).await.unwrap();
    let error = users.find_by_username("false").await.err().or(users.find_by_username("0").await.err());
    assert!(error.is_some_and(|error| error.to_string().contains("the same is_staff")));
}

/// A model with UUIDs and e-mail addresses, in a table of its own.
async fn members_of(back_end: BackEnd) {
    let mut project = Project::on(Django::V5_2, back_end.database.unwrap());
    project.variables.push(("SITE_USER_MODEL", "custom_users.Member".to_owned()));
    project.manage(&["migrate"]);
    let made = project.evaluate(
        r#"
from django.contrib.auth.models import Group, Permission
user = User(email="zoë@a.example", nickname="Zoë")
user.set_password("secret")
user.save()
group = Group.objects.create(name="members")
group.permissions.set(Permission.objects.filter(codename="add_member"))
user.groups.add(group)
user.user_permissions.set(Permission.objects.filter(codename="view_member"))
result = [str(user.pk), sorted(user.get_all_permissions())]
"#,
    );
    let mut model = UserModel::new("custom_users_member");
    model.username = "email".to_owned();
    (model.is_active, model.is_staff) = (None, None);
    model.extra = vec!["nickname".to_owned()];
    let users = DjangoUsers::open(&back_end.url, model).await.unwrap();
    let id = made[0].as_str().unwrap();
    let user = auth::authenticate(&users, &hasher(), "zoë@a.example", "secret").await.unwrap().unwrap();
    assert_eq!((&*user.id(), user.username(), user.get("nickname")), (id, "zoë@a.example", Some("Zoë")));
    assert!(user.is_active() && !user.is_staff() && !user.is_superuser());
    for spelled in [id.to_owned(), id.replace('-', ""), id.to_uppercase()] {
        assert_eq!(users.find(&spelled).await.unwrap().unwrap().id(), id, "{spelled}");
    }
    for nobody in ["", "7", "9f1c0a52-7d3e-4b61-8c2f-0123456789ab", "\0", "é", &id[1..], &format!("{id}x")] {
        assert!(users.find(nobody).await.unwrap().is_none(), "{nobody}");
    }
    let grants = users.grants(&user).await.unwrap();
    assert_eq!(sorted(&grants.permissions), made[1]);
    assert_eq!(made[1].as_array().unwrap().len(), 2);
    assert_eq!(grants.groups.len(), 1);
    let (_, is_in) = logged_in(&users, &user).await;
    assert!(is_in);
    users.record_login(&user).await.unwrap();
    assert!(users.set_password(&user, "!").await.unwrap().is_some());
    let seen =
        project.evaluate("user = User.objects.get(); result = [user.password, user.last_login is not None]");
    assert_eq!(seen, serde_json::json!(["!", true]));
}

fn in_sqlite(folder: &Path) -> BackEnd {
    let path = folder.join("members.sqlite3");
    let database = serde_json::json!({ "ENGINE": "django.db.backends.sqlite3", "NAME": &path });
    BackEnd {
        name: "SQLite",
        engine: "db",
        url: format!("sqlite:{}", path.display()),
        database: Some(database),
        cache: None,
        pickles: false,
        is_message_pack: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn users_in_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    users_of(BackEnd::sqlite(folder.path()).await, folder.path()).await;
    members_of(in_sqlite(folder.path())).await;
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn users_in_postgres() {
    let folder = tempfile::tempdir().unwrap();
    users_of(BackEnd::postgres(folder.path()).await, folder.path()).await;
    members_of(BackEnd::postgres(folder.path()).await).await;
}

#[cfg(feature = "mysql")]
#[tokio::test(flavor = "multi_thread")]
async fn users_in_mariadb() {
    use mysql_async::prelude::Queryable;

    let folder = tempfile::tempdir().unwrap();
    let back_end = BackEnd::mariadb(folder.path()).await;
    let url = back_end.url.clone();
    users_of(back_end, folder.path()).await;
    members_of(BackEnd::mariadb(folder.path()).await).await;

    // Tables of an older MySQL, whose characters have up to three bytes.
    let mut connection = crate::support::servers::mariadb::connection(&url).await;
    for sql in [
        "ALTER TABLE auth_user MODIFY username varchar(150) CHARACTER SET utf8mb3",
        "ALTER TABLE auth_permission CONVERT TO CHARACTER SET latin1",
    ] {
        connection.query_drop(sql).await.unwrap();
    }
    let users = DjangoUsers::open(&url, UserModel::default()).await.unwrap();
    assert!(users.find_by_username("🦀").await.unwrap().is_none());
    let user = users.find_by_username("grouped").await.unwrap().unwrap();
    let grants = users.grants(&user).await.unwrap();
    assert!(
        grants.groups.contains("Éditeurs 🦀") && grants.permissions.contains("auth.view_user"),
        "{grants:?}"
    );
}

/// Each Django has iterations of its own, which the documentation of `PasswordAlgorithm` names.
#[tokio::test(flavor = "multi_thread")]
async fn each_django_has_the_documented_iterations() {
    for django in Django::installed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("db.sqlite3");
        let project = Project::with_user(django, &file);
        let iterations = match django {
            Django::V4_2 => 600_000,
            Django::V5_2 => 1_000_000,
            Django::V6_0 => 1_200_000,
            Django::V6_1 => 1_500_000,
        };
        let hasher = PasswordHasher::new(PasswordAlgorithm::Pbkdf2Sha256 { iterations }).unwrap();
        let users =
            DjangoUsers::open(&format!("sqlite:{}", file.display()), UserModel::default()).await.unwrap();
        let before = users.find("1").await.unwrap().unwrap();
        let user = auth::authenticate(&users, &hasher, USERNAME, PASSWORD).await.unwrap().unwrap();
        assert_eq!(user.password(), before.password(), "{django:?}: nothing to upgrade");
        let encoded = hasher.encode("another").await.unwrap();
        let code = format!(
            "from django.contrib.auth.hashers import check_password
rewritten = []
result = [check_password('another', '{encoded}', rewritten.append), rewritten]"
        );
        assert_eq!(project.evaluate(&code), serde_json::json!([true, []]), "{django:?}");
    }
    println!("{}", Django::count_of(&Django::installed()));
}

/// Longer than any answer that comes, and less than two time limits.
const LIMIT: Duration = Duration::from_secs(9);

async fn fails_in_time<T: std::fmt::Debug>(asked: impl Future<Output = Result<T, cloakroom::StoreError>>) {
    let begin = Instant::now();
    let error = asked.await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    assert!(begin.elapsed() < LIMIT, "{:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_file_of_sqlite_is_waited_for_no_longer_than_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("db.sqlite3");
    let _project = Project::with_user(Django::V5_2, &file);
    let url = format!("sqlite:{}?timeout=1", file.display());
    let users = DjangoUsers::open(&url, UserModel::default()).await.unwrap();
    let user = users.find("1").await.unwrap().unwrap();
    let connection = rusqlite::Connection::open(&file).unwrap();
    connection.execute_batch("BEGIN EXCLUSIVE").unwrap();
    fails_in_time(users.find("1")).await;
    fails_in_time(users.record_login(&user)).await;
    connection.execute_batch("ROLLBACK").unwrap();
    assert!(users.find("1").await.unwrap().is_some());
    users.record_login(&user).await.unwrap();
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_in_postgres_is_waited_for_no_longer_than_the_limit_and_broken_connections_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let back_end = BackEnd::postgres(folder.path()).await;
    let _project = back_end.project(Django::V5_2, folder.path());
    let users = DjangoUsers::open(&back_end.url, UserModel::default()).await.unwrap();
    let user = users.find("1").await.unwrap().unwrap();
    let client = crate::support::servers::postgres::client(&back_end.url).await;
    client.batch_execute("BEGIN; SELECT 1 FROM auth_user FOR UPDATE").await.unwrap();
    let (other, same) = (users.clone(), user.clone());
    let locked = tokio::spawn(async move { fails_in_time(other.record_login(&same)).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begin = Instant::now();
    assert!(users.find("1").await.unwrap().is_some());
    assert!(begin.elapsed() < Duration::from_secs(2), "a locked row keeps nobody from reading");
    locked.await.unwrap();
    client.batch_execute("ROLLBACK; BEGIN; LOCK TABLE auth_user IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let many: Vec<_> = (0..8)
        .map(|_| {
            let users = users.clone();
            tokio::spawn(async move { fails_in_time(users.find("1")).await })
        })
        .collect();
    for one in many {
        one.await.unwrap();
    }
    client.batch_execute("ROLLBACK").await.unwrap();
    users.record_login(&user).await.unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE pid <> pg_backend_pid() AND datname = current_database()";
    for _ in 0..3 {
        client.batch_execute(end).await.unwrap();
        assert!(users.find("1").await.unwrap().is_some());
    }
}

#[cfg(feature = "mysql")]
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_in_mariadb_is_waited_for_no_longer_than_the_limit_and_broken_connections_are_replaced() {
    use mysql_async::prelude::Queryable;

    let folder = tempfile::tempdir().unwrap();
    let back_end = BackEnd::mariadb(folder.path()).await;
    let _project = back_end.project(Django::V5_2, folder.path());
    let users = DjangoUsers::open(&back_end.url, UserModel::default()).await.unwrap();
    let user = users.find("1").await.unwrap().unwrap();
    let mut connection = crate::support::servers::mariadb::connection(&back_end.url).await;
    connection.query_drop("BEGIN").await.unwrap();
    connection.query_drop("SELECT 1 FROM auth_user FOR UPDATE").await.unwrap();
    fails_in_time(users.record_login(&user)).await;
    assert!(users.find("1").await.unwrap().is_some(), "a locked row keeps nobody from reading");
    connection.query_drop("ROLLBACK").await.unwrap();
    connection.query_drop("LOCK TABLES auth_user WRITE").await.unwrap();
    fails_in_time(users.find("1")).await;
    connection.query_drop("UNLOCK TABLES").await.unwrap();
    users.record_login(&user).await.unwrap();
    let sql = "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()";
    for _ in 0..3 {
        let others: Vec<u64> = connection.query(sql).await.unwrap();
        for other in others {
            let _ = connection.query_drop(format!("KILL {other}")).await;
        }
        assert!(users.find("1").await.unwrap().is_some());
    }
}
