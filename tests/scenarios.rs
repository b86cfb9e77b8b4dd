//! What the controller does in every situation: the decision by table and by property, the Job that it makes, and the
//! calls that it sends to an API server. The API server is a mock; what Kubernetes answers is in the fixtures.

#[path = "scenarios/fixtures.rs"]
mod fixtures;
#[path = "scenarios/job.rs"]
mod job;
#[path = "scenarios/property.rs"]
mod property;
#[path = "scenarios/table.rs"]
mod table;
#[path = "scenarios/troubles.rs"]
mod troubles;
