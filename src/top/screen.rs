//! The terminal: taken over, written to, and given back whatever happens.

use std::{
    fmt::Write as _,
    io,
    os::fd::AsFd,
    panic,
    sync::{Mutex, Once, PoisonError},
};

use ratatui_core::{
    backend::{Backend, ClearType, WindowSize},
    buffer::Cell,
    layout::{Position, Size},
    style::{Color, Modifier},
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    termios::{OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr},
};

/// How the terminal was before; none while it is not ours.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

static LEAVES_ON_PANIC: Once = Once::new();

/// The second screen of xterm and all that follow it, without a cursor, empty.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[0m\x1b[2J\x1b[H";
/// Emptied for terminals that have one screen only.
const LEAVE: &str = "\x1b[0m\x1b[2J\x1b[H\x1b[?25h\x1b[?1049l";

/// Takes the terminal over, from which keys come one by one from here on. It is given back by
/// [`leave`], and before the message of a panic.
pub(super) fn enter() -> io::Result<()> {
    let stdin = io::stdin();
    {
        let mut before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
        if before.is_none() {
            *before = Some(tcgetattr(&stdin)?);
            LEAVES_ON_PANIC.call_once(|| {
                let usual = panic::take_hook();
                panic::set_hook(Box::new(move |panic| {
                    leave();
                    usual(panic);
                }));
            });
        }
        if let Some(before) = &*before {
            let mut raw = before.clone();
            raw.make_raw();
            // Reads never wait: the reactor does.
            raw.special_codes[SpecialCodeIndex::VMIN] = 0;
            raw.special_codes[SpecialCodeIndex::VTIME] = 0;
            tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        }
    }
    write(ENTER.as_bytes())
}

/// Gives the terminal back as it was; nothing where it is not ours.
pub(super) fn leave() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        // A terminal that is gone needs nothing.
        let _ = write(LEAVE.as_bytes());
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
    }
}

/// Writes all of it, past any buffer.
fn write(mut bytes: &[u8]) -> io::Result<()> {
    let stdout = io::stdout();
    while !bytes.is_empty() {
        match rustix::io::write(&stdout, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(rustix::io::Errno::INTR) => {}
            // Whoever else has the terminal may have had it not block.
            Err(rustix::io::Errno::AGAIN) => {
                let fd = stdout.as_fd();
                poll(&mut [PollFd::new(&fd, PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// What is drawn, in the control sequences of ECMA-48 that every terminal has. Each picture is written
/// at once.
#[derive(Debug, Default)]
pub(super) struct Screen {
    text: String,
}

impl Screen {
    fn style(&mut self, cell: &Cell) {
        self.text.push_str("\x1b[0");
        for (modifier, code) in [
            (Modifier::BOLD, ";1"),
            (Modifier::DIM, ";2"),
            (Modifier::REVERSED, ";7"),
        ] {
            if cell.modifier.contains(modifier) {
                self.text.push_str(code);
            }
        }
        self.text.push_str(match cell.fg {
            Color::Red => ";31m",
            Color::Green => ";32m",
            _ => "m",
        });
    }

    fn go(&mut self, x: u16, y: u16) {
        // Writing to a String does not fail.
        let _ = write!(self.text, "\x1b[{};{}H", y + 1, x + 1);
    }
}

impl Backend for Screen {
    type Error = io::Error;

    fn draw<'a, I>(&mut self, content: I) -> io::Result<()>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        let mut next = None;
        let mut style = None;
        for (x, y, cell) in content {
            if next != Some((x, y)) {
                self.go(x, y);
            }
            if style != Some((cell.fg, cell.modifier)) {
                self.style(cell);
                style = Some((cell.fg, cell.modifier));
            }
            self.text.push_str(cell.symbol());
            // Wide characters take two places, and what follows them is told again.
            next = cell.symbol().is_ascii().then_some((x + 1, y));
        }
        self.text.push_str("\x1b[0m");
        Ok(())
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        self.text.push_str("\x1b[?25l");
        Ok(())
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        self.text.push_str("\x1b[?25h");
        Ok(())
    }

    fn get_cursor_position(&mut self) -> io::Result<Position> {
        // Nothing here depends on it, and to ask the terminal would be a wait.
        Ok(Position::ORIGIN)
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        let Position { x, y } = position.into();
        self.go(x, y);
        Ok(())
    }

    fn clear(&mut self) -> io::Result<()> {
        self.text.push_str("\x1b[0m\x1b[2J");
        Ok(())
    }

    fn clear_region(&mut self, _: ClearType) -> io::Result<()> {
        self.clear()
    }

    fn size(&self) -> io::Result<Size> {
        let size = tcgetwinsize(io::stdout())?;
        // A serial line knows no size; then it is that of a VT100.
        let or = |value, usual| if value == 0 { usual } else { value };
        Ok(Size::new(or(size.ws_col, 80), or(size.ws_row, 24)))
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        Ok(WindowSize {
            columns_rows: self.size()?,
            pixels: Size::ZERO,
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = write(self.text.as_bytes());
        self.text.clear();
        written
    }
}

#[cfg(test)]
mod tests {
    use std::{env, process::Command};

    use ratatui_core::{buffer::Buffer, layout::Rect, style::Style};

    use super::*;

    const PANICS: &str = "top::screen::tests::takes_the_terminal_and_panics";

    /// Runs only in the terminal that the next test has made.
    #[test]
    #[ignore = "needs a terminal of its own"]
    fn takes_the_terminal_and_panics() {
        enter().unwrap();
        panic!("as it must");
    }

    #[test]
    fn a_panic_gives_the_terminal_back_before_its_message() {
        let program = env::current_exe().unwrap();
        let run = format!(
            "stty -g; '{}' --ignored --exact {PANICS} --nocapture; stty -g",
            program.display()
        );
        // A terminal of its own (script(1)).
        let output = Command::new("script")
            .args(["-qec", &run, "/dev/null"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let (before, rest) = said.split_once('\n').unwrap();
        let after = rest.trim_end().lines().last().unwrap();
        assert_eq!(before.trim_end(), after, "{said}");
        let place = |text| {
            said.find(text)
                .unwrap_or_else(|| panic!("{text:?}: {said}"))
        };
        let places = [ENTER, LEAVE, "as it must"].map(place);
        assert!(places.is_sorted(), "{said}");
    }

    /// A terminal that takes another number of places for a character than we do spoils one row only up
    /// to the next character.
    #[test]
    fn what_follows_a_wide_character_is_told_its_place() {
        let mut before = Buffer::empty(Rect::new(0, 0, 6, 1));
        before.set_string(0, 0, "abcdef", Style::new());
        let mut after = before.clone();
        after.set_string(0, 0, "x日yz", Style::new());
        let mut screen = Screen::default();
        screen.draw(before.diff(&after).into_iter()).unwrap();
        let text = "\x1b[1;1H\x1b[0mx日\x1b[1;4Hyz\x1b[0m";
        assert_eq!(screen.text, text);
    }
}
