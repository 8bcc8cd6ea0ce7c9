//! The tables of a Django project's user model, and the statements on them.

use chrono::{DateTime, Utc};
use cloakroom_formats::TimeZone;

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

/// The open tables of a user model.
pub(crate) struct UserModelTables {
    pub(crate) model: UserModel,
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
}

/// A group, or a permission with its application.
pub(crate) enum Grant {
    Group(String),
    Permission(String),
}

impl UserModelTables {
    pub(crate) async fn open(url: &str, model: UserModel) -> Result<UserModelTables, StoreError> {
        let users = database(&StoreUrl::from(url))?.users(&model.table, &model.columns()).await?;
        Ok(UserModelTables { model, users })
    }

    pub(crate) async fn find(&self, id: &str) -> Result<Option<StoredUser>, StoreError> {
        match self.users.stored_id(&self.model.id, id) {
            Some(id) => self.find_by(&self.model.id, id).await,
            None => Ok(None),
        }
    }

    /// As the database compares, like Django's `get_by_natural_key`.
    pub(crate) async fn find_by_username(&self, username: &str) -> Result<Option<StoredUser>, StoreError> {
        if username.contains('\0') {
            return Ok(None);
        }
        self.find_by(&self.model.username, ColumnValue::Text(username.to_owned())).await
    }

    async fn find_by(&self, column: &str, value: ColumnValue) -> Result<Option<StoredUser>, StoreError> {
        let UserModelTables { model, users } = self;
        let text = |column: &String| users.text(&users.quoted(column));
        let flag = |column: &Option<String>| column.as_ref().map_or("NULL".to_owned(), text);
        let mut columns: Vec<String> = [&model.id, &model.username, &model.password].map(text).into();
        columns.extend([&model.is_active, &model.is_staff, &model.is_superuser].map(flag));
        columns.extend(model.extra.iter().map(text));
        let sql = format!(
            "SELECT {} FROM {} WHERE {} = {} LIMIT 2",
            columns.join(", "),
            users.table,
            users.quoted(column),
            users.place(1, column)
        );
        let mut rows = users.connection.rows(sql, vec![value]).await?;
        if rows.len() > 1 {
            // Django's `MultipleObjectsReturned`.
            let message = format!(
                "several users of {} have the same {column}; `UserModel` must name a unique column",
                model.table
            );
            return Err(StoreError::new("", StoreErrorKind::Misconfigured, message));
        }
        Ok(rows.pop().map(|row| self.stored(row)))
    }

    fn stored(&self, row: UserRow) -> StoredUser {
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
        }
    }

    /// Replaces the password field, if it still is the user's; returns whether it was.
    pub(crate) async fn set_password(&self, user: &StoredUser, encoded: &str) -> Result<bool, StoreError> {
        let UserModelTables { model, users } = self;
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

    pub(crate) async fn record_login(&self, user: &StoredUser, now: DateTime<Utc>) -> Result<(), StoreError> {
        let UserModelTables { model, users } = self;
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

    /// The user's groups and permissions, in one statement; all permissions for a superuser, and none for a user who is
    /// not active. Django's `get_all_permissions` of `ModelBackend`.
    pub(crate) async fn grants(&self, user: &StoredUser) -> Result<Vec<Grant>, StoreError> {
        let UserModelTables { model, users } = self;
        let Some(tables) = &model.permissions else { return Ok(Vec::new()) };
        let Some(id) = users.stored_id(&model.id, &user.id) else { return Ok(Vec::new()) };
        let (user_groups, user_permissions) =
            (users.quoted_table(&tables.groups), users.quoted_table(&tables.permissions));
        let user_column = users.quoted(&tables.user);
        let [group, label, codename] =
            ["auth_group.name", "django_content_type.app_label", "auth_permission.codename"]
                .map(|column| users.text(column));
        let condition = |number| format!("{user_column} = {}", users.place(number, &model.id));
        let mut parts = vec![format!(
            "SELECT NULL, {group} FROM auth_group JOIN {user_groups} ON auth_group.id = group_id WHERE {}",
            condition(1)
        )];
        let permissions = format!(
            "SELECT {label}, {codename} FROM auth_permission \
             JOIN django_content_type ON django_content_type.id = content_type_id"
        );
        match (user.is_active, user.is_superuser) {
            (false, _) => {}
            (true, true) => parts.push(permissions),
            (true, false) => {
                parts.push(format!(
                    "{permissions} JOIN {user_permissions} ON auth_permission.id = permission_id WHERE {}",
                    condition(2)
                ));
                parts.push(format!(
                    "{permissions} JOIN auth_group_permissions ON auth_permission.id = permission_id \
                     JOIN {user_groups} ON {user_groups}.group_id = auth_group_permissions.group_id WHERE {}",
                    condition(3)
                ));
            }
        }
        let values = match parts.len() {
            3 => vec![id; 3],
            _ => vec![id],
        };
        let rows = users.connection.rows(parts.join(" UNION ALL "), values).await?;
        let grant = |row: UserRow| match <[_; 2]>::try_from(row) {
            Ok([None, Some(group)]) => Some(Grant::Group(group)),
            Ok([Some(label), Some(codename)]) => Some(Grant::Permission(format!("{label}.{codename}"))),
            _ => None,
        };
        Ok(rows.into_iter().filter_map(grant).collect())
    }
}
