//! The row in a list that is chosen, and the part of the list that is seen.

/// Where one is in a list whose rows come and go: the cursor stays on its row, not on its place.
#[derive(Clone, Debug)]
pub(in crate::top) struct Cursor<K> {
    /// The row; none before there was one.
    key: Option<K>,
    index: usize,
    /// The first row that is seen.
    first: usize,
    /// How many rows are seen.
    height: usize,
}

impl<K> Default for Cursor<K> {
    fn default() -> Self {
        Self {
            key: None,
            index: 0,
            first: 0,
            height: 1,
        }
    }
}

impl<K> Cursor<K> {
    /// On the row of this key, once there is one.
    pub fn on(key: K) -> Self {
        Self {
            key: Some(key),
            ..Self::default()
        }
    }

    pub fn key(&self) -> Option<&K> {
        self.key.as_ref()
    }

    /// The place of the chosen row.
    pub const fn index(&self) -> usize {
        self.index
    }

    /// The place of the first row that is seen.
    pub const fn first(&self) -> usize {
        self.first
    }

    /// How many rows are seen.
    pub const fn height(&self) -> usize {
        self.height
    }

    /// So many rows are seen from here on.
    pub fn set_height(&mut self, height: usize) {
        self.height = height.max(1);
    }

    /// Takes the list as it is: `len` rows, the chosen one in the place `found`, and what is in a
    /// place. Where the chosen row is gone, the one that took its place is chosen.
    pub fn settle(&mut self, len: usize, found: Option<usize>, key_at: impl FnOnce(usize) -> K) {
        match found {
            Some(index) => self.index = index,
            None if len == 0 => self.index = 0,
            None => {
                self.index = self.index.min(len - 1);
                self.key = Some(key_at(self.index));
            }
        }
        self.show(len);
    }

    /// Goes to a place, as near as the list allows.
    pub fn go(&mut self, len: usize, index: usize, key_at: impl FnOnce(usize) -> K) {
        if len > 0 {
            self.index = index.min(len - 1);
            self.key = Some(key_at(self.index));
        }
        self.show(len);
    }

    /// Has the chosen row be seen, and no more room below the last row than needed.
    fn show(&mut self, len: usize) {
        let last_first = len.saturating_sub(self.height);
        self.first = self
            .first
            .min(self.index)
            .max((self.index + 1).saturating_sub(self.height))
            .min(last_first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(cursor: &mut Cursor<char>, list: &str) {
        let rows: Vec<char> = list.chars().collect();
        let found = cursor
            .key()
            .and_then(|key| rows.iter().position(|row| row == key));
        cursor.settle(rows.len(), found, |index| rows[index]);
    }

    #[test]
    fn the_cursor_stays_on_its_row() {
        let mut cursor = Cursor::on('c');
        settle(&mut cursor, "abcd");
        assert_eq!((cursor.key(), cursor.index()), (Some(&'c'), 2));
        settle(&mut cursor, "0abcd");
        assert_eq!((cursor.key(), cursor.index()), (Some(&'c'), 3));
        settle(&mut cursor, "0abd");
        assert_eq!((cursor.key(), cursor.index()), (Some(&'d'), 3));
        settle(&mut cursor, "0");
        assert_eq!((cursor.key(), cursor.index()), (Some(&'0'), 0));
        settle(&mut cursor, "");
        settle(&mut cursor, "xyz0");
        assert_eq!((cursor.key(), cursor.index()), (Some(&'0'), 3));
    }

    #[test]
    fn the_chosen_row_is_seen() {
        let mut cursor = Cursor::default();
        cursor.set_height(3);
        let rows: Vec<char> = "abcdefgh".chars().collect();
        for (index, first) in [(0, 0), (2, 0), (3, 1), (100, 5), (5, 5), (4, 4), (0, 0)] {
            cursor.go(rows.len(), index, |index| rows[index]);
            assert_eq!(cursor.first(), first, "{index}");
        }
        cursor.go(rows.len(), 7, |index| rows[index]);
        settle(&mut cursor, "fgh");
        assert_eq!((cursor.first(), cursor.key()), (0, Some(&'h')));
    }
}
