//! The facts about a request's session that the middleware's rules need.

/// A summary of a session's use during a request.
///
/// ```
/// use cloakroom::Settings;
/// use cloakroom::middleware::{Decision, SessionUse, decide};
///
/// // A page looked at the session and changed nothing.
/// let looked = SessionUse {
///     status: 200, cookie_sent: true, empty: false, accessed: true, modified: false, genuine: true,
/// };
/// let mut settings = Settings::new("secret");
/// assert_eq!(decide(&looked, &settings), Decision::Nothing);
/// settings.save_every_request = true;
/// assert_eq!(decide(&looked, &settings), Decision::SaveAndSetCookie);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "adapters and tests write it as a literal")]
pub struct SessionUse {
    /// The response's status.
    pub status: u16,
    /// Whether the request brought a session cookie (or the header in its place), whatever its value.
    pub cookie_sent: bool,
    /// Whether the session has neither key nor data.
    pub empty: bool,
    /// Whether a handler read the data.
    pub accessed: bool,
    /// Whether a handler changed the data.
    pub modified: bool,
    /// Whether the stored session was signed with this secret, as far as is known.
    pub genuine: bool,
}
