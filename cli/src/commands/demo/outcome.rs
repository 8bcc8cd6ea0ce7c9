//! The outcome of a form, in words.

/// The action done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    Counted,
    Put,
    Removed,
    NotThere,
    LoggedIn,
    LoggedInAlready,
    Rotated,
    LoggedOut,
    ExpirySet,
    TestCookieSet,
    TestCookieWorked,
    TestCookieMissing,
    TestCookieDeleted,
    DeviceLoggedOut,
    NoSuchDevice,
    OthersLoggedOut,
    NoOthers,
}

/// The part of the site that has its own page.
const DEVICES: &str = "devices";

/// Each outcome: its name in addresses and JSON, the part of the page it belongs to, and its message.
const OUTCOMES: [(Done, &str, &str, &str); 17] = [
    (Done::Counted, "counted", "visits", "Counted one more visit."),
    (Done::Put, "put", "pockets", "Put into the coat. The row was written again, the ticket stays."),
    (Done::Removed, "removed", "pockets", "Taken out of the coat."),
    (Done::NotThere, "not-there", "pockets", "There was no such key; nothing changed."),
    (
        Done::LoggedIn,
        "logged-in",
        "door",
        "Logged in as Ada: same coat, new ticket. The old ticket opens nothing any more.",
    ),
    (
        Done::LoggedInAlready,
        "logged-in-already",
        "door",
        "Ada was logged in already, so the ticket stays, as in Django.",
    ),
    (Done::Rotated, "rotated", "door", "Same coat, new ticket. The old ticket opens nothing any more."),
    (Done::LoggedOut, "logged-out", "door", "Logged out: the row is gone, and so is the ticket."),
    (Done::ExpirySet, "expiry-set", "expiry", "The session has a new end."),
    (
        Done::TestCookieSet,
        "test-cookie-set",
        "test-cookie",
        "The mark is in the coat. Check it: it comes back only if your browser keeps cookies.",
    ),
    (Done::TestCookieWorked, "test-cookie-worked", "test-cookie", "It worked: your browser keeps cookies."),
    (
        Done::TestCookieMissing,
        "test-cookie-missing",
        "test-cookie",
        "No mark came back. Set it first; if you did, your browser keeps no cookies.",
    ),
    (Done::TestCookieDeleted, "test-cookie-deleted", "test-cookie", "The mark is gone again."),
    (
        Done::DeviceLoggedOut,
        "device-logged-out",
        DEVICES,
        "Logged out there: its ticket opens nothing any more.",
    ),
    (Done::NoSuchDevice, "no-such-device", DEVICES, "That one was logged out already; nothing changed."),
    (Done::OthersLoggedOut, "others-logged-out", DEVICES, "Logged out everywhere but here."),
    (Done::NoOthers, "no-others", DEVICES, "There were no others; nothing changed."),
];

impl Done {
    /// Finds the outcome with this name.
    pub(super) fn named(name: &str) -> Option<Done> {
        OUTCOMES.iter().find(|outcome| outcome.1 == name).map(|outcome| outcome.0)
    }

    pub(super) fn name(self) -> &'static str {
        self.find().1
    }

    pub(super) fn message(self) -> &'static str {
        self.find().3
    }

    /// The redirect target: the same place on the front page, with the outcome's name.
    pub(super) fn location(self) -> String {
        match self {
            Done::LoggedOut => "/bye".to_owned(),
            _ if self.find().2 == DEVICES => format!("/devices?done={}", self.name()),
            _ => format!("/?done={}#{}", self.name(), self.find().2),
        }
    }

    fn find(self) -> &'static (Done, &'static str, &'static str, &'static str) {
        // Every outcome is in the list; the test below checks that.
        OUTCOMES.iter().find(|outcome| outcome.0 == self).unwrap_or(&OUTCOMES[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_in_the_list() {
        for (position, outcome) in OUTCOMES.iter().enumerate() {
            assert_eq!(outcome.0 as usize, position);
            assert_eq!(Done::named(outcome.1), Some(outcome.0));
        }
        assert_eq!(OUTCOMES.len(), Done::NoOthers as usize + 1);
    }
}
