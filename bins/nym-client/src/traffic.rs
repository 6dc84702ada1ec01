//! The thread on which packets are made, sent and received, and nothing else is done.
//!
//! ```text
//!   apps, pages, topology                     traffic
//!  ┌─────────────────────┐    queues    ┌──────────────────┐
//!  │ runtime of the      │ ───────────► │ engine ──► link ─┼──► gateway
//!  │ program             │ ◄─────────── │        ◄──       │
//!  └─────────────────────┘              └──────────────────┘
//! ```
//!
//! A slot of the traffic engine must not move because an app hands over something large: an observer
//! could tell. And a packet that wakes one thread costs half of one that wakes two.

use std::panic::resume_unwind;
use std::thread;

use tokio::runtime;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// The thread, with a runtime of its own.
#[derive(Debug)]
pub(crate) struct TrafficThread {
    thread: thread::JoinHandle<()>,
    /// Never told of anything: it closes when the thread ends, in whatever way.
    ended: oneshot::Receiver<()>,
}

impl TrafficThread {
    /// Starts the thread, which ends when both tasks have, or one panics.
    ///
    /// # Errors
    ///
    /// The operating system has no thread or file descriptor left.
    pub(crate) fn start(
        engine: impl Future<Output = ()> + Send + 'static,
        link: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (ending, ended) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("client-traffic".to_owned())
            .spawn(move || {
                runtime.block_on(both(engine, link));
                // Looking up a name may take long, and nobody waits for it any more.
                runtime.shutdown_background();
                drop::<oneshot::Sender<()>>(ending);
            })?;
        Ok(Self { thread, ended })
    }

    /// Waits for the end of the thread.
    ///
    /// # Panics
    ///
    /// When its work panicked, with its panic.
    pub(crate) async fn join(self) {
        let _ = self.ended.await;
        // It has nothing left to do but to end.
        if let Err(panic) = self.thread.join() {
            resume_unwind(panic);
        }
    }
}

async fn both(
    engine: impl Future<Output = ()> + Send + 'static,
    link: impl Future<Output = ()> + Send + 'static,
) {
    let mut tasks = JoinSet::new();
    tasks.spawn(engine);
    tasks.spawn(link);
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended
            && let Ok(panic) = error.try_into_panic()
        {
            resume_unwind(panic);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::time::{sleep, timeout};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn traffic_goes_on_while_the_thread_of_the_apps_is_held_up() {
        let (slot, slots) = mpsc::channel();
        let engine = async move {
            for _ in 0..3 {
                sleep(Duration::from_millis(1)).await;
                slot.send(()).unwrap();
            }
        };
        let traffic = TrafficThread::start(engine, ready(())).unwrap();
        // This blocks the only thread of the test's runtime, as the request of an app might.
        for _ in 0..3 {
            slots.recv_timeout(PATIENCE).unwrap();
        }
        assert!(timeout(PATIENCE, traffic.join()).await.is_ok());
    }

    #[tokio::test]
    async fn a_panic_ends_both_and_is_passed_on() {
        let engine = async { panic!("a defect") };
        let traffic = TrafficThread::start(engine, pending()).unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(traffic.join());
        let ended = timeout(PATIENCE, tasks.join_next()).await.unwrap().unwrap();
        let panic = ended.unwrap_err().into_panic();
        assert_eq!(panic.downcast_ref(), Some(&"a defect"));
    }
}
