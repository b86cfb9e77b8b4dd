//! Makes room for a store that is made anew: tables that were never finished and hold nothing are taken away.
//! What is such a store is `birth`'s question, which only reads.

use std::io;
use std::path::Path;

use crate::model::Result;
use crate::store::files::sqlite::birth;
use crate::store::files::system::io_error;
use crate::store::files::{self, Layout, Order};

/// Takes away the tables that an engine with this layout did not finish, where they hold nothing: 0.6.3 does not go on
/// from its own half-made ones (measured). Called only while our lock is held and nobody has the folder open.
///
/// # Errors
/// When the store cannot be read, or a file cannot be taken away.
pub fn clear(folder: &Path, whole: &Layout) -> Result<()> {
    let database = folder.join(files::DATABASE);
    if !database.exists() {
        return Ok(());
    }
    let half_made = |there: &Layout| birth::is_beginning(there, whole) && there.compare(whole) != Order::Equal;
    if !birth::empty(folder)?.is_some_and(|there| half_made(&there)) {
        return Ok(());
    }
    tracing::info!(folder = %folder.display(), "the store there is empty and was never finished: it is made anew");
    // in this order, so that an end in between leaves what the next run takes for empty, too
    std::fs::File::create(&database).map_err(|e| io_error("empty", &database, e))?;
    for ending in ["-journal", "-wal", "-shm", ""] {
        let file = folder.join(format!("{}{ending}", files::DATABASE));
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error("remove", &file, error)),
            _ => {}
        }
    }
    Ok(())
}
