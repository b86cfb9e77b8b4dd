//! How the store in memory is written to, with its fault points. For tests of the engine only.

use std::collections::BTreeMap;

use async_trait::async_trait;
use tokio_util::bytes::Bytes;

use super::{Change, Fault, MemoryStore, collection};
use crate::chroma::{Capabilities, NewCollection};
use crate::model::{Collection, Error, Metadata, Record, Result};
use crate::store::{Amendment, Finding, Load, Reader, Target, Writer};

#[async_trait]
impl Writer for MemoryStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            version: "memory".to_owned(),
            max_batch: 100,
            max_body: self.state().max_body.unwrap_or(1 << 20),
            base64: true,
            configuration: true,
            schema: false,
            arrays: true,
        }
    }

    async fn create(&self, new: &NewCollection) -> Result<Collection> {
        let mut state = self.state();
        state.log.push(format!("create {}", new.name));
        let distance = crate::model::distance::declared(new.schema.as_ref(), new.configuration.as_ref(), &new.metadata);
        let key = new.database.as_ref().map_or_else(|| new.name.clone(), |database| format!("{database}/{}", new.name));
        let mut described = collection(&self.label, &key, distance, 1);
        described.name.clone_from(&new.name);
        if let Some(database) = &new.database {
            described.database.clone_from(database);
        }
        (described.dimension, described.metadata) = (None, new.metadata.clone());
        state.collections.insert(key, (described.clone(), BTreeMap::new()));
        match state.faults.pop_front() {
            None | Some(Fault::Busy) => Ok(described),
            Some(_) => Err(Error::Uncertain {
                store: self.label.clone(),
                attempt: "create".to_owned(),
                why: "made by a test".to_owned(),
            }),
        }
    }

    async fn set_metadata(&self, collection: &Collection, metadata: &Metadata) -> Result<()> {
        if let Some((described, _)) = self.state().collections.get_mut(&collection.name) {
            described.metadata.clone_from(metadata);
        }
        Ok(())
    }

    fn prepare(&self, _: &[Record]) -> Result<Bytes> {
        Ok(Bytes::new())
    }

    async fn add_prepared(&self, collection: &Collection, records: &[Record], _: Bytes) -> Result<()> {
        // others may come in between, as on a server
        {
            let mut state = self.state();
            let now = state.under_way.0 + 1;
            state.under_way = (now, now.max(state.under_way.1));
        }
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        self.state().under_way.0 -= 1;
        self.refusal("an add", records.iter().map(|record| record.id.clone()))?;
        let one = records.iter().map(|record| -> Change<'_> {
            Box::new(|all| {
                all.entry(record.id.clone()).or_insert_with(|| record.clone());
            })
        });
        self.write(&collection.id, "add", one.collect())
    }

    async fn update(&self, collection: &Collection, amendments: &[Amendment]) -> Result<()> {
        self.refusal("an update", amendments.iter().map(|amendment| amendment.record.id.clone()))?;
        let one = amendments.iter().map(|amendment| -> Change<'_> {
            Box::new(|all| {
                let Some(record) = all.get_mut(&amendment.record.id) else { return };
                let new = amendment.record.clone();
                record.embedding = new.embedding;
                record.document = new.document.or_else(|| record.document.take());
                record.uri = new.uri.or_else(|| record.uri.take());
                record.metadata.extend(new.metadata);
                amendment.surplus.iter().for_each(|key| drop(record.metadata.remove(key)));
            })
        });
        self.write(&collection.id, "update", one.collect())
    }

    async fn delete(&self, collection: &Collection, ids: &[String]) -> Result<()> {
        let one = ids.iter().map(|id| -> Change<'_> { Box::new(|all| drop(all.remove(id))) });
        self.write(&collection.id, "delete", one.collect())
    }

    fn encoded_len(&self, record: &Record) -> usize {
        record.embedding.len() * 4
    }

    fn pushed_back(&self) -> u64 {
        self.state().pushed_back
    }
}

#[async_trait]
impl Target for MemoryStore {
    fn name(&self) -> String {
        self.label.clone()
    }

    fn current(&self) -> Option<&dyn Reader> {
        Some(self)
    }

    async fn capabilities(&self) -> Result<Capabilities> {
        Ok(Writer::capabilities(self))
    }

    async fn checks(&self, _load: Load) -> Result<Vec<Finding>> {
        Ok(Vec::new())
    }

    async fn open(&self) -> Result<&dyn Writer> {
        Ok(self)
    }

    fn files(&self) -> Option<&dyn Reader> {
        None
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}
