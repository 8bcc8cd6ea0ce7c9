//! The table `[users]` of the gate's configuration.

use std::path::Path;

use cloakroom::auth::{PermissionTables, UserModel};
use cloakroom::store::{StoreScheme, StoreUrl};
use serde::Deserialize;

use crate::ending::usage;
use crate::site::from_django::UsersOptions;

/// The table `[users]`: where the users are, if no Django project says it. The names are those of [`UserModel`], and
/// so are their defaults; an empty name is a column or a table that there is not.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct UsersConfig {
    /// The URL of the database, if it is not the store's. It may hold a password.
    pub(crate) database: Option<String>,
    pub(crate) table: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) is_active: Option<String>,
    pub(crate) is_staff: Option<String>,
    pub(crate) is_superuser: Option<String>,
    /// The table that joins users and groups; without one, users have no groups and no permissions.
    pub(crate) groups_table: Option<String>,
    /// The table that joins users and their own permissions.
    pub(crate) permissions_table: Option<String>,
    /// The column of the user's id in both.
    pub(crate) user_column: Option<String>,
    /// The authentication back ends whose logins count.
    pub(crate) backends: Option<Vec<String>>,
}

impl UsersConfig {
    /// Takes a relative path in the URL from this folder.
    pub(crate) fn in_folder(mut self, folder: &Path) -> UsersConfig {
        let url = self.database.map(|url| StoreUrl::from(url).from_folder(folder));
        self.database = url.map(|url| url.expose().to_owned());
        self
    }

    /// Where the users are, for a site whose sessions are in this store.
    pub(crate) fn options(self, store: &StoreUrl) -> anyhow::Result<UsersOptions> {
        let url = self.database.map_or_else(|| store.without_cache(), StoreUrl::from);
        if !url.scheme().is_some_and(StoreScheme::is_database) {
            return Err(usage(format!(
                "{url} is no database with users; write its URL in the gate's configuration: [users] database = \"…\""
            )));
        }
        let mut model = UserModel::new(self.table.as_deref().unwrap_or(UserModel::DJANGO_TABLE));
        for (name, given) in [
            ("id", (&mut model.id, self.id)),
            ("username", (&mut model.username, self.username)),
            ("password", (&mut model.password, self.password)),
        ] {
            let (column, given) = given;
            let Some(given) = given else { continue };
            if given.is_empty() {
                return Err(usage(format!("[users] {name} is empty; write the column's name")));
            }
            *column = given;
        }
        for (column, given) in [
            (&mut model.is_active, self.is_active),
            (&mut model.is_staff, self.is_staff),
            (&mut model.is_superuser, self.is_superuser),
        ] {
            if let Some(given) = given {
                *column = named(given);
            }
        }
        let mut tables = PermissionTables::of(&model.table);
        let has_groups = self.groups_table.as_deref() != Some("");
        for (name, given) in [
            (&mut tables.groups, self.groups_table),
            (&mut tables.permissions, self.permissions_table),
            (&mut tables.user, self.user_column),
        ] {
            if let Some(given) = given.and_then(named) {
                *name = given;
            }
        }
        model.permissions = has_groups.then_some(tables);
        model.backends = self.backends.unwrap_or_default();
        Ok(UsersOptions { url, model, email: named(self.email.unwrap_or_else(|| "email".to_owned())) })
    }
}

fn named(name: String) -> Option<String> {
    Some(name).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(toml: UsersConfig, store: &str) -> Result<UsersOptions, String> {
        toml.options(&StoreUrl::from(store)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_table_is_djangos_in_the_stores_database_unless_another_is_named() {
        let UsersOptions { url, model, email } =
            options(UsersConfig::default(), "cached_db:postgres://a@db.example/site|redis://c.example/1")
                .unwrap();
        assert_eq!(url.expose(), "postgres://a@db.example/site");
        assert_eq!((model, email.as_deref()), (UserModel::default(), Some("email")));

        let given = UsersConfig {
            database: Some("sqlite:/srv/users.sqlite3".to_owned()),
            table: Some("shop_member".to_owned()),
            username: Some("mail".to_owned()),
            email: Some(String::new()),
            is_active: Some(String::new()),
            groups_table: Some("member_groups".to_owned()),
            ..UsersConfig::default()
        };
        let UsersOptions { url, model, email } = options(given, "redis://c.example/1").unwrap();
        assert_eq!((url.expose(), email), ("sqlite:/srv/users.sqlite3", None));
        assert_eq!((model.is_active, model.is_staff.as_deref()), (None, Some("is_staff")));
        let tables = model.permissions.unwrap();
        assert_eq!((&*tables.groups, &*tables.user), ("member_groups", "member_id"));
        let without = UsersConfig { groups_table: Some(String::new()), ..UsersConfig::default() };
        assert_eq!(options(without, "sqlite:a").unwrap().model.permissions, None);
    }

    #[test]
    fn mistakes_are_named() {
        let error = options(UsersConfig::default(), "redis://:secret@c.example/1").err().unwrap();
        assert!(error.contains("[users] database") && !error.contains("secret"), "{error}");
        let given = UsersConfig { password: Some(String::new()), ..UsersConfig::default() };
        assert!(options(given, "sqlite:a").err().unwrap().contains("[users] password is empty"));
    }
}
