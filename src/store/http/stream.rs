//! Reads the ids out of an answer while it arrives, so that neither its body nor a copy of the ids is held.
//! Sends nothing.

use std::fmt;
use std::io::{self, Read};

use reqwest::Response;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use tokio::sync::mpsc;
use tokio_util::bytes::{Buf, Bytes};

use super::bounded::{is_plain, too_long};
use super::decision::{Failed, Failure};
use crate::scratch::IdList;

/// Bytes without a quotation mark that end the reading: no id is as long, and the parser holds one id as a whole.
const LONGEST: usize = 64 << 20;
/// Chunks of a body between the connection and the parser.
const CHUNKS: usize = 8;

/// The ids of a `get` answer in its order, or a failure as soon as it is longer than `limit` bytes.
pub(super) async fn ids(mut response: Response, limit: u64) -> Result<IdList, Failed> {
    is_plain(&response)?;
    let (sender, receiver) = mpsc::channel(CHUNKS);
    let parser = tokio::task::spawn_blocking(move || parse(Chunks { receiver, current: Bytes::new() }));
    let mut bounds = Bounds { left: limit, unquoted: 0 };
    loop {
        let chunk = response.chunk().await;
        if chunk.as_ref().is_ok_and(|chunk| chunk.as_ref().is_some_and(|chunk| bounds.are_passed_by(chunk))) {
            return Err(too_long(limit));
        }
        let failed = chunk.is_err();
        let Some(chunk) = chunk.transpose() else { break };
        // A parser that has stopped says itself why.
        if sender.send(chunk.map_err(Failed::from)).await.is_err() || failed {
            break;
        }
    }
    drop(sender);
    parser.await.map_err(|e| Failed::new(Failure::Broken, format!("the ids were not read: {e}")))?
}

/// What is left of an answer that may not stop, and of one id that may not.
struct Bounds {
    left: u64,
    unquoted: usize,
}

impl Bounds {
    fn are_passed_by(&mut self, chunk: &[u8]) -> bool {
        let Some(left) = self.left.checked_sub(chunk.len() as u64) else { return true };
        self.left = left;
        let since = chunk.iter().rev().position(|byte| *byte == b'"');
        self.unquoted = since.unwrap_or(self.unquoted + chunk.len());
        self.unquoted > LONGEST
    }
}

/// The body as a blocking reader. Ends as soon as the other side is dropped, so that an aborted call leaves no thread.
struct Chunks {
    receiver: mpsc::Receiver<Result<Bytes, Failed>>,
    current: Bytes,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(Ok(chunk)) => self.current = chunk,
                Some(Err(failed)) => return Err(io::Error::other(failed.detail)),
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

fn parse(body: impl Read) -> Result<IdList, Failed> {
    let mut deserializer = serde_json::Deserializer::from_reader(io::BufReader::with_capacity(64 * 1024, body));
    let ids = Answer.deserialize(&mut deserializer).and_then(|ids| deserializer.end().map(|()| ids));
    ids.map_err(|e| {
        let failure = if e.is_io() || e.is_eof() { Failure::Broken } else { Failure::Foreign };
        Failed::new(failure, format!("the list of ids: {e}"))
    })
}

/// The whole answer: an object with `ids`, other keys are passed over.
struct Answer;

impl<'de> DeserializeSeed<'de> for Answer {
    type Value = IdList;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<IdList, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Answer {
    type Value = IdList;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an answer with ids")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<IdList, A::Error> {
        let mut ids = None;
        while let Some(key) = map.next_key::<String>()? {
            if key == "ids" {
                let mut list = IdList::new();
                map.next_value_seed(Ids(&mut list))?;
                ids = Some(list);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        ids.ok_or_else(|| A::Error::custom("it has no ids"))
    }
}

/// The array of ids, each given to the list.
struct Ids<'a>(&'a mut IdList);

impl<'de> DeserializeSeed<'de> for Ids<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Ids<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of ids")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Id(self.0))?.is_some() {}
        Ok(())
    }
}

struct Id<'a>(&'a mut IdList);

impl<'de> DeserializeSeed<'de> for Id<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Id<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id")
    }

    fn visit_str<E>(self, id: &str) -> Result<(), E> {
        self.0.push(id);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> Result<Vec<String>, Failure> {
        let list = parse(text.as_bytes()).map_err(|f| f.failure)?;
        Ok(list.sort().unwrap().iter().map(Result::unwrap).collect())
    }

    #[test]
    fn ids_are_found_wherever_they_stand() {
        let text = r#"{"documents":null,"ids":["b","a\u0000\"é","🙂"],"include":[{"x":[1]}]}"#;
        assert_eq!(ids(text), Ok(vec!["a\0\"é".to_owned(), "b".to_owned(), "🙂".to_owned()]));
        assert_eq!(ids(r#"{"ids":[]}"#), Ok(Vec::new()));
    }

    #[test]
    fn what_does_not_stop_is_stopped() {
        let mut bounds = Bounds { left: 100, unquoted: 0 };
        assert!(!bounds.are_passed_by(&[b'a'; 60]));
        assert!(!bounds.are_passed_by(&[b'"'; 40]));
        assert!(bounds.are_passed_by(b"a"));
        let mut bounds = Bounds { left: u64::MAX, unquoted: LONGEST - 10 };
        assert!(!bounds.are_passed_by(&[b'a'; 10]));
        assert!(bounds.are_passed_by(b"a"));
        assert!(!bounds.are_passed_by(b"\"aaa"));
        assert_eq!(bounds.unquoted, 3);
    }

    #[test]
    fn every_cut_is_noticed() {
        let text = r#"{"ids":["a","b"],"include":[]}"#;
        for end in 0..text.len() {
            assert_eq!(ids(&text[..end]), Err(Failure::Broken), "cut at {end}");
        }
        assert_eq!(ids(text).map(|ids| ids.len()), Ok(2));
    }

    #[test]
    fn another_shape_is_foreign() {
        for text in [r#"{"id":[]}"#, r#"{"ids":[1]}"#, "[]", "<html>", r#"{"ids":[]} x"#] {
            assert_eq!(ids(text), Err(Failure::Foreign), "{text}");
        }
    }
}
