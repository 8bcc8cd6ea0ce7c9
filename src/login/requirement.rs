//! The requirements of a page for its user.

use super::users::{AuthUser, Grants};

/// The requirement of a page for its user: a login, or more. `RequireLayer` and `RequireTransform` require it of routes,
/// [`CurrentUser::require`](super::auth::CurrentUser::require) of a user.
///
/// A superuser has all permissions and is in all groups, without being asked for; but only `staff` is staff. In
/// Django, too, only active users count: [`LazyUser::load`](super::auth::LazyUser::load) finds no others.
///
/// ```
/// use cloakroom::auth::Requirement;
///
/// let editors = Requirement::any_of([
///     Requirement::group("editors"),
///     Requirement::all_of([Requirement::staff(), Requirement::permission("shop.change_order")]),
/// ]);
/// assert!(format!("{editors:?}").contains("shop.change_order"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Login,
    Staff,
    Superuser,
    Group(String),
    Permission(String),
    All(Vec<Requirement>),
    Any(Vec<Requirement>),
}

impl Requirement {
    const fn of(kind: Kind) -> Requirement {
        Requirement { kind }
    }

    /// A logged-in user. Django's `login_required`.
    pub const fn login() -> Requirement {
        Requirement::of(Kind::Login)
    }

    /// A user with `is_staff`. Django's `staff_member_required`.
    pub const fn staff() -> Requirement {
        Requirement::of(Kind::Staff)
    }

    /// A user with `is_superuser`.
    pub const fn superuser() -> Requirement {
        Requirement::of(Kind::Superuser)
    }

    /// A user in the group of this name.
    pub fn group(name: impl Into<String>) -> Requirement {
        Requirement::of(Kind::Group(name.into()))
    }

    /// A user with this permission, such as `shop.add_order`, of its own or of a group. Django's
    /// `permission_required`.
    pub fn permission(name: impl Into<String>) -> Requirement {
        Requirement::of(Kind::Permission(name.into()))
    }

    /// All of these. Of nothing, a login.
    pub fn all_of(requirements: impl IntoIterator<Item = Requirement>) -> Requirement {
        Requirement::of(Kind::All(requirements.into_iter().collect()))
    }

    /// At least one of these. Of nothing, nobody passes.
    pub fn any_of(requirements: impl IntoIterator<Item = Requirement>) -> Requirement {
        Requirement::of(Kind::Any(requirements.into_iter().collect()))
    }

    /// Whether a logged-in user with these groups and permissions meets it. Handlers use
    /// [`CurrentUser::meets`](super::auth::CurrentUser::meets), which looks the grants up where they decide.
    ///
    /// ```
    /// use std::borrow::Cow;
    /// use cloakroom::auth::{AuthUser, Grants, Requirement};
    ///
    /// #[derive(Clone)]
    /// struct Member;
    ///
    /// impl AuthUser for Member {
    ///     fn id(&self) -> Cow<'_, str> {
    ///         "7".into()
    ///     }
    ///
    ///     fn password(&self) -> &str {
    ///         "pbkdf2_sha256$..."
    ///     }
    /// }
    ///
    /// let mut grants = Grants::default();
    /// grants.groups.insert("editors".to_owned());
    /// assert!(Requirement::group("editors").is_met_by(&Member, &grants));
    /// assert!(!Requirement::permission("shop.add_order").is_met_by(&Member, &grants));
    /// ```
    pub fn is_met_by(&self, user: &impl AuthUser, grants: &Grants) -> bool {
        self.is_met(user, Some(grants)).unwrap_or(false)
    }

    /// Whether a permission decides it, for some users. Otherwise the groups are enough for
    /// [`is_met_by`](Requirement::is_met_by).
    ///
    /// ```
    /// use cloakroom::auth::Requirement;
    ///
    /// let editors = [Requirement::group("editors"), Requirement::permission("wiki.change_page")];
    /// assert!(!editors[0].needs_permissions());
    /// assert!(Requirement::any_of(editors).needs_permissions());
    /// ```
    pub fn needs_permissions(&self) -> bool {
        match &self.kind {
            Kind::Permission(_) => true,
            Kind::All(parts) | Kind::Any(parts) => parts.iter().any(Requirement::needs_permissions),
            Kind::Login | Kind::Staff | Kind::Superuser | Kind::Group(_) => false,
        }
    }

    /// Whether a logged-in user meets it; `None` if that depends on grants that are not known.
    pub(super) fn is_met(&self, user: &impl AuthUser, grants: Option<&Grants>) -> Option<bool> {
        let granted = |is_in: &dyn Fn(&Grants) -> bool| {
            if user.is_superuser() { Some(true) } else { grants.map(is_in) }
        };
        match &self.kind {
            Kind::Login => Some(true),
            Kind::Staff => Some(user.is_staff()),
            Kind::Superuser => Some(user.is_superuser()),
            Kind::Group(name) => granted(&|grants| grants.groups.contains(name)),
            Kind::Permission(name) => granted(&|grants| grants.permissions.contains(name)),
            Kind::All(parts) => decide(parts.iter().map(|part| part.is_met(user, grants)), false),
            Kind::Any(parts) => decide(parts.iter().map(|part| part.is_met(user, grants)), true),
        }
    }
}

/// `decisive` if any part is that; otherwise unknown if any part is; otherwise the opposite.
fn decide(parts: impl Iterator<Item = Option<bool>>, decisive: bool) -> Option<bool> {
    let mut is_known = true;
    for part in parts {
        match part {
            Some(is_met) if is_met == decisive => return Some(decisive),
            Some(_) => {}
            None => is_known = false,
        }
    }
    is_known.then_some(!decisive)
}
