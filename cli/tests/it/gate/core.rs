//! The gate itself, asked in the words of each proxy.

mod answers;
mod process;
mod running;
mod shipped;
mod trouble;
