//! Who the user is: Django's `django.contrib.auth`, as far as sessions know of it.

pub mod auth;
