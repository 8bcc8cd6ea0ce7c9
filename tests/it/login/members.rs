//! The users of a test's site: in memory, or the rows of a Django site's table.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use cloakroom::auth::{AuthUser, Grants, MODEL_BACKEND, UserSource};
use cloakroom::{StoreError, StoreErrorKind, async_trait};
use rusqlite::{Connection, OptionalExtension};

#[derive(Clone, Default)]
pub(super) struct Member {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) password: String,
    pub(super) is_inactive: bool,
    pub(super) is_staff: bool,
    pub(super) is_superuser: bool,
    pub(super) grants: Grants,
}

impl AuthUser for Member {
    fn id(&self) -> Cow<'_, str> {
        (&self.id).into()
    }

    fn password(&self) -> &str {
        &self.password
    }

    fn is_active(&self) -> bool {
        !self.is_inactive
    }

    fn is_staff(&self) -> bool {
        self.is_staff
    }

    fn is_superuser(&self) -> bool {
        self.is_superuser
    }
}

/// A source that tells which calls reach it, and fails when told to.
#[derive(Default)]
pub(super) struct Members {
    pub(super) users: Mutex<BTreeMap<String, Member>>,
    /// The database of a Django site, in place of the map.
    pub(super) database: Option<PathBuf>,
    pub(super) calls: Mutex<Vec<&'static str>>,
    pub(super) failing: Mutex<Option<&'static str>>,
}

impl Members {
    /// One user with the id 7, named Ada.
    pub(super) fn with_ada() -> Members {
        let members = Members::default();
        members.add("7", "Ada", |_| {});
        members
    }

    pub(super) fn add(&self, id: &str, name: &str, change: impl FnOnce(&mut Member)) {
        let (id, name) = (id.to_owned(), name.to_owned());
        let mut member = Member { id, name, password: "pbkdf2_sha256$one".to_owned(), ..Member::default() };
        change(&mut member);
        self.users.lock().unwrap().insert(member.id.clone(), member);
    }

    pub(super) fn change(&self, id: &str, change: impl FnOnce(&mut Member)) {
        change(self.users.lock().unwrap().get_mut(id).unwrap());
    }

    pub(super) fn of(&self, id: &str) -> Member {
        self.users.lock().unwrap()[id].clone()
    }

    /// The calls since it was last asked.
    pub(super) fn calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    pub(super) fn fail(&self, call: Option<&'static str>) {
        *self.failing.lock().unwrap() = call;
    }

    fn note(&self, call: &'static str) -> Result<(), StoreError> {
        self.calls.lock().unwrap().push(call);
        if *self.failing.lock().unwrap() == Some(call) {
            return Err(StoreError::new("members", StoreErrorKind::Unavailable, "the source is down"));
        }
        Ok(())
    }
}

#[async_trait]
impl UserSource for Members {
    type User = Member;

    async fn find(&self, id: &str) -> Result<Option<Member>, StoreError> {
        self.note("find")?;
        let Some(database) = &self.database else { return Ok(self.users.lock().unwrap().get(id).cloned()) };
        let sql =
            "SELECT id, username, password, is_active, is_staff, is_superuser FROM auth_user WHERE id = ?1";
        let member = Connection::open(database).unwrap().query_row(sql, [id], |row| {
            Ok(Member {
                id: row.get::<_, i64>(0)?.to_string(),
                name: row.get(1)?,
                password: row.get(2)?,
                is_inactive: !row.get::<_, bool>(3)?,
                is_staff: row.get(4)?,
                is_superuser: row.get(5)?,
                grants: Grants::default(),
            })
        });
        Ok(member.optional().unwrap())
    }

    fn accepts_backend(&self, backend: &str) -> bool {
        [MODEL_BACKEND, "shop.backends.Token"].contains(&backend)
    }

    async fn grants(&self, user: &Member) -> Result<Grants, StoreError> {
        self.note("grants")?;
        Ok(user.grants.clone())
    }
}
