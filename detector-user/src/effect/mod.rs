//! What effects do.

pub mod board;
pub mod protect;
