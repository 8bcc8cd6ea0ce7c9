//! The tables of a Django project's user model, and the statements on them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use cloakroom_formats::TimeZone;

use super::look_ups::{LookUps, Statement};
use super::sql::table::ColumnValue;
use super::sql::users::{UserRow, Users};
use super::tables::database;
use super::url::StoreUrl;
use crate::site::error::{StoreError, StoreErrorKind};

/// The table of a project's user model, `AUTH_USER_MODEL`, by the names that the database has. The default is Django's
/// own `auth_user`.
///
/// ```
/// use cloakroom::auth::UserModel;
///
/// // class Member(AbstractBaseUser): no `is_staff`, no permissions, an e-mail address as the name.
/// let mut model = UserModel::new("shop_member");
/// model.username = "email".to_owned();
/// model.is_staff = None;
/// model.is_superuser = None;
/// model.permissions = None;
/// model.extra = vec!["first_name".to_owned()];
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserModel {
    /// The table: the model's `_meta.db_table`. A PostgreSQL table may be preceded by its schema: `shop.users`.
    pub table: String,
    /// The column of the primary key: whole numbers, UUIDs or texts. Default: `id`.
    pub id: String,
    /// The column by which users log in: the model's `USERNAME_FIELD`. Default: `username`.
    pub username: String,
    /// The column of the encoded hash. Default: `password`.
    pub password: String,
    /// The column that says whether a user may log in. Default: `is_active`. Without one, all users are active, as in
    /// `AbstractBaseUser`.
    pub is_active: Option<String>,
    /// The column that says whether a user may use the admin. Default: `is_staff`. Without one, nobody may.
    pub is_staff: Option<String>,
    /// The column that says whether a user has all permissions. Default: `is_superuser`. Without one, nobody has.
    pub is_superuser: Option<String>,
    /// The column of the last login. Default: `last_login`. Without one, it is not kept.
    pub last_login: Option<String>,
    /// Further columns, which each user then has as text. Default: none.
    pub extra: Vec<String>,
    /// The tables of `PermissionsMixin`, which are asked for groups and permissions alone. Default: those that Django
    /// makes for `table`. Without them, users have no groups and no permissions.
    pub permissions: Option<PermissionTables>,
    /// Whether a look-up of a user reads the names of the groups too, in the same statement:
    /// [`DjangoUser::groups`](crate::auth::DjangoUser::groups). Default: false.
    pub reads_groups: bool,
    /// Whose logins count: the site's `AUTHENTICATION_BACKENDS`. Default: none, which means Django's `ModelBackend` alone.
    pub backends: Vec<String>,
    /// How `last_login` is kept: [`Settings::time_zone`](crate::Settings::time_zone). Default: `USE_TZ = True`.
    pub time_zone: TimeZone,
}

/// The tables that join users with their groups and permissions.
///
/// ```
/// use cloakroom::auth::PermissionTables;
///
/// let tables = PermissionTables::of("shop_member");
/// assert_eq!(tables.groups, "shop_member_groups");
/// assert_eq!(tables.permissions, "shop_member_user_permissions");
/// assert_eq!(tables.user, "member_id");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PermissionTables {
    /// The table of the users' groups.
    pub groups: String,
    /// The table of the users' own permissions.
    pub permissions: String,
    /// The column of the user's id in both: the model's name in lower case and `_id`.
    pub user: String,
}

impl PermissionTables {
    /// The names that Django makes for a table whose name is Django's own too, `APP_MODEL`.
    pub fn of(table: &str) -> PermissionTables {
        let (_, model) = table.rsplit_once(['_', '.']).unwrap_or(("", table));
        PermissionTables {
            groups: format!("{table}_groups"),
            permissions: format!("{table}_user_permissions"),
            user: format!("{}_id", model.to_lowercase()),
        }
    }
}

impl UserModel {
    /// Django's own users table.
    pub const DJANGO_TABLE: &'static str = "auth_user";

