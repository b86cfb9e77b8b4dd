//! The verdict in a Job pod's termination message. Serde only.

use serde::{Deserialize, Serialize};

use super::evidence::Digest;
use super::{Counts, Reason, Report, SCHEMA, Verdict, Verification};

/// The Job pod's termination message: the verdict in at most [`Summary::MAX_BYTES`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The hash that the controller put on the Job; empty outside a cluster.
    #[serde(default)]
    pub run_hash: String,
    /// How it ended.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// Cut to fit.
    pub message: String,
    /// Totals.
    pub counts: Counts,
    /// See [`super::Report::verification`].
    #[serde(default)]
    pub verification: Verification,
    /// Fingerprint over all collections' fingerprints; empty without a full verification.
    #[serde(default)]
    pub fingerprint: String,
    /// See [`super::CollectionReport::max_ulps`].
    #[serde(default)]
    pub max_ulps: u32,
    /// See [`super::Report::target_bytes`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_bytes: Option<u64>,
    /// What proves the report in the log; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Digest>,
}

impl Summary {
    /// Kubernetes cuts the termination messages of a whole pod at 12 KiB; injected containers share it.
    pub const MAX_BYTES: usize = 1024;

    /// The summary of a report; the run hash is the caller's.
    #[must_use]
    pub fn of(report: &Report, fingerprint: String) -> Self {
        Self {
            schema: SCHEMA,
            run_hash: String::new(),
            verdict: report.verdict,
            reason: report.reason,
            message: report.message.clone(),
            counts: report.counts,
            verification: report.verification,
            fingerprint,
            max_ulps: report.collections.iter().map(|c| c.max_ulps).max().unwrap_or_default(),
            target_bytes: report.target_bytes,
            report: None,
        }
    }

    /// The summary of a run that was refused for its manifest.
    #[must_use]
    pub fn refused(message: String) -> Self {
        Self {
            schema: SCHEMA,
            run_hash: String::new(),
            verdict: Verdict::Failed,
            reason: Reason::InvalidSpec,
            message,
            counts: Counts::default(),
            verification: Verification::default(),
            fingerprint: String::new(),
            max_ulps: 0,
            target_bytes: None,
            report: None,
        }
    }

    /// The JSON, with its message cut so that it fits.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut summary = self.clone();
        loop {
            let json = serde_json::to_string(&summary).unwrap_or_default();
            if json.len() <= Self::MAX_BYTES || summary.message.is_empty() {
                return json;
            }
            let keep = summary.message.chars().count().saturating_sub((json.len() - Self::MAX_BYTES).div_ceil(6) + 1);
            summary.message = summary.message.chars().take(keep.saturating_sub(1)).collect();
            if keep > 1 {
                summary.message.push('…');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(message: String) -> Summary {
        Summary {
            schema: SCHEMA,
            run_hash: "0123456789abcdef".into(),
            verdict: Verdict::Failed,
            reason: Reason::PreflightRefused,
            message,
            counts: Counts { source: u64::MAX, verified: u64::MAX, extra: u64::MAX, ..Counts::default() },
            verification: Verification::default(),
            fingerprint: "f".repeat(64),
            max_ulps: 4,
            target_bytes: Some(u64::MAX),
            report: Some(Digest { bytes: u64::MAX, lines: u32::MAX, ..Digest::of("") }),
        }
    }

    #[test]
    fn a_summary_fits_whatever_its_message() {
        for message in [String::new(), "short".into(), "x".repeat(5000), "\u{1}\"\\é🙂".repeat(900)] {
            let json = summary(message).to_json();
            assert!(json.len() <= Summary::MAX_BYTES, "{}", json.len());
            let back: Summary = serde_json::from_str(&json).unwrap();
            assert_eq!(back.counts.source, u64::MAX);
        }
    }
}
