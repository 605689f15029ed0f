//! Looks names up. Every call does this, so it must be cheap.

use std::{cell::RefCell, collections::HashMap, ptr, sync::Arc};

use arc_swap::{ArcSwap, Cache};
use foldhash::fast::RandomState;

use super::Slot;

/// All names that lead to a watched peer.
pub(super) type Table = HashMap<Box<str>, Arc<Slot>, RandomState>;

/// The current table. It is replaced as a whole, never changed.
#[derive(Default)]
pub(super) struct SharedTable(Arc<ArcSwap<Table>>);

/// A thread's own reference to a table.
type Last = Cache<Arc<ArcSwap<Table>>, Arc<Table>>;

thread_local! {
    /// The table that this thread used last. While it is not replaced, another lookup takes a plain
    /// read, whereas loading the shared table takes two locked instructions. A thread that does no
    /// more lookups keeps the memory of one old table.
    static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
}

impl SharedTable {
    pub(super) fn replace(&self, table: Table) {
        self.0.store(Arc::new(table));
    }

    /// Calls `get` with the current table.
    #[inline]
    pub(super) fn look<T>(&self, get: impl Fn(&Table) -> T) -> T {
        let looked = LAST.try_with(|last| {
            let mut last = last.try_borrow_mut().ok()?;
            if let Some(cache) = &mut *last
                && ptr::eq(cache.arc_swap(), &*self.0)
            {
                return Some(get(cache.load()));
            }
            let cache = last.insert(Cache::new(Arc::clone(&self.0)));
            Some(get(cache.load()))
        });
        // The cache is not available while the thread ends, or while an old table is dropped.
        match looked {
            Ok(Some(found)) => found,
            Ok(None) | Err(_) => get(&self.0.load()),
        }
    }
}
