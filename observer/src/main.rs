//! Tiny: everything is in the library.

use std::process::ExitCode;

use observer::live::{Live, check};

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::new().filter("OBSERVER_LOG")).init();
    observer::cli::main(Live::open, || Ok(check()))
}
