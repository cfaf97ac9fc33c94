//! One file per tracepoint or kernel function that is watched, named after it.

mod hook_function;
mod kfree_skb;
mod nf_hook_slow;
mod nft_do_chain;
mod nft_eval;
mod nft_immediate_eval;
mod nft_trace_packet;
mod percpu_alloc_percpu;
mod percpu_free_percpu;
