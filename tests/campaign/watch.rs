//! A proxy that a trial owns: it can go and come back at the same address, and it tells how many requests there were, so
//! that a success can be told from one that was claimed before a fault came.

use tokio::runtime::Runtime;

use super::memories::Found;
use super::run::Ended;
use super::trial::Trial;
use crate::support::proxy::{Fault, Proxy, Seen};

/// A proxy with its runtime.
pub(crate) struct Watch {
    pub(crate) url: String,
    upstream: String,
    running: Option<(Runtime, Proxy)>,
}

impl Watch {
    /// Passes everything on.
    pub(crate) fn passing(upstream: &str) -> Self {
        Self::start(upstream, |_| Fault::Pass)
    }

    pub(crate) fn start(upstream: &str, rule: impl FnMut(&Seen) -> Fault + Send + 'static) -> Self {
        let runtime = Runtime::new().unwrap();
        let proxy = runtime.block_on(Proxy::start(upstream, rule));
        Self { url: proxy.url.clone(), upstream: upstream.to_owned(), running: Some((runtime, proxy)) }
    }

    /// Every connection ends, and nobody listens any more.
    pub(crate) fn cut(&mut self) {
        let (runtime, proxy) = self.running.take().unwrap();
        drop(proxy);
        runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    }

    /// Listens again, at the same address.
    pub(crate) fn mended(&mut self) {
        let runtime = Runtime::new().unwrap();
        let address = self.url.trim_start_matches("http://");
        let proxy = runtime.block_on(Proxy::at(address, &self.upstream, |_| Fault::Pass));
        self.running = Some((runtime, proxy));
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.running.as_ref().map_or(0, |(_, proxy)| proxy.seen().len())
    }

    /// A run has ended, whose target was taken away when there were `before` requests. A success is false if the run has
    /// asked the target since; else it was claimed, and true, before.
    pub(crate) fn judged(&self, trial: &mut Trial<'_>, ended: Ended, before: usize) {
        let since = self.requests() - before;
        trial.outcome.said.push(format!("{since} requests after the fault"));
        if !ended.is_success() || since > 0 {
            return trial.ended(ended);
        }
        let Found { lost, .. } = trial.found();
        if lost.is_empty() {
            return trial.ended(ended);
        }
        trial.outcome.said.push(format!("a success before the fault: {}", ended.said));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some((runtime, _)) = self.running.take() {
            runtime.shutdown_background();
        }
    }
}
