//! What a request carries: kept for another try, or let go once sent and made again. Sends nothing and knows no JSON.

use std::fmt;
use std::sync::Mutex;

use reqwest::Body;
use tokio_util::bytes::Bytes;

use crate::model::Result;

/// Makes the same body again.
type Again<'a> = &'a (dyn Fn() -> Result<Bytes> + Send + Sync);

/// The JSON that a request sends.
pub(super) enum Payload<'a> {
    /// Held until the answer is there.
    Kept(Bytes),
    /// Held until it is sent: a server may take seconds to answer a large write, and several are under way.
    Once {
        /// For the first attempt.
        ready: Mutex<Option<Bytes>>,
        /// Bytes of it.
        len: usize,
        /// For every further one.
        again: Again<'a>,
    },
}

impl<'a> Payload<'a> {
    /// Of which no more than the sending holds a part.
    pub(super) fn once(body: Bytes, again: Again<'a>) -> Self {
        Self::Once { len: body.len(), ready: Mutex::new(Some(body)), again }
    }

    /// Bytes of it.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Kept(body) => body.len(),
            Self::Once { len, .. } => *len,
        }
    }

    /// For one attempt.
    ///
    /// # Errors
    /// When it cannot be made again.
    pub(super) fn body(&self) -> Result<Body> {
        match self {
            Self::Kept(body) => Ok(body.clone().into()),
            Self::Once { ready, again, .. } => {
                let ready = ready.lock().ok().and_then(|mut ready| ready.take());
                // as one that cannot be sent twice: the client keeps a copy of every other until the answer
                ready.map_or_else(again, Ok).map(|body| Body::wrap(Body::from(body)))
            }
        }
    }
}

impl fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::Notify;

    use super::*;

    struct Tracked(Vec<u8>, Arc<Notify>);

    impl AsRef<[u8]> for Tracked {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    impl Drop for Tracked {
        fn drop(&mut self) {
            self.1.notify_one();
        }
    }

    #[tokio::test]
    async fn a_body_is_let_go_before_the_answer_and_made_again_for_another_try() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let gone = Arc::new(Notify::new());
        let first = vec![b'1'; 3 << 20];
        let second = Bytes::from(vec![b'2'; 3 << 20]);
        let again = || Ok(second.clone());
        let payload = Payload::once(Bytes::from_owner(Tracked(first.clone(), gone.clone())), &again);
        assert_eq!(payload.len(), first.len());
        let server = async {
            let mut bodies = Vec::new();
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap().to_lowercase();
                assert!(head.contains(&format!("content-length: {}", first.len())), "{head}");
                let mut body = vec![0; first.len()];
                stream.read_exact(&mut body).await.unwrap();
                if bodies.is_empty() {
                    let waited = tokio::time::timeout(Duration::from_secs(20), gone.notified()).await;
                    waited.expect("the body is still held while the answer is waited for");
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.unwrap();
                bodies.push(body);
            }
            bodies
        };
        let client = async {
            for _ in 0..2 {
                let body = payload.body().unwrap();
                reqwest::Client::builder().no_proxy().build().unwrap().post(&url).body(body).send().await.unwrap();
            }
        };
        let (bodies, ()) = tokio::join!(server, client);
        assert!(bodies[0] == first && bodies[1] == second);
    }
}
