//! The idle backends of one worker, the most recently used first.

/// Idle backends, each with the time it became idle.
#[derive(Debug)]
pub struct Shelf<B> {
    idle: Vec<(u64, B)>,
}

impl<B> Default for Shelf<B> {
    fn default() -> Self {
        Self { idle: Vec::new() }
    }
}

impl<B> Shelf<B> {
    /// Puts a backend back; `now` is in seconds and never falls.
    pub fn put(&mut self, backend: B, now: u64) {
        self.idle.push((now, backend));
    }

    /// The backend that was used last: its caches are warm.
    pub fn take(&mut self) -> Option<B> {
        self.idle.pop().map(|(_, backend)| backend)
    }

    /// The backend that has been idle longest.
    pub fn take_oldest(&mut self) -> Option<B> {
        (!self.idle.is_empty()).then(|| self.idle.remove(0).1)
    }

    /// Takes every backend that has been idle since `since` or longer.
    pub fn take_idle_since(&mut self, since: u64) -> Vec<B> {
        let fresh = self.idle.partition_point(|(at, _)| *at <= since);
        self.idle.drain(..fresh).map(|(_, backend)| backend).collect()
    }

    /// Takes every backend of which `unfit` says so.
    pub fn take_unfit(&mut self, mut unfit: impl FnMut(&mut B) -> bool) -> Vec<B> {
        self.idle.extract_if(.., |(_, backend)| unfit(backend)).map(|(_, backend)| backend).collect()
    }

    /// How many are idle.
    #[must_use]
    pub fn len(&self) -> usize {
        self.idle.len()
    }

    /// Whether none is idle.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.idle.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_returned_is_taken_first_and_the_oldest_expire() {
        let mut shelf = Shelf::default();
        shelf.put('a', 1);
        shelf.put('b', 2);
        shelf.put('c', 3);
        assert_eq!(shelf.take(), Some('c'));
        shelf.put('d', 3);
        assert_eq!(shelf.take_oldest(), Some('a'));
        shelf.idle.insert(0, (1, 'a'));
        assert_eq!(shelf.take(), Some('d'));
        assert_eq!(shelf.take_idle_since(1), ['a']);
        assert_eq!(shelf.take_unfit(|one| *one == 'b'), ['b']);
        assert!(shelf.is_empty());
    }
}
