//! The one loop that joins sources, the core and effects.
