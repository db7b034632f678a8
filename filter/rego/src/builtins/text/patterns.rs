//! Compiled patterns, kept between calls and queries, bounded.

/// Compiled regular expressions, globs and the like.
#[derive(Debug, Default)]
pub struct PatternCache {}

impl PatternCache {
    /// An empty one.
    pub fn new() -> PatternCache {
        PatternCache::default()
    }
}
