//! What holds and what does not.
