//! Which layouts are filled: those of versions that the tests fill, and no other. Pure.

use crate::store::files::Layout;

/// The last migrations of `embeddings_queue`, `metadb` and `sysdb`: of 1.0.20 and of 1.5.9.
const KNOWN: [(i64, i64, i64); 2] = [(2, 5, 9), (2, 6, 10)];

/// Why a store of this layout is not filled by its files; None where it is.
#[must_use]
pub fn problem(layout: &Layout) -> Option<String> {
    let last = (layout.last("embeddings_queue"), layout.last("metadb"), layout.last("sysdb"));
    let is_known = KNOWN.contains(&last) && layout.check().is_ok();
    (!is_known)
        .then(|| format!("only Chroma 1.0.20 and 1.5.9 are filled by their files, and it has the {}", layout.version()))
}
