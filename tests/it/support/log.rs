//! What the library tells the log, for tests that read it.

use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::SubscriberBuilder;
use tracing_subscriber::fmt::format::{DefaultFields, Format, Full};
use tracing_subscriber::fmt::time::SystemTime;

/// What was logged while this is alive, on this thread.
pub(crate) struct Log {
    text: Arc<Mutex<Vec<u8>>>,
    _guard: tracing::subscriber::DefaultGuard,
}

#[derive(Clone)]
struct Writer(Arc<Mutex<Vec<u8>>>);

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    pub(crate) fn start() -> Log {
        Log::with(|builder| builder.with_env_filter(EnvFilter::new("trace")))
    }

    /// With these levels and options.
    pub(crate) fn with(
        options: impl FnOnce(
            SubscriberBuilder,
        ) -> SubscriberBuilder<DefaultFields, Format<Full, SystemTime>, EnvFilter>,
    ) -> Log {
        // With one subscriber alone, tracing asks that of the thread which comes to an event first: the event of a thread
        // without one would be off for all threads.
        static OTHER: OnceLock<tracing::Dispatch> = OnceLock::new();
        OTHER.get_or_init(|| {
            tracing_subscriber::fmt().with_max_level(tracing::level_filters::LevelFilter::OFF).finish().into()
        });
        let text = Arc::new(Mutex::default());
        let writer = Writer(Arc::clone(&text));
        let builder = options(tracing_subscriber::fmt());
        let subscriber = builder.with_ansi(false).with_writer(move || writer.clone()).finish();
        Log { text, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// The lines of this library.
    pub(crate) fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.text.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains("cloakroom")).map(str::to_owned).collect()
    }
}
