//! Bodies of answers, read up to a bound: whatever answers there may not stop. Knows no JSON.

use reqwest::Response;
use reqwest::header::CONTENT_ENCODING;
use tokio_util::bytes::{Bytes, BytesMut};

use super::decision::{Failed, Failure};

/// For a version, a count, an acknowledgement: Chroma's own have some hundred bytes. 1 MiB.
pub(super) const SMALL: usize = 1 << 20;
/// For the server's description of itself (0.2 MB on 1.5.9) and for one collection's. 16 MiB.
pub(super) const DOCUMENT: usize = 16 << 20;
/// For a list of collections, each with its schema: about 30,000 of them. 128 MiB.
pub(super) const LIST: usize = 128 << 20;
/// For several records; more than that and fewer are asked for. 16 MiB.
pub(super) const RECORDS: usize = 16 << 20;
/// For one record: Chroma takes 40 MiB in one body, and JSON writes a control character in six bytes. 512 MiB.
pub(super) const RECORD: usize = 512 << 20;

/// The whole body of a success, or a failure as soon as it is longer than `limit` bytes.
pub(super) async fn whole(mut response: Response, limit: usize) -> Result<Bytes, Failed> {
    is_plain(&response)?;
    let told = response.content_length().and_then(|length| usize::try_from(length).ok());
    if told.is_some_and(|length| length > limit) {
        return Err(too_long(limit));
    }
    // what a server says of its length is no reason to take all of that at once
    let mut body = BytesMut::with_capacity(told.unwrap_or_default().min(RECORDS));
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > limit {
            return Err(too_long(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// A failure where an answer is encoded, which no request asks for.
pub(super) fn is_plain(response: &Response) -> Result<(), Failed> {
    let coding = response.headers().get(CONTENT_ENCODING).and_then(|coding| coding.to_str().ok());
    match coding.filter(|coding| !coding.trim().is_empty() && !coding.trim().eq_ignore_ascii_case("identity")) {
        None => Ok(()),
        Some(coding) => {
            let why = format!(
                "the answer is compressed ({coding:?}) though the request forbids it: turn that off in the proxy"
            );
            Err(Failed::new(Failure::Foreign, why))
        }
    }
}

/// The failure of an answer beyond its bound.
pub(super) fn too_long(limit: impl std::fmt::Display) -> Failed {
    Failed::new(Failure::TooLong, format!("the answer is longer than {limit} bytes"))
}
