//! Where a name is looked up: by every call, so as cheaply as can be.

use std::{cell::RefCell, collections::HashMap, ptr, sync::Arc};

use arc_swap::{ArcSwap, Cache};
use foldhash::fast::RandomState;

use super::Slot;

/// Every name that leads to a watched peer.
pub(super) type Table = HashMap<Box<str>, Arc<Slot>, RandomState>;

/// The table as it is now: replaced whole, never changed.
#[derive(Default)]
pub(super) struct SharedTable(Arc<ArcSwap<Table>>);

/// A thread's own hold on a table.
type Last = Cache<Arc<ArcSwap<Table>>, Arc<Table>>;

thread_local! {
    /// The table that this thread looked into last. As long as nobody replaced it, to look
    /// again takes a plain read, where to take hold of the shared one takes two locked
    /// instructions. A thread that looks no more keeps the memory of one old table.
    static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
}

impl SharedTable {
    pub(super) fn replace(&self, table: Table) {
        self.0.store(Arc::new(table));
    }

    /// What the table holds, as `get` finds it there.
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
        // Not while the thread ends, nor within the end of an old table.
        match looked {
            Ok(Some(found)) => found,
            Ok(None) | Err(_) => get(&self.0.load()),
        }
    }
}
