//! Values that a request derives from the current one, and that may go.

use std::sync::Arc;

use cloakroom_formats::Value;
use cloakroom_formats::private::Text;

use super::Session;
use super::changes::{Change, Recompute};
use crate::site::error::Error;

impl Session {
    /// Replaces the value under this key by one that is computed from it; `None` means no value. If another
    /// request changes the session meanwhile, saving computes again from that request's value. An equal value
    /// is no change.
    pub(crate) fn recompute(
        &self,
        key: &str,
        recompute: impl Fn(Option<&Value>) -> Option<Value> + Send + Sync + 'static,
    ) -> Result<(), Error> {
        let recompute: Recompute = Arc::new(recompute);
        self.exchange(key, |before| {
            let after = recompute(before);
            let change = (after.as_ref() != before)
                .then(|| Change::Recompute(Text::of_key(key), after, Arc::clone(&recompute)));
            Ok((change, ()))
        })
    }
}
