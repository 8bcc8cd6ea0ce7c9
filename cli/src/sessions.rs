//! Work on a store's sessions that several commands share.

pub(crate) mod cache_in_front;
pub(crate) mod end;
pub(crate) mod entry;
pub(crate) mod ids;
pub(crate) mod keys;
pub(crate) mod logins;
pub(crate) mod until;
pub(crate) mod walk;
