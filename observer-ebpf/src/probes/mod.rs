//! One file per tracepoint or kernel function that is watched, named after it.

mod kfree_skb;
mod percpu_alloc_percpu;
mod percpu_free_percpu;