    /// A table with the columns of Django's `AbstractUser`.
    ///
    /// ```
    /// use cloakroom::auth::UserModel;
    ///
    /// let model = UserModel::new("shop_member");
    /// assert_eq!((model.id.as_str(), model.username.as_str()), ("id", "username"));
    /// assert_eq!(model.permissions.unwrap().groups, "shop_member_groups");
    /// ```
    pub fn new(table: &str) -> UserModel {
        let column = |name: &str| name.to_owned();
        UserModel {
            table: table.to_owned(),
            id: column("id"),
            username: column("username"),
            password: column("password"),
            is_active: Some(column("is_active")),
            is_staff: Some(column("is_staff")),
            is_superuser: Some(column("is_superuser")),
            last_login: Some(column("last_login")),
            extra: Vec::new(),
            permissions: Some(PermissionTables::of(table)),
            reads_groups: false,
            backends: Vec::new(),
            time_zone: TimeZone::default(),
        }
    }

    fn columns(&self) -> Vec<&str> {
        let optional = [&self.is_active, &self.is_staff, &self.is_superuser, &self.last_login];
        let optional = optional.into_iter().flatten();
        let columns = [&self.id, &self.username, &self.password].into_iter().chain(optional);
        columns.chain(&self.extra).map(String::as_str).collect()
    }
}

/// Django's `auth_user`.
impl Default for UserModel {
    fn default() -> UserModel {
        UserModel::new(UserModel::DJANGO_TABLE)
    }
}

/// The open tables of a user model, whose look-ups share statements.
pub(crate) struct UserModelTables {
    tables: Arc<Tables>,
    by_id: LookUps<ById>,
    grants: LookUps<GrantsOf>,
}

/// The tables and the statements on them.
struct Tables {
    model: UserModel,
    users: Users,
}

/// A user's row.
#[derive(Clone)]
pub(crate) struct StoredUser {
    pub(crate) id: String,
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) is_active: bool,
    pub(crate) is_staff: bool,
    pub(crate) is_superuser: bool,
    /// In the order of [`UserModel::extra`].
    pub(crate) extra: UserRow,
    /// Sorted; none where they are not read.
    pub(crate) groups: Vec<String>,
}

/// A group, or a permission with its application.
#[derive(Clone)]
pub(crate) enum Grant {
    Group(String),
    Permission(String),
}

/// The grants that are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Wanted {
    Groups,
    /// The groups, and the permissions of the user and the groups.
    OfUser,
    /// The groups, and all permissions that there are.
    OfSuperuser,
}

impl UserModelTables {
    pub(crate) async fn open(url: &str, model: UserModel) -> Result<UserModelTables, StoreError> {
        let users = database(&StoreUrl::from(url))?.users(&model.table, &model.columns()).await?;
        let tables = Arc::new(Tables { model, users });
        let by_id = LookUps::new(Arc::new(ById(Arc::clone(&tables))));
        let grants = LookUps::new(Arc::new(GrantsOf(Arc::clone(&tables))));
        Ok(UserModelTables { tables, by_id, grants })
    }

    pub(crate) fn model(&self) -> &UserModel {
        &self.tables.model
    }

    pub(crate) async fn find(&self, id: &str) -> Result<Option<StoredUser>, StoreError> {
        match self.tables.stored_id(id) {
            Some(id) => self.by_id.find(id).await,
            None => Ok(None),
        }
    }

    /// The user's groups and permissions.
    pub(crate) async fn grants(&self, id: &str, wanted: Wanted) -> Result<Arc<[Grant]>, StoreError> {
        match self.tables.stored_id(id).filter(|_| self.model().permissions.is_some()) {
            Some(id) => Ok(self.grants.find((id, wanted)).await?.unwrap_or_default()),
            None => Ok(Arc::default()),
        }
    }

    /// As the database compares, like Django's `get_by_natural_key`.
    pub(crate) async fn find_by_username(&self, username: &str) -> Result<Option<StoredUser>, StoreError> {
        if username.contains('\0') {
            return Ok(None);
        }
        self.tables.find_by(&self.model().username, ColumnValue::Text(username.to_owned())).await
    }

    /// Replaces the password field, if it still is the user's; returns whether it was.
    pub(crate) async fn set_password(&self, user: &StoredUser, encoded: &str) -> Result<bool, StoreError> {
        self.tables.set_password(user, encoded).await
    }

    pub(crate) async fn record_login(&self, user: &StoredUser, now: DateTime<Utc>) -> Result<(), StoreError> {
        self.tables.record_login(user, now).await
    }

    /// Asks for no row.
    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        let Tables { model, users } = &*self.tables;
        let id = users.text(&users.quoted(&model.id));
        let sql = format!("SELECT {id} FROM {} WHERE 1 = 0", users.table);
        users.connection.rows(sql, Vec::new()).await.map(drop)
    }
}

