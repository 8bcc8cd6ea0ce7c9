//! The time that a question may take to arrive.
//!
//! hyper's own limit also counts the time before a question, so that it would close idle connections, just when a
//! proxy may send its next question on one. This one begins with a question's first byte.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// A connection that fails when a question does not arrive in time.
pub(crate) struct Patient<S> {
    stream: S,
    limit: Duration,
    is_idle: Idle,
    /// Runs while a question arrives in more than one piece.
    timer: Option<Pin<Box<Sleep>>>,
}

/// Whether nothing of the next question has arrived.
#[derive(Clone)]
pub(crate) struct Idle(Arc<AtomicBool>);

impl Idle {
    /// A question has arrived as a whole.
    pub(crate) fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<S> Patient<S> {
    /// Without patience for an idle peer, the first question must arrive at once.
    pub(crate) fn new(stream: S, limit: Duration, may_idle: bool) -> Patient<S> {
        let is_idle = Idle(Arc::new(AtomicBool::new(may_idle)));
        Patient { stream, limit, is_idle, timer: None }
    }

    pub(crate) fn idle(&self) -> Idle {
        self.is_idle.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(context, buffer) {
            if buffer.filled().len() > before && self.is_idle.0.swap(false, Ordering::Relaxed) {
                self.timer = None;
            }
            return Poll::Ready(read);
        }
        if self.is_idle.0.load(Ordering::Relaxed) {
            self.timer = None;
            return Poll::Pending;
        }
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, "the question did not arrive in time")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
