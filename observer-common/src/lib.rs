#![no_std]
//! Plain data shared by the kernel programs and user space.
