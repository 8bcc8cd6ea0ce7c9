//! What pages with forms need besides the session: messages.

pub mod messages;
