//! The logged-in user: the parts of Django's `django.contrib.auth` that concern sessions.

pub mod auth;
pub(crate) mod csrf_secret;
pub(crate) mod current_user;
mod next;
mod requirement;
mod users;
