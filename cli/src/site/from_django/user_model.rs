//! The project's user model and login page, for whoever verifies its logins.

use std::path::Path;

use cloakroom::auth::{PermissionTables, UserModel};
use cloakroom::store::StoreUrl;
use serde::Deserialize;

use super::database::{self, Database};
use crate::ending::usage;
use crate::output::lines::note;

/// Where a site's users are.
#[derive(Clone)]
pub(crate) struct UsersOptions {
    pub(crate) url: StoreUrl,
    pub(crate) model: UserModel,
    /// The column of e-mail addresses, if there is one.
    pub(crate) email: Option<String>,
}

/// The users of a Django project, and where they log in.
#[derive(Clone)]
pub(crate) struct DjangoLogin {
    pub(crate) users: UsersOptions,
    /// `LOGIN_URL`; a path where the setting names a view.
    pub(crate) login_url: String,
    /// `REDIRECT_FIELD_NAME`.
    pub(crate) redirect_field: String,
}

/// The script's output about the users.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Users {
    Problem { problem: String },
    Found { found: Box<Model>, login_url: String, redirect_field: String, notes: Vec<String> },
}

#[derive(Deserialize)]
pub(super) struct Model {
    table: String,
    database: Database,
    id: String,
    username: String,
    password: String,
    is_active: Option<String>,
    is_staff: Option<String>,
    is_superuser: Option<String>,
    email: Option<String>,
    permissions: Option<Permissions>,
    backends: Vec<String>,
}

#[derive(Deserialize)]
struct Permissions {
    groups: String,
    permissions: String,
    user: String,
}

impl Users {
    pub(super) fn login(self, folder: &Path) -> anyhow::Result<DjangoLogin> {
        let (found, login_url, redirect_field) = match self {
            Users::Problem { problem } => return Err(usage(problem)),
            Users::Found { found, login_url, redirect_field, notes } => {
                notes.iter().for_each(|line| note(line));
                (found, login_url, redirect_field)
            }
        };
        let url = database::url(&found.database, None, folder)?.into();
        let mut model = UserModel::new(&table(&found.table));
        (model.id, model.username, model.password) = (found.id, found.username, found.password);
        (model.is_active, model.is_staff, model.is_superuser) =
            (found.is_active, found.is_staff, found.is_superuser);
        model.permissions = found.permissions.map(|given| {
            let mut tables = PermissionTables::of(&model.table);
            (tables.groups, tables.permissions) = (table(&given.groups), table(&given.permissions));
            tables.user = given.user;
            tables
        });
        model.backends = found.backends;
        let users = UsersOptions { url, model, email: found.email };
        Ok(DjangoLogin { users, login_url, redirect_field })
    }
}

/// Django's `db_table`, in which `schema"."table` names a schema.
fn table(name: &str) -> String {
    name.trim_matches('"').replace("\".\"", ".")
}
