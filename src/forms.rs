//! What pages with forms need besides the session: messages, and tokens against forged requests.

pub mod csrf;
pub mod messages;
