//! All integration tests, as one binary: `cargo test --test suite stores::` runs those of `stores.rs`.
//! Holds the list of modules and nothing else; a new test file is one line here.

#[cfg(test)]
mod argocd;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod campaign;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod creation;
#[cfg(test)]
mod docs;
#[cfg(test)]
mod exact;
#[cfg(test)]
mod exactness;
#[cfg(test)]
mod fault_points;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod fill;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod generated;
#[cfg(test)]
mod generations;
#[cfg(test)]
mod layers;
#[cfg(test)]
mod lies;
#[cfg(test)]
mod local;
#[cfg(test)]
mod manifests;
#[cfg(test)]
mod mutants;
#[cfg(test)]
mod page;
#[cfg(test)]
mod readme;
#[cfg(test)]
mod regressions;
#[cfg(test)]
mod release;
#[cfg(test)]
mod rescue;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod search;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod several;
#[cfg(test)]
mod stores;
#[cfg(test)]
mod support;