/// Users by their ids.
struct ById(Arc<Tables>);

#[async_trait]
impl Statement for ById {
    type Key = ColumnValue;
    type Answer = StoredUser;

    async fn run(&self, ids: Vec<ColumnValue>) -> Result<HashMap<ColumnValue, StoredUser>, StoreError> {
        let ById(tables) = self;
        let mut found = HashMap::new();
        let mut parts = vec![ids];
        while let Some(ids) = parts.pop() {
            if let [id] = &ids[..] {
                let user = tables.find_by(&tables.model.id, id.clone()).await?;
                found.extend(user.map(|user| (id.clone(), user)));
                continue;
            }
            let Some(users) = tables.find_all(&ids).await? else {
                let (left, right) = ids.split_at(ids.len() / 2);
                parts.extend([left.to_vec(), right.to_vec()]);
                continue;
            };
            found.extend(users.into_iter().filter_map(|user| Some((tables.stored_id(&user.id)?, user))));
            if !tables.users.has_exact_ids(&tables.model.id) {
                // The collation may know them by another text.
                parts.extend(ids.into_iter().filter(|id| !found.contains_key(id)).map(|id| vec![id]));
            }
        }
        Ok(found)
    }

    fn limit(&self) -> Duration {
        self.0.users.connection.limit()
    }

    fn too_late(&self) -> StoreError {
        self.0.users.connection.too_late()
    }
}

/// Groups and permissions by the users' ids.
struct GrantsOf(Arc<Tables>);

type Grants = HashMap<(ColumnValue, Wanted), Arc<[Grant]>>;

#[async_trait]
impl Statement for GrantsOf {
    type Key = (ColumnValue, Wanted);
    type Answer = Arc<[Grant]>;

    async fn run(&self, keys: Vec<(ColumnValue, Wanted)>) -> Result<Grants, StoreError> {
        if let Some(found) = self.0.grants(&keys).await? {
            return Ok(found);
        }
        let mut found = HashMap::new();
        for key in keys {
            found.extend(self.0.grants(&[key]).await?.unwrap_or_default());
        }
        Ok(found)
    }

    fn limit(&self) -> Duration {
        self.0.users.connection.limit()
    }

    fn too_late(&self) -> StoreError {
        self.0.users.connection.too_late()
    }
}

impl Tables {
    fn stored_id(&self, id: &str) -> Option<ColumnValue> {
        self.users.stored_id(&self.model.id, id)
    }

    /// The tables of the groups, if a look-up of a user reads them.
    fn groups(&self) -> Option<&PermissionTables> {
        self.model.permissions.as_ref().filter(|_| self.model.reads_groups)
    }

    /// A column of the users' table, quoted.
    fn column(&self, name: &str) -> String {
        format!("{}.{}", self.users.table, self.users.quoted(name))
    }

    /// Selects the columns of [`stored`](Tables::stored), with a row for each group.
    fn select(&self) -> String {
        let Tables { model, users } = self;
        let text = |column: &String| users.text(&self.column(column));
        let flag = |column: &Option<String>| column.as_ref().map_or("NULL".to_owned(), text);
        let mut columns: Vec<String> = [&model.id, &model.username, &model.password].map(text).into();
        columns.extend([&model.is_active, &model.is_staff, &model.is_superuser].map(flag));
        columns.extend(model.extra.iter().map(text));
        let mut from = users.table.clone();
        if let Some(tables) = self.groups() {
            let (id, of_user) = (self.column(&model.id), users.quoted_table(&tables.groups));
            let user = users.quoted(&tables.user);
            from += &format!(
                " LEFT JOIN {of_user} ON {of_user}.{user} = {id} LEFT JOIN auth_group ON auth_group.id = {of_user}.group_id"
            );
            columns.push(users.text("auth_group.name"));
        }
        format!("SELECT {} FROM {from}", columns.join(", "))
    }

    /// `None` when one of the ids has characters that the column cannot hold.
    async fn find_all(&self, ids: &[ColumnValue]) -> Result<Option<Vec<StoredUser>>, StoreError> {
        let Tables { model, users } = self;
        let ids = users.among(&model.id, ids.to_vec());
        let condition = users.is_among(&self.column(&model.id), 1, ids.len(), &model.id);
        let rows = users.connection.rows(format!("{} WHERE {condition}", self.select()), ids).await?;
        Ok(rows.map(|rows| self.stored(rows)))
    }

