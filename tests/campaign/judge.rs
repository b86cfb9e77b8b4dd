//! The official client, held open to read many targets: a start of its own takes seconds. Knows nothing of the product.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout};

use serde_json::{Value as Json, json};

use crate::support::chroma::Python;
use crate::support::dump::{Collection, Dump};

/// One version's client.
pub(crate) struct Judge {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Judge {
    pub(crate) fn start(version: &str) -> Self {
        let mut child = Python::asked(version, "tests/chroma/judge.py");
        let (ask, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, ask, answers }
    }

    /// The collection of a server's URL, or of a copy of a folder; why there is none.
    pub(crate) fn read(&mut self, at: &str, collection: &str) -> Result<Collection, String> {
        writeln!(self.ask, "{}", json!({"at": at, "collection": collection})).unwrap();
        let mut lines = String::new();
        loop {
            let mut line = String::new();
            assert!(self.answers.read_line(&mut line).unwrap() > 0, "the judge has ended");
            // some versions print of their own
            let Ok(json) = serde_json::from_str::<Json>(&line) else { continue };
            match json.get("end") {
                None => lines.push_str(&line),
                Some(Json::Null) => return Ok(Dump::parse(&lines).collection(collection).clone()),
                Some(why) => return Err(why.to_string()),
            }
        }
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        // both fail only for a process that has ended
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
