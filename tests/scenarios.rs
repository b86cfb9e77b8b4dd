//! What the controller does in every situation: the decision by table and by property, the Job that it makes, and the
//! calls that it sends to an API server. The API server is a mock; what Kubernetes answers is in the fixtures.

mod calls;
mod fixtures;
mod job;
mod property;
mod rights;
mod table;
mod troubles;