    async fn find_by(&self, column: &str, value: ColumnValue) -> Result<Option<StoredUser>, StoreError> {
        let Tables { model, users } = self;
        let (quoted, place) = (self.column(column), users.place(1, column));
        // With the groups, one user has several rows.
        let limit = if self.groups().is_some() { "" } else { " LIMIT 2" };
        let sql = format!("{} WHERE {quoted} = {place}{limit}", self.select());
        let mut found = self.stored(users.connection.rows(sql, vec![value]).await?.unwrap_or_default());
        if found.len() > 1 {
            // Django's `MultipleObjectsReturned`.
            let message = format!(
                "several users of {} have the same {column}; `UserModel` must name a unique column",
                model.table
            );
            return Err(StoreError::new("", StoreErrorKind::Misconfigured, message));
        }
        Ok(found.pop())
    }

    /// The users of these rows; with their groups, of which each has a row of its own.
    fn stored(&self, rows: Vec<UserRow>) -> Vec<StoredUser> {
        if self.groups().is_none() {
            return rows.into_iter().map(|row| self.stored_user(row)).collect();
        }
        let mut users: Vec<StoredUser> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for mut row in rows {
            let group = row.pop().flatten();
            let id = row.first().cloned().flatten().unwrap_or_default();
            let place = *places.entry(id).or_insert_with(|| {
                users.push(self.stored_user(row));
                users.len() - 1
            });
            users[place].groups.extend(group);
        }
        users.iter_mut().for_each(|user| user.groups.sort_unstable());
        users
    }

    fn stored_user(&self, row: UserRow) -> StoredUser {
        let mut row = row.into_iter();
        let mut next = || row.next().flatten();
        let is_true =
            |flag: Option<String>, default| flag.map_or(default, |flag| flag == "1" || flag == "true");
        StoredUser {
            id: self.users.shown_id(&self.model.id, next().unwrap_or_default()),
            username: next().unwrap_or_default(),
            password: next().unwrap_or_default(),
            is_active: is_true(next(), self.model.is_active.is_none()),
            is_staff: is_true(next(), false),
            is_superuser: is_true(next(), false),
            extra: row.collect(),
            groups: Vec::new(),
        }
    }

    async fn set_password(&self, user: &StoredUser, encoded: &str) -> Result<bool, StoreError> {
        let Tables { model, users } = self;
        let Some(id) = users.stored_id(&model.id, &user.id) else { return Ok(false) };
        let password = users.quoted(&model.password);
        let sql = format!(
            "UPDATE {} SET {password} = {} WHERE {} = {} AND {} = {}",
            users.table,
            users.place(1, &model.password),
            users.quoted(&model.id),
            users.place(2, &model.id),
            users.bytes(&password),
            users.bytes(&users.place(3, &model.password)),
        );
        let [encoded, before] = [encoded, &user.password].map(|text| ColumnValue::Text(text.to_owned()));
        Ok(users.connection.change(sql, vec![encoded, id, before]).await? > 0)
    }

    async fn record_login(&self, user: &StoredUser, now: DateTime<Utc>) -> Result<(), StoreError> {
        let Tables { model, users } = self;
        let Some(column) = &model.last_login else { return Ok(()) };
        let Some(id) = users.stored_id(&model.id, &user.id) else { return Ok(()) };
        let sql = format!(
            "UPDATE {} SET {} = {} WHERE {} = {}",
            users.table,
            users.quoted(column),
            users.place(1, column),
            users.quoted(&model.id),
            users.place(2, &model.id),
        );
        let now = match users.has_offset(column) {
            true => now.format("%Y-%m-%d %H:%M:%S%.6f+00").to_string(),
            false => model.time_zone.to_wall_clock(now).format("%Y-%m-%d %H:%M:%S%.6f").to_string(),
        };
        users.connection.change(sql, vec![ColumnValue::Text(now), id]).await.map(drop)
    }

