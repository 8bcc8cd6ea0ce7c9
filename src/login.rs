//! The logged-in user: the parts of Django's `django.contrib.auth` that concern sessions.

pub mod auth;
pub(crate) mod credentials;
pub(crate) mod csrf_secret;
pub(crate) mod current_user;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub(crate) mod django_users;
mod next;
#[cfg(feature = "passwords")]
pub(crate) mod passwords;
mod requirement;
pub(crate) mod users;
