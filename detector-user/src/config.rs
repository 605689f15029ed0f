//! What an operator sets: a TOML file, flags, or both.
