//! The connection to one server. It is made again when it breaks, and given up when it lets a request wait in vain: behind
//! a firewall that has forgotten it, or a proxy that hangs, a connection does not break for a quarter of an hour.

use std::sync::Mutex;
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisResult};

pub(super) struct Single {
    client: Client,
    config: ConnectionManagerConfig,
    current: Mutex<Numbered>,
}

#[derive(Clone)]
struct Numbered {
    connection: ConnectionManager,
    /// Tells a connection from the ones before it.
    number: u64,
}

impl Single {
    pub(super) async fn open(url: &str, timeout: Duration) -> RedisResult<Single> {
        let client = Client::open(url)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(timeout))
            // Longer than callers wait: whoever waited in vain gives the connection up.
            .set_response_timeout(Some(timeout * 2))
            // How often in a row; the next request begins anew.
            .set_number_of_retries(2)
            .set_max_delay(Duration::from_millis(500));
        let connection = ConnectionManager::new_with_config(client.clone(), config.clone()).await?;
        Ok(Single { client, config, current: Mutex::new(Numbered { connection, number: 0 }) })
    }

    /// The connection for the next request, and its number.
    pub(super) fn connection(&self) -> (u64, ConnectionManager) {
        let Numbered { connection, number } = crate::lock(&self.current).clone();
        (number, connection)
    }

    /// Leaves the connection of this number to the requests that are under way on it: the next ones get a new one.
    pub(super) fn give_up(&self, number: u64) -> RedisResult<()> {
        let mut current = crate::lock(&self.current);
        if current.number == number {
            // It connects when it is asked.
            let connection =
                ConnectionManager::new_lazy_with_config(self.client.clone(), self.config.clone())?;
            *current = Numbered { connection, number: number + 1 };
        }
        Ok(())
    }
}
