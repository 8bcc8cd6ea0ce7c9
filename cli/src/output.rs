//! What people and other programs see of a command.

pub(crate) mod lines;
pub(crate) mod printable;
pub(crate) mod progress;
pub(crate) mod wrong_usage;
