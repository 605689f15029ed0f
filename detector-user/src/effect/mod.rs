//! What effects do.

pub mod board;
pub mod destroy;
pub mod protect;
