//! The demo over real HTTP, with a cookie jar of our own, and in a real browser.

mod cookies_in_chromium;
mod in_chromium;
mod pages;
mod pictures;
mod start;
