//! The binary `detector`; all of its code is in the library.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    detector_user::cli::main()
}