    /// The grants of these users, in one statement. `None` when it cannot be told whose a row is.
    async fn grants(&self, keys: &[(ColumnValue, Wanted)]) -> Result<Option<Grants>, StoreError> {
        let Tables { model, users } = self;
        let Some(tables) = &model.permissions else { return Ok(Some(Grants::new())) };
        let ids: HashSet<&ColumnValue> = keys.iter().map(|(id, _)| id).collect();
        let ids = users.among(&model.id, ids.into_iter().cloned().collect());
        let (user_groups, user_permissions) =
            (users.quoted_table(&tables.groups), users.quoted_table(&tables.permissions));
        let user_column = users.quoted(&tables.user);
        let [user, group_id, group, label, codename] = [
            &*user_column,
            "group_id",
            "auth_group.name",
            "django_content_type.app_label",
            "auth_permission.codename",
        ]
        .map(|column| users.text(column));
        let mut values = Vec::new();
        let mut is_asked = || {
            let first = values.len() + 1;
            values.extend_from_slice(&ids);
            users.is_among(&user_column, first, ids.len(), &model.id)
        };
        // The user, the group, and the application and name of a permission or the name of a group.
        let mut parts = vec![format!(
            "SELECT {user}, {group_id}, NULL, {group} FROM auth_group JOIN {user_groups} ON auth_group.id = group_id \
             WHERE {}",
            is_asked()
        )];
        let permissions =
            "FROM auth_permission JOIN django_content_type ON django_content_type.id = content_type_id";
        if keys.iter().any(|(_, wanted)| *wanted == Wanted::OfUser) {
            parts.push(format!(
                "SELECT {user}, NULL, {label}, {codename} {permissions} \
                 JOIN {user_permissions} ON auth_permission.id = permission_id WHERE {}",
                is_asked()
            ));
            // Once for each group, however many of the users are in it.
            parts.push(format!(
                "SELECT NULL, {group_id}, {label}, {codename} {permissions} \
                 JOIN auth_group_permissions ON auth_permission.id = permission_id \
                 WHERE group_id IN (SELECT group_id FROM {user_groups} WHERE {})",
                is_asked()
            ));
        }
        if keys.iter().any(|(_, wanted)| *wanted == Wanted::OfSuperuser) {
            parts.push(format!("SELECT NULL, NULL, {label}, {codename} {permissions}"));
        }
        let rows = users.connection.rows(parts.join(" UNION ALL "), values).await?;
        Ok(rows.and_then(|rows| self.granted(keys, rows)))
    }

    /// Gives each row to the users that it is about.
    fn granted(&self, keys: &[(ColumnValue, Wanted)], rows: Vec<UserRow>) -> Option<Grants> {
        let mut of_users: HashMap<ColumnValue, Vec<Grant>> = HashMap::new();
        let mut groups_of: HashMap<ColumnValue, Vec<String>> = HashMap::new();
        let mut of_groups: HashMap<String, Vec<Grant>> = HashMap::new();
        let mut of_all = Vec::new();
        let asked: HashSet<&ColumnValue> = keys.iter().map(|(id, _)| id).collect();
        let whose = |user: &str| match keys {
            [(id, _)] => Some(id.clone()),
            _ => self.stored_id(user).filter(|id| asked.contains(id)),
        };
        for row in rows {
            match <[_; 4]>::try_from(row).ok()? {
                [Some(user), Some(group_id), None, Some(name)] => {
                    let id = whose(&user)?;
                    of_users.entry(id.clone()).or_default().push(Grant::Group(name));
                    groups_of.entry(id).or_default().push(group_id);
                }
                [user, group_id, Some(label), Some(codename)] => {
                    let permission = Grant::Permission(format!("{label}.{codename}"));
                    match (user, group_id) {
                        (Some(user), _) => of_users.entry(whose(&user)?).or_default().push(permission),
                        (None, Some(group_id)) => of_groups.entry(group_id).or_default().push(permission),
                        (None, None) => of_all.push(permission),
                    }
                }
                _ => {}
            }
        }
        let grants = |(id, wanted): &(ColumnValue, Wanted)| {
            let own = of_users.get(id).into_iter().flatten();
            let own = own.filter(|grant| *wanted == Wanted::OfUser || matches!(grant, Grant::Group(_)));
            let groups = groups_of.get(id).filter(|_| *wanted == Wanted::OfUser).into_iter().flatten();
            let of_groups = groups.filter_map(|group_id| of_groups.get(group_id)).flatten();
            let of_all = of_all.iter().filter(|_| *wanted == Wanted::OfSuperuser);
            own.chain(of_groups).chain(of_all).cloned().collect()
        };
        Some(keys.iter().map(|key| (key.clone(), grants(key))).collect())
    }
}
