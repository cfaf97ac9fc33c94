//! The processors that observer is built for, and what others call them.

use std::fmt;

/// A processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Processor {
    /// 64 bits of Intel and AMD
    #[value(name = "x86_64")]
    X86_64,
    /// 64 bits of ARM
    #[value(name = "aarch64")]
    Aarch64,
}

impl Processor {
    /// Each of them.
    pub const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// That of this machine.
    pub const fn here() -> Self {
        if cfg!(target_arch = "aarch64") {
            Self::Aarch64
        } else {
            Self::X86_64
        }
    }

    /// Whether it is that of this machine.
    pub fn is_here(self) -> bool {
        self == Self::here()
    }

    /// As the kernel, Rust and rpm name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// As Debian and images of containers name it.
    pub const fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// Rust's target for programs of user space.
    pub const fn target(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-gnu",
            Self::Aarch64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// A tool that works on programs of this processor, such as `gcc` or `strip`.
    pub fn tool(self, name: &str) -> String {
        if self.is_here() {
            name.to_owned()
        } else {
            format!("{}-linux-gnu-{name}", self.name().replace('_', "-"))
        }
    }
}

impl fmt::Display for Processor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
