//! Tiny: everything is in the library.

use std::process::ExitCode;

use observer::counting::Watched;
use observer::live::check;

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::new().filter("OBSERVER_LOG")).init();
    observer::cli::main(Watched::open, || Ok(check()))
}
