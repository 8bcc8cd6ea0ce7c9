//! A command's output, for people and for other programs.

pub(crate) mod lines;
pub(crate) mod printable;
pub(crate) mod progress;
pub(crate) mod wrong_usage;
