//! Redis Sentinel: finds the primary.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::{ErrorKind, ServerErrorKind, Value};

use super::connection::Failure;
use super::node::{Access, Address};
use super::wire::Wire;
use crate::site::error::StoreErrorKind;

/// The sentinels of a service, and how to connect to its primary.
///
/// The driver's own client of sentinels is not used: it would encrypt with its own settings, which need a
/// default of the whole process.
pub(super) struct Sentinels {
    pub(super) addresses: Vec<Address>,
    pub(super) service: String,
    /// To the sentinels.
    pub(super) access: Access,
    /// To the primary.
    pub(super) primary: Access,
    /// How long one sentinel may take.
    pub(super) timeout: Duration,
}

impl Sentinels {
    /// Connects to the primary. All sentinels are asked at once, so that one that hangs delays nothing. The
    /// server that one names is asked whether it is a primary: shortly after a fail-over a sentinel may not
    /// know of it.
    pub(super) async fn connect(&self) -> Result<Wire, Failure> {
        let mut answers: FuturesUnordered<_> =
            self.addresses.iter().map(|address| self.primary_by(address)).collect();
        let (mut tried, mut failed, mut knows_it) = (Vec::new(), None, false);
        while let Some(answer) = answers.next().await {
            let failure = match answer {
                Ok(None) => continue,
                Ok(Some(address)) if tried.contains(&address) => continue,
                Ok(Some(address)) => {
                    knows_it = true;
                    match self.connect_to(&address).await {
                        Ok(wire) => return Ok(wire),
                        Err(failure) => {
                            tried.push(address);
                            failure
                        }
                    }
                }
                Err(failure) => failure,
            };
            // What somebody must correct is told rather than what may pass.
            if failed.as_ref().is_none_or(|failed: &Failure| !failed.is_final()) {
                failed = Some(failure);
            }
        }
        Err(match failed {
            Some(failure) => failure,
            None if knows_it => self.no_primary(),
            None => Failure::Explained(
                StoreErrorKind::Misconfigured,
                format!("the sentinels watch no service `{}`; check the URL's service", self.service),
            ),
        })
    }

    /// Asks one sentinel; `None` if it does not know the service.
    async fn primary_by(&self, sentinel: &Address) -> Result<Option<Address>, Failure> {
        let asked = async {
            let wire = self.access.connect(sentinel).await?;
            let mut command = redis::cmd("SENTINEL");
            command.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.service);
            Ok(wire.send(&command).await.and_then(Value::extract_error)?)
        };
        let reply = tokio::time::timeout(self.timeout, asked).await.unwrap_or(Err(Failure::TimedOut));
        match reply {
            Ok(Value::Nil) => Ok(None),
            Ok(reply) => match redis::from_redis_value::<(String, u16)>(reply) {
                Ok((host, port)) => Ok(Some(Address::Tcp(host, port))),
                Err(_) => Err(Failure::Unexpected),
            },
            Err(failure) if failure.is_refused_login() => Err(Failure::Explained(
                StoreErrorKind::Misconfigured,
                format!(
                    "the sentinel {sentinel} refuses this user; check the URL's `sentinel_username` and \
                     `sentinel_password`, and the user's ACL, which must allow `sentinel|get-master-addr-by-name`"
                ),
            )),
            Err(failure) if failure.is_unknown_command() => Err(Failure::Explained(
                StoreErrorKind::Misconfigured,
                format!(
                    "{sentinel} is a Redis server and no sentinel; name the sentinels, or use redis://{sentinel}"
                ),
            )),
            Err(failure) => Err(failure),
        }
    }

    async fn connect_to(&self, address: &Address) -> Result<Wire, Failure> {
        let wire = self.primary.connect(address).await?;
        let role = wire.send(&redis::cmd("ROLE")).await;
        let Value::Array(role) = (match role.and_then(Value::extract_error) {
            // A user that may not ask finds out with the first write.
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => return Ok(wire),
            role => role?,
        }) else {
            return Err(Failure::Unexpected);
        };
        match role.into_iter().next().map(redis::from_redis_value::<String>) {
            Some(Ok(role)) if role == "master" => Ok(wire),
            _ => Err(self.no_primary()),
        }
    }

    fn no_primary(&self) -> Failure {
        Failure::Explained(
            StoreErrorKind::Unavailable,
            format!("the sentinels know no primary of `{}` at present", self.service),
        )
    }
}
