//! Two ways to read a structure of the kernel: through a pointer whose type the verifier knows, which costs one load,
//! or through a plain address, which costs a helper's call where the kernel has no [`cast`].

use observer_common::ABSENT;

use crate::cast;

/// A structure of the kernel.
pub trait Look: Copy {
    /// Its address.
    fn address(self) -> u64;

    /// The `T` at an offset; zero if this kernel has no such field or it cannot be read.
    fn load<T: Copy + Default>(self, offset: u32) -> T;

    /// The structure that an address points to, as it was loaded from a field of this one.
    fn follow(self, address: u64) -> Self;
}

/// An argument of a function that the kernel describes (fentry, fexit): the verifier checks each access.
#[derive(Clone, Copy)]
pub struct Typed(pub *const u8);

impl Look for Typed {
    #[inline(always)]
    fn address(self) -> u64 {
        self.0 as u64
    }

    #[inline(always)]
    fn load<T: Copy + Default>(self, offset: u32) -> T {
        if offset == ABSENT {
            return T::default();
        }
        // SAFETY: the verifier checks the access, and the kernel makes a load that faults read zero.
        unsafe { self.0.add(offset as usize).cast::<T>().read_volatile() }
    }

    /// The verifier knows the type of what a typed pointer's field points to.
    #[inline(always)]
    fn follow(self, address: u64) -> Self {
        Self(address as *const u8)
    }
}

/// A plain address (kprobe).
#[derive(Clone, Copy)]
pub struct Plain(pub u64);

impl Look for Plain {
    #[inline(always)]
    fn address(self) -> u64 {
        self.0
    }

    #[inline(always)]
    fn load<T: Copy + Default>(self, offset: u32) -> T {
        if offset == ABSENT {
            return T::default();
        }
        cast::load(self.0 + u64::from(offset))
    }

    #[inline(always)]
    fn follow(self, address: u64) -> Self {
        Self(address)
    }
}
