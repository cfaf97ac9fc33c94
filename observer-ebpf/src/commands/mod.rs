//! What user space runs on demand through `BPF_PROG_TEST_RUN`: never attached to anything.

mod calibrate;
mod current_net;
mod follow;
mod gather;
mod peek;
mod take_baseline;
