//! Where the parts of the picture are, by the size of the terminal.

use ratatui_core::layout::Rect;

use super::state::{Heights, Pane};

/// Below this size one list has the whole screen.
const WIDE: u16 = 70;
const HIGH: u16 = 16;

/// Places; a part that is not shown has no area.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    pub header: Rect,
    pub nodes: Rect,
    pub units: Rect,
    pub jobs: Rect,
    pub log: Rect,
    /// Of the page or the help, over all lists.
    pub page: Rect,
    pub footer: Rect,
    /// Whether there is one list at a time.
    pub is_small: bool,
}

impl Places {
    /// The places on a terminal of this size with this list in focus.
    pub fn of(area: Rect, focus: Pane) -> Self {
        let line = |y| Rect {
            y,
            height: 1.min(area.height),
            ..area
        };
        let page = Rect {
            y: area.y + 1,
            height: area.height.saturating_sub(2),
            ..area
        };
        let mut places = Self {
            header: line(area.y),
            footer: line((area.y + area.height).saturating_sub(1)),
            page,
            ..Self::default()
        };
        if area.width < WIDE || area.height < HIGH {
            places.is_small = true;
            *places.pane_mut(focus) = page;
            return places;
        }
        // Of what is below the header a third is for what happens.
        let lower = (page.height / 3).min(20);
        let left = (page.width * 3 / 10).min(44);
        let (gap, right) = (1, page.width - left);
        let upper = Rect {
            height: page.height - lower,
            ..page
        };
        let lower = Rect {
            y: upper.y + upper.height,
            height: lower,
            ..page
        };
        let split = |area: Rect| {
            let first = Rect {
                width: left - gap,
                ..area
            };
            let second = Rect {
                x: area.x + left,
                width: right,
                ..area
            };
            (first, second)
        };
        (places.nodes, places.units) = split(upper);
        (places.jobs, places.log) = split(lower);
        places
    }

    fn pane_mut(&mut self, pane: Pane) -> &mut Rect {
        match pane {
            Pane::Nodes => &mut self.nodes,
            Pane::Units => &mut self.units,
            Pane::Jobs => &mut self.jobs,
            Pane::Log => &mut self.log,
        }
    }

    /// The place of a list.
    pub const fn pane(&self, pane: Pane) -> Rect {
        match pane {
            Pane::Nodes => self.nodes,
            Pane::Units => self.units,
            Pane::Jobs => self.jobs,
            Pane::Log => self.log,
        }
    }

    /// How many rows each list has: below its title, and units below their header, too.
    pub fn heights(&self) -> Heights {
        let below = |area: Rect, lines: u16| usize::from(area.height.saturating_sub(lines));
        Heights {
            nodes: below(self.nodes, 1),
            units: below(self.units, 2),
            jobs: below(self.jobs, 1),
            log: below(self.log, 1),
            page: below(self.page, 1),
        }
    }
}

/// The columns of units, as many as there is room for.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    all: Vec<(&'static str, u16, u16)>,
}

impl Columns {
    /// Those of a list of this width, of one node or of all.
    pub fn of(width: u16, has_node: bool) -> Self {
        // "deactivating" and "auto-restart", or "inactive" and "listening".
        let (active, sub) = if width >= 100 { (12, 12) } else { (8, 9) };
        let fixed = [
            ("NODE", if has_node { 12 } else { 0 }),
            ("UNIT", 0),
            ("LOAD", if width >= 76 { 9 } else { 0 }),
            ("ACTIVE", active),
            ("SUB", sub),
        ];
        let taken: u16 = fixed
            .iter()
            .map(|(_, width)| width + u16::from(*width > 0))
            .sum();
        let left = width.saturating_sub(taken);
        // Names are what one looks for; a description needs a place worth it.
        let unit = if left >= 50 { left * 11 / 20 } else { left };
        let mut columns = Self { all: Vec::new() };
        let mut x = 0;
        let mut add = |title, width: u16| {
            if width > 0 {
                columns.all.push((title, x, width));
                x += width + 1;
            }
        };
        for (title, width) in fixed {
            add(title, if title == "UNIT" { unit } else { width });
        }
        add("DESCRIPTION", (left - unit).saturating_sub(1));
        columns
    }

    /// Title, first column on the screen and width of each.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u16, u16)> {
        self.all.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_parts_overlap_at_any_size() {
        for width in 0..200 {
            for height in 0..70 {
                let area = Rect::new(0, 0, width, height);
                for focus in Pane::ALL {
                    let places = Places::of(area, focus);
                    let mut parts = vec![places.header, places.footer];
                    parts.extend(Pane::ALL.map(|pane| places.pane(pane)));
                    parts.retain(|part| !part.is_empty());
                    for (index, part) in parts.iter().enumerate() {
                        assert_eq!(part.intersection(area), *part, "{width}x{height}");
                        let overlaps = parts[..index].iter().any(|other| part.intersects(*other));
                        assert!(!overlaps || height < 2, "{width}x{height} {places:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn columns_stand_side_by_side_and_names_have_most() {
        for width in 0..300 {
            for has_node in [false, true] {
                let columns: Vec<_> = Columns::of(width, has_node).all().collect();
                for pair in columns.windows(2) {
                    assert_eq!(pair[1].1, pair[0].1 + pair[0].2 + 1, "{columns:?}");
                }
                let last = columns.last().map_or(0, |(_, x, width)| x + width);
                assert!(width < 40 || last <= width, "{width}: {columns:?}");
                let unit = columns.iter().find(|(title, ..)| *title == "UNIT");
                assert!(width < 40 || unit.is_some_and(|(.., width)| *width >= 8));
            }
        }
    }

    #[test]
    fn a_small_terminal_has_one_list() {
        let places = Places::of(Rect::new(0, 0, 40, 10), Pane::Log);
        assert!(places.is_small && places.nodes.is_empty() && places.units.is_empty());
        assert_eq!(places.heights().log, 7);
        let places = Places::of(Rect::new(0, 0, 80, 24), Pane::Log);
        assert!(!places.is_small);
        let heights = places.heights();
        assert_eq!(
            (heights.nodes, heights.units, heights.jobs, heights.log),
            (14, 13, 6, 6)
        );
    }
}
