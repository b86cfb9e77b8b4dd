//! What the controller does in every situation: the decision by table and by property, the Job that it makes, the calls
//! that it sends to an API server, and the process. The API server is a mock; what Kubernetes answers is in the fixtures.

mod api_server;
mod calls;
mod controller;
mod databases;
mod edges;
mod ends;
mod evidence;
mod fixtures;
mod fleet;
mod job;
mod kubernetes;
mod mock;
mod modes;
mod one_store;
mod process;
mod property;
mod reasons;
mod refusals;
mod refused;
mod rights;
mod schedules;
mod stale;
mod table;
mod troubles;
mod waits;
