//! What effects do.

pub mod board;
