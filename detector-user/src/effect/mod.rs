//! What effects do.

pub mod destroy;
pub mod protect;
