//! The demo over real HTTP, with a cookie jar of our own.

mod browser;
mod pages;
mod start;
