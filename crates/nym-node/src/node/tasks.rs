//! The tasks of a node, which end together.

use std::time::Duration;

use axum::Router;
use nym_daemon::http::HttpServer;
use nym_daemon::metrics::Metrics;
use nym_daemon::pages::{self, Readiness};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::NodeError;
use crate::pipeline::PipelineError;

/// The tasks of a node. Whatever ends first, by the shutdown or by an error, ends the others; the
/// pages are the last, so that they tell of the stop until it is over.
///
/// When this is dropped, the tasks end where they are.
#[derive(Debug)]
pub struct Tasks<E> {
    tasks: JoinSet<Result<(), E>>,
    readiness: Readiness,
    stop: CancellationToken,
    close_pages: CancellationToken,
}

impl<E: From<NodeError> + Send + 'static> Tasks<E> {
    /// Tasks that end after `shutdown` is cancelled: the page `/ready` says so, and for the time of
    /// `drain_delay` the work goes on.
    #[must_use]
    pub fn until(shutdown: CancellationToken, drain_delay: Duration) -> Self {
        let readiness = Readiness::default();
        let mut tasks = Self {
            tasks: JoinSet::new(),
            readiness: readiness.clone(),
            stop: CancellationToken::new(),
            close_pages: CancellationToken::new(),
        };
        tasks.spawn_endless(|stop| readiness.drain(shutdown, drain_delay, stop));
        tasks
    }

    /// Adds a task, which ends when the token that it is given is cancelled.
    pub fn spawn<F>(&mut self, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        self.tasks.spawn(task(self.stop.clone()));
    }

    /// Adds a task that cannot fail.
    pub fn spawn_endless<F>(&mut self, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let task = task(self.stop.clone());
        self.tasks.spawn(async move {
            task.await;
            Ok(())
        });
    }

    /// Adds the node's pages, and those of every program.
    pub(super) fn spawn_pages(
        &mut self,
        server: HttpServer,
        pages: Router,
        welcome: &'static str,
        metrics: Metrics,
    ) {
        let pages = pages.merge(pages::router(welcome, self.readiness.clone(), metrics));
        let close = self.close_pages.clone();
        self.tasks.spawn(async move {
            let served = server.run(pages, close).await;
            served.map_err(|error| NodeError::Http(error).into())
        });
    }

    /// Says that the node is ready, and waits until all tasks have ended.
    ///
    /// # Errors
    /// What the first task ended with that failed; [`NodeError::Pipeline`] if it panicked.
    pub async fn ended(mut self) -> Result<(), E> {
        self.readiness.set_ready();
        let mut outcome = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            self.stop.cancel();
            if self.tasks.len() <= 1 {
                self.close_pages.cancel();
            }
            // A task that panicked has told so; the node does not go on without it.
            let ended = ended.unwrap_or_else(|_| Err(NodeError::Pipeline(PipelineError).into()));
            outcome = outcome.and(ended);
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn tasks() -> Tasks<NodeError> {
        let mut tasks = Tasks::until(CancellationToken::new(), Duration::ZERO);
        tasks.spawn_endless(CancellationToken::cancelled_owned);
        tasks
    }

    #[tokio::test]
    async fn first_task_to_fail_ends_the_others_and_says_why() {
        let mut tasks = tasks();
        tasks.spawn(|stop| async move {
            stop.cancelled().await;
            Err(NodeError::Pipeline(PipelineError))
        });
        tasks.spawn(|_| async { Err(NodeError::Http(io::Error::other("broken"))) });
        assert!(matches!(tasks.ended().await, Err(NodeError::Http(_))));
    }

    #[tokio::test]
    async fn task_that_panics_ends_the_node() {
        let mut tasks = tasks();
        tasks.spawn(|_| async { panic!("a defect") });
        assert!(matches!(tasks.ended().await, Err(NodeError::Pipeline(_))));
    }
}
