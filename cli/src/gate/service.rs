//! The service: from a question to its answer.

use std::net::IpAddr;
use std::sync::Arc;

use cloakroom::Error;

use super::access::Access;
use super::answer::Answer;
use super::asked::Asked;
use super::assertion::Assertions;
use super::config::Config;
use super::decision::{Decided, Decision, Reason};
use super::identity::{Identities, Identity};
use super::journal::Journal;
use super::kind::Kind;
use super::login_page::LoginPage;
use super::rules::host_of;

/// The gate of one site.
pub(crate) struct Gate {
    pub(crate) config: Config,
    pub(crate) login_page: LoginPage,
    pub(crate) identities: Arc<Identities>,
    pub(crate) assertions: Arc<Assertions>,
    pub(crate) journal: Arc<Journal>,
}

impl Gate {
    /// Whether questions of this peer are answered; of a Unix socket, which has no addresses, all are.
    pub(crate) fn trusts(&self, peer: Option<IpAddr>) -> bool {
        peer.is_none_or(|peer| self.config.trusted_proxies.has(peer))
    }

    /// Whether the store and the users answer within the time limit.
    pub(crate) async fn is_ready(&self) -> bool {
        let asked = tokio::time::timeout(self.config.time_limit, self.identities.ready()).await;
        match asked {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::warn!(%error, "not ready");
                false
            }
            Err(_) => false,
        }
    }

    /// Answers a proxy's question within the time limit, and notes it in the metrics and the access log. A question
    /// that could not be read is `None`.
    pub(crate) async fn answer(&self, kind: Kind, asked: Option<&Asked<'_>>) -> Answer {
        let entry = self.journal.begin();
        let decided = match asked {
            Some(asked) => self.decide(asked).await,
            None => Decided::malformed(),
        };
        let (decided, answer) = self.answer_to(kind, asked, decided);
        entry.end(self.config.access_log, kind, asked, &decided, answer.status);
        answer
    }

    /// The answer to a decision; the decision too, because without a signature nobody passes.
    fn answer_to(&self, kind: Kind, asked: Option<&Asked<'_>>, decided: Decided) -> (Decided, Answer) {
        // A request that was judged has a host.
        let host = || asked.and_then(|asked| host_of(asked.host)).unwrap_or_default().to_ascii_lowercase();
        let answer = match decided.decision {
            Decision::Allowed => match decided.identity.as_deref() {
                None => Answer::allowed_to_anyone(),
                Some(user) => match self.assertions.sign(user, &host()) {
                    Ok(assertion) => Answer::allowed(user, assertion),
                    Err(error) => {
                        tracing::error!(error = format!("{error:#}"), "cannot sign an assertion");
                        return (
                            Decided { decision: Decision::Unavailable, ..decided },
                            Answer::unavailable(),
                        );
                    }
                },
            },
            Decision::LoginRequired => {
                let page = asked.filter(|asked| asked.wants_page);
                Answer::log_in(kind, page.and_then(|asked| self.login_page.location(&host(), asked.target)))
            }
            Decision::Forbidden(_) => Answer::forbidden(),
            Decision::Unavailable => Answer::unavailable(),
        };
        (decided, answer)
    }

    /// Decides within the time limit.
    pub(crate) async fn decide(&self, asked: &Asked<'_>) -> Decided {
        let judged = match self.config.rules.judge(asked) {
            Ok(judged) => judged,
            Err(reason) => return Decided::without_user(Decision::Forbidden(reason), None),
        };
        let rule = Some(judged.number);
        let requirement = match &judged.rule.access {
            Access::Nobody => return Decided::without_user(Decision::Forbidden(Reason::NoRule), rule),
            Access::Anyone => None,
            Access::Users(requirement) => Some(requirement),
        };
        let identity = match self.identity(asked.cookies).await {
            Ok(identity) => identity,
            Err(_) => return Decided::without_user(Decision::Unavailable, rule),
        };
        let decision = match (requirement, &identity) {
            (None, _) => Decision::Allowed,
            (Some(_), None) => Decision::LoginRequired,
            (Some(requirement), Some(user)) if user.meets(requirement) => Decision::Allowed,
            (Some(_), Some(_)) => Decision::Forbidden(Reason::Requirement),
        };
        Decided { decision, rule, identity }
    }

    async fn identity(&self, cookies: &[&[u8]]) -> Result<Option<Arc<Identity>>, Error> {
        // Without a cookie there is nothing to wait for.
        if cookies.is_empty() {
            return Ok(None);
        }
        let needs_permissions = self.config.rules.need_permissions();
        match tokio::time::timeout(self.config.time_limit, self.identities.of(cookies, needs_permissions))
            .await
        {
            Ok(found) => found.inspect_err(|error| tracing::error!(%error, "cannot tell who asks")),
            Err(_) => {
                tracing::error!("the store or the users did not answer within the time limit");
                Err(Error::NoLayer)
            }
        }
    }
}
