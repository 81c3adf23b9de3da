//! A JSON payload takes no more memory than it came in, however many values are in it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use dcf_shim::payload::{Output, ResultPart, Task};

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, watched.
struct Watched;

// SAFETY: every call goes to `System` as it came, whose contract is the same.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Relaxed) + layout.size();
        MOST.fetch_max(held, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// Bytes held at most while `work` runs, more than before.
fn most(work: impl FnOnce()) -> usize {
    let before = HELD.load(Relaxed);
    MOST.store(before, Relaxed);
    work();
    MOST.load(Relaxed) - before
}

#[test]
fn json_with_many_values_takes_no_more_memory_than_its_text() {
    let list = "0,".repeat(1 << 16);
    let members = "\"a\":0,".repeat(1 << 15);
    let deep = "[".repeat(1 << 17) + &"]".repeat(1 << 17);
    for inner in [
        format!("{{{members}\"id\":\"1\",\"text\":{{\"stop\":[{list}0]}}}}"),
        format!("{{\"id\":\"1\",\"text\":{{{members}\"stop\":{deep}}},\"final\":true}}"),
        format!("{{\"id\":\"1\",\"resume\":{{\"tokens\":[{list}0]}},\"tokens\":[{list}0]}}"),
    ] {
        let length = inner.len();
        let used = most(|| {
            let mut task = Task::read(inner.clone().into_bytes()).unwrap();
            task.seed(|| 5);
            assert!(task.size() <= 3 * length);
            let delivered = std::mem::take(&mut task.resume);
            drop(task.for_head(1, 1, &Output::default()));
            drop(delivered);
        });
        assert!(used <= 6 * length, "{used} bytes for a task of {length}");
        let used =
            most(|| drop(ResultPart::read(inner.clone().into_bytes()).unwrap().for_client(7)));
        assert!(used <= 6 * length, "{used} bytes for an answer of {length}");
    }
}
