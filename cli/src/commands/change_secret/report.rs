//! The report: the work done, and the sessions that still depend on an older secret.

use cloakroom::chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;

use crate::output::lines::complain;
use crate::sessions::logins::{Logins, counted};
use crate::sessions::until::Until;

/// Why something depends, or may depend, on an older secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    UserUnknown,
    ChangedMeanwhile,
    Unreadable,
    NotGenuine,
    Refused,
    CacheFailed,
}

/// The remaining sessions, counted by reason.
#[derive(Clone, Default, Serialize)]
pub(super) struct Left {
    user_unknown: u64,
    changed_meanwhile: u64,
    unreadable: u64,
    not_genuine: u64,
    refused: u64,
    cache_failed: u64,
}

/// Logins that Django ends in any case.
#[derive(Clone, Default, Serialize)]
pub(super) struct EndingLogins {
    pub(super) user_gone: u64,
    pub(super) password_changed: u64,
}

/// The result of one pass over the store.
#[derive(Default)]
pub(super) struct Seen {
    /// All sessions, including expired ones.
    pub(super) listed: u64,
    pub(super) signed_anew: u64,
    pub(super) logins_renewed: u64,
    pub(super) copies_renewed: u64,
    pub(super) right_already: u64,
    pub(super) ending: EndingLogins,
    left: Left,
    /// The latest expiry of the remaining sessions.
    until: Until,
    /// How many sessions were changed, or would be, and their latest expiry.
    pub(super) did: u64,
    did_until: Until,
}

impl Seen {
    pub(super) fn leave(&mut self, reason: Reason, expire_date: Option<DateTime<Utc>>) {
        *self.left.of(reason) += 1;
        self.until.add(expire_date);
    }

    pub(super) fn change(&mut self, expire_date: Option<DateTime<Utc>>) {
        self.did += 1;
        self.did_until.add(expire_date);
    }
}

impl Left {
    fn of(&mut self, reason: Reason) -> &mut u64 {
        match reason {
            Reason::UserUnknown => &mut self.user_unknown,
            Reason::ChangedMeanwhile => &mut self.changed_meanwhile,
            Reason::Unreadable => &mut self.unreadable,
            Reason::NotGenuine => &mut self.not_genuine,
            Reason::Refused => &mut self.refused,
            Reason::CacheFailed => &mut self.cache_failed,
        }
    }

    /// Each number that is not 0, in words.
    fn parts(&self) -> Vec<String> {
        [
            (self.user_unknown, "of users who cannot be read"),
            (self.changed_meanwhile, "changed meanwhile"),
            (self.unreadable, "unreadable"),
            (self.not_genuine, "signed with none of these secrets"),
            (self.refused, "that the store refused"),
            (self.cache_failed, "whose copy in the cache could not be read"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect()
    }
}

#[derive(Default)]
pub(super) struct Report {
    pub(super) complete: bool,
    pub(super) dry_run: bool,
    passes: u32,
    signed_anew: u64,
    logins_renewed: u64,
    copies_renewed: u64,
    right_already: u64,
    ending: EndingLogins,
    left: Left,
    until: Until,
    to_do: u64,
    listed: u64,
    /// Whether the site was still writing sessions that depend on an older secret in the last pass.
    is_still_written: bool,
}

impl Report {
    pub(super) fn new(dry_run: bool) -> Report {
        Report { dry_run, ..Report::default() }
    }

    /// Adds a pass. Its remaining sessions replace the earlier ones; in the last pass, changed sessions may
    /// recur.
    pub(super) fn add(&mut self, pass: u32, seen: Seen, comes_again: bool) {
        self.passes = pass;
        self.signed_anew += seen.signed_anew;
        self.logins_renewed += seen.logins_renewed;
        self.copies_renewed += seen.copies_renewed;
        if pass == 1 {
            self.right_already = seen.right_already;
        }
        self.listed = self.listed.max(seen.listed);
        (self.ending, self.left, self.until) = (seen.ending, seen.left, seen.until);
        if comes_again {
            self.is_still_written = true;
            self.left.changed_meanwhile += seen.did;
        }
        if comes_again || self.dry_run {
            self.until.add_all(seen.did_until);
        }
        if self.dry_run {
            self.to_do = seen.did;
        }
    }

    /// Whether there is no session at all: the store may not be the site's.
    pub(super) fn is_empty(&self) -> bool {
        self.complete && self.listed == 0
    }

    pub(super) fn old_secret_may_go(&self) -> bool {
        self.complete && !self.is_empty() && self.to_do == 0 && self.left.parts().is_empty()
    }

    pub(super) fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string(&json!({
            "complete": self.complete,
            "dry_run": self.dry_run,
            "passes": self.passes,
            "signed_anew": self.signed_anew,
            "logins_renewed": self.logins_renewed,
            "copies_renewed": self.copies_renewed,
            "right_already": self.right_already,
            "ending": self.ending,
            "left": self.left,
            "until": self.until.shown(),
            "old_secret_may_go": self.old_secret_may_go(),
        }))?)
    }

    pub(super) fn line(&self) -> String {
        if self.is_empty() {
            return "no sessions found".to_owned();
        }
        let stopped = if self.complete { "" } else { "stopped before the end: " };
        let to_be = if self.dry_run { "to be " } else { "" };
        let Report { signed_anew, logins_renewed, right_already, .. } = self;
        let logins = counted(*logins_renewed, "login");
        let mut line = format!(
            "{stopped}{signed_anew} {to_be}signed anew, {logins} {to_be}renewed, {right_already} right already"
        );
        if self.copies_renewed > 0 {
            line += &format!(
                ", {} in the cache {to_be}renewed",
                if self.copies_renewed == 1 {
                    "1 copy".to_owned()
                } else {
                    format!("{} copies", self.copies_renewed)
                }
            );
        }
        let EndingLogins { user_gone, password_changed } = self.ending;
        if user_gone + password_changed > 0 {
            line += &format!(
                ", {} ending anyway ({password_changed} after a change of password, {user_gone} without a user)",
                counted(user_gone + password_changed, "login")
            );
        }
        let left = self.left.parts();
        if self.old_secret_may_go() {
            return line + "; no session depends on an old secret: it may go";
        }
        if !left.is_empty() {
            line += &format!("; left: {}", left.join(", "));
        }
        match self.until.shown() {
            _ if !self.complete => line + "; keep the fallback, and run this again",
            Some(until) => line + &format!("; the fallback must stay until {until}"),
            None => line + "; the fallback must stay",
        }
    }

    /// Prints what to do about the remaining sessions.
    pub(super) fn hints(&self, logins: &Logins) {
        if self.is_still_written {
            complain(
                "sessions are still written that depend on an old secret; restart every server with the new secret first, \
                 then run this again",
            );
        } else if self.left.changed_meanwhile > 0 {
            complain("some sessions changed before each attempt to write them; run this again");
        }
        logins.complain_of_unknown(self.left.user_unknown);
        if self.left.not_genuine > 0 {
            complain(
                "some sessions are signed with none of these secrets: if users have them, name the secret that signed \
                 them with --secret-key-fallback-file",
            );
        }
        if self.left.unreadable + self.left.refused > 0 {
            complain("`cloakroom check` tells what cannot be read");
        }
        if self.left.cache_failed > 0 {
            complain(
                "the cache could not be read, and Django may still answer from a copy in it; run this again",
            );
        }
    }
}
