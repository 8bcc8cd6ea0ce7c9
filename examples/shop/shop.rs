//! The shop, whatever serves it: its members, its values in the session, its page. `axum.rs` and `actix.rs` are the two sites.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use cloakroom::auth::{self, AuthUser, CredentialSource, CurrentUser, Next, PasswordHasher, UserSource};
use cloakroom::csrf::Csrf;
use cloakroom::messages::Messages;
use cloakroom::user_sessions::UserSession;
use cloakroom::{Error, Expiry, Key, Session, StoreError};

/// How many packets of each tea are in the cart.
pub(crate) const CART: Key<BTreeMap<String, u32>> = Key::new("cart");
const TEAS: [&str; 3] = ["Assam", "Darjeeling", "Sencha"];
const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);

#[derive(Clone)]
pub(crate) struct Member {
    name: String,
    password: String,
}

impl AuthUser for Member {
    fn id(&self) -> Cow<'_, str> {
        self.name.as_str().into()
    }

    fn password(&self) -> &str {
        &self.password
    }
}

/// The members, in memory. Yours are in a database; `auth::DjangoUsers` reads those of a Django site.
#[derive(Clone)]
pub(crate) struct Members {
    by_name: Arc<BTreeMap<String, Member>>,
    hasher: PasswordHasher,
}

impl Members {
    /// Creates `ada` and `gus`, who have the same password.
    pub(crate) async fn with_password(password: &str) -> Result<Members, Error> {
        let (hasher, mut by_name) = (PasswordHasher::default().without_upgrades(), BTreeMap::new());
        for name in ["ada", "gus"].map(str::to_owned) {
            let password = hasher.encode(password).await?;
            by_name.insert(name.clone(), Member { name, password });
        }
        Ok(Members { by_name: Arc::new(by_name), hasher })
    }
}

#[cloakroom::async_trait]
impl UserSource for Members {
    type User = Member;

    async fn find(&self, id: &str) -> Result<Option<Member>, StoreError> {
        Ok(self.by_name.get(id).cloned())
    }
}

#[cloakroom::async_trait]
impl CredentialSource for Members {
    async fn find_by_username(&self, username: &str) -> Result<Option<Member>, StoreError> {
        self.find(username).await
    }

    /// Without upgrades nobody calls it.
    async fn set_password(&self, _: &Member, _: &str) -> Result<Option<Member>, StoreError> {
        Ok(None)
    }
}

#[derive(serde::Deserialize)]
pub(crate) struct Choice {
    tea: String,
}

#[derive(serde::Deserialize)]
pub(crate) struct Credentials {
    username: String,
    password: String,
    remember: Option<String>,
    #[serde(default)]
    pub(crate) next: Next,
}

pub(crate) enum View {
    Front,
    Login(Next),
    Checkout,
}

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    visit: &'a Visit,
    view: View,
    csrf: String,
    cart: BTreeMap<String, u32>,
    devices: Vec<UserSession>,
}

/// The parts of a request that a page needs.
pub(crate) struct Visit {
    pub(crate) session: Session,
    pub(crate) user: Option<CurrentUser<Member>>,
    pub(crate) csrf: Csrf,
    pub(crate) messages: Messages,
}

impl Visit {
    pub(crate) async fn page(&self, view: View) -> Result<String, Error> {
        let devices = match (&self.user, self.session.user_sessions()) {
            (Some(user), Some(user_sessions)) => user_sessions.list(&user.id()).await?,
            _ => Vec::new(),
        };
        let cart = self.session.get_or_discard(CART).unwrap_or_default();
        let page = Page { visit: self, view, csrf: self.csrf.field()?, cart, devices };
        Ok(page.render().unwrap_or_else(|error| format!("the page cannot be shown: {error}")))
    }

    pub(crate) fn add(&self, Choice { tea }: Choice) -> Result<(), Error> {
        if !TEAS.contains(&tea.as_str()) {
            self.messages.error("There is no such tea.");
            return Ok(());
        }
        self.messages.success(format!("{tea} is in your cart."));
        self.session.edit(CART, move |cart| *cart.entry(tea.clone()).or_default() += 1).map(drop)
    }

    pub(crate) fn order(&self, user: &Member) -> Result<(), Error> {
        let packets: u32 = self.session.pop(CART)?.unwrap_or_default().values().sum();
        self.messages.success(format!("Thank you, {}: {packets} packets are on their way.", user.name));
        Ok(())
    }

    pub(crate) async fn log_in(&self, members: &Members, form: &Credentials) -> Result<bool, Error> {
        let user = auth::authenticate(members, &members.hasher, &form.username, &form.password).await?;
        let Some(user) = user else {
            self.messages.error("This name and password do not fit.");
            return Ok(false);
        };
        auth::login_user(&self.session, &user).await?;
        let expiry = if form.remember.is_some() { Expiry::sliding(MONTH) } else { Expiry::AtBrowserClose };
        self.session.set_expiry(expiry)?;
        Ok(true)
    }

    pub(crate) async fn log_out_others(&self, user: &Member) -> Result<(), Error> {
        let Some(user_sessions) = self.session.user_sessions() else { return Ok(()) };
        let ended = user_sessions.revoke_others(&user.id(), &self.session).await?;
        self.messages.success(format!("Logged out elsewhere: {ended}."));
        Ok(())
    }
}
