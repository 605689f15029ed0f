//! Carries out the effects that the core asks for.

pub mod destroy;
pub mod protect;
