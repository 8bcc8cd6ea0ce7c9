//! The user who makes a request: Django's `get_user`, read only.

mod remembered;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use cloakroom::auth::{AuthUser, DjangoUser, DjangoUsers, Grants, LazyUser, Requirement, UserSource};
use cloakroom::{Error, LazySession, SessionKey, SessionMiddleware};

use self::remembered::Remembered;
use super::config::Config;
use crate::ending::usage;
use crate::site::Site;
use crate::site::from_django::{DjangoLogin, UsersOptions};

/// A verified user, with the groups and permissions.
#[derive(Clone, Default)]
pub(crate) struct Identity {
    pub(crate) id: String,
    pub(crate) username: String,
    /// Empty if the user model has none.
    pub(crate) email: String,
    /// Sorted.
    pub(crate) groups: Vec<String>,
    pub(crate) is_staff: bool,
    pub(crate) is_superuser: bool,
    /// For the rules. A superuser's are left out, who has all.
    pub(crate) grants: Grants,
    /// Whether the permissions were read.
    pub(crate) has_permissions: bool,
}

/// Looks up who makes a request.
pub(crate) struct Identities {
    middleware: SessionMiddleware,
    users: Arc<DjangoUsers>,
    /// The column of e-mail addresses.
    email: Option<String>,
    remembered: Option<Remembered>,
}

impl Identities {
    /// Opens the store and the users of this site: those of the project of `--from-django`, or as `[users]` says.
    pub(crate) async fn open(
        site: &Site,
        config: &Config,
        project: Option<&DjangoLogin>,
    ) -> anyhow::Result<Identities> {
        let users = match (project, &config.users) {
            (Some(_), Some(_)) => {
                return Err(usage(
                    "[users] is in the gate's configuration, and --from-django names a project, which says where its users \
                     are; remove one of them",
                ));
            }
            (Some(project), None) => project.users.clone(),
            (None, given) => given.clone().unwrap_or_default().options(site.url()?)?,
        };
        let UsersOptions { url, mut model, email } = users;
        model.extra.extend(email.clone());
        // Nobody logs in here.
        model.last_login = None;
        model.reads_groups = true;
        let middleware = site.connect_to_serve().await?;
        let users = DjangoUsers::open(url.expose(), model).await.context("cannot open the users' table")?;
        let remembered = Some(config.cache).filter(|lifetime| !lifetime.is_zero());
        let remembered = remembered.map(|lifetime| Remembered::new(lifetime, Instant::now()));
        Ok(Identities { middleware, users: Arc::new(users), email, remembered })
    }

    /// Whether the store and the users' table answer.
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        self.middleware.find(&SessionKey::random()?).await?;
        Ok(self.users.ping().await?)
    }

    /// Returns the user whose session one of these `Cookie` headers names; `None` if nobody is logged in. Of several
    /// cookies of the session's name, the one counts that Django takes. Permissions are read where a rule needs them.
    ///
    /// # Errors
    /// When the store or the users' table cannot be asked. It is never "nobody".
    pub(crate) async fn of(
        &self,
        cookies: &[&[u8]],
        needs_permissions: bool,
    ) -> Result<Option<Arc<Identity>>, Error> {
        let session = self.middleware.begin(cookies.iter().copied());
        // No cookie, or one that can be no key: nobody has to be asked.
        let Some(session_key) = session.session_key() else { return Ok(None) };
        let asked = Instant::now();
        let remembered = self.remembered.as_ref();
        let is_enough = |identity: &Arc<Identity>| identity.has_permissions || !needs_permissions;
        let known = remembered.and_then(|users| users.get(&session_key, asked)).filter(is_enough);
        if let Some(identity) = known {
            return Ok(Some(identity));
        }
        let identity = self.look_up(session, needs_permissions).await?.map(Arc::new);
        if let (Some(users), Some(identity)) = (remembered, &identity) {
            users.put(&session_key, identity, asked);
        }
        Ok(identity)
    }

    async fn look_up(
        &self,
        session: LazySession,
        needs_permissions: bool,
    ) -> Result<Option<Identity>, Error> {
        let source: Arc<dyn UserSource<User = DjangoUser>> = self.users.clone();
        let Some(user) = LazyUser::new(source, Some(session)).read_only().load().await? else {
            return Ok(None);
        };
        // A superuser has all permissions.
        let mut grants = match needs_permissions && !user.is_superuser() {
            true => self.users.grants(&user).await?,
            false => Grants::default(),
        };
        grants.groups.extend(user.groups().iter().cloned());
        let email = self.email.as_ref().and_then(|column| user.get(column));
        Ok(Some(Identity {
            id: user.id().into_owned(),
            username: user.username().to_owned(),
            email: email.unwrap_or_default().to_owned(),
            groups: user.groups().to_vec(),
            is_staff: user.is_staff(),
            is_superuser: user.is_superuser(),
            grants,
            has_permissions: needs_permissions,
        }))
    }
}

impl Identity {
    /// Whether the user meets this requirement.
    pub(crate) fn meets(&self, requirement: &Requirement) -> bool {
        requirement.is_met_by(self, &self.grants)
    }
}

/// For requirements.
impl AuthUser for Identity {
    fn id(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.id)
    }

    /// The login was verified before, and the hash is kept nowhere.
    fn password(&self) -> &str {
        ""
    }

    fn is_staff(&self) -> bool {
        self.is_staff
    }

    fn is_superuser(&self) -> bool {
        self.is_superuser
    }
}
