//! What hirtectl prints: tables and lines, or JSON, on standard output, complaints on standard error.
//!
//! Names come from other computers, so every control character in them is printed escaped,
//! wherever the output goes.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
    io::{self, BufWriter, IsTerminal, Write},
};

use serde::Serialize;

use super::{error::Error, exit_status::ExitStatus, json};

/// The form in which data are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Tables and sentences for people.
    Text,
    /// One JSON object, `{"results":[…],"errors":[…]}`, at the end.
    Document,
    /// A JSON object on a line for each record, at once.
    Lines,
}

/// Standard output through one buffer.
pub(super) struct Output {
    writer: BufWriter<Box<dyn Write>>,
    is_terminal: bool,
    colours: bool,
    form: Form,
    /// Records and failures of [`Form::Document`] so far, joined by commas.
    results: String,
    failures: String,
    /// The first error; nothing is written after it.
    error: Option<io::Error>,
}

/// How a column of a table is laid out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    /// Its header.
    pub title: &'static str,
    /// It is never narrower than this many characters.
    pub min_width: usize,
    /// Its cells and its header stand at its right side.
    pub right: bool,
}

impl Column {
    /// A column at the left, as wide as its content.
    pub const fn left(title: &'static str) -> Self {
        Self {
            title,
            min_width: 0,
            right: false,
        }
    }

    /// The same with a least width.
    pub const fn at_least(self, min_width: usize) -> Self {
        Self { min_width, ..self }
    }

    /// The same at the right.
    pub const fn right(self) -> Self {
        Self {
            right: true,
            ..self
        }
    }
}

/// The look of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// What stands between two columns.
    pub separator: &'static str,
    /// What the rule below the header is made of, if there is one.
    pub rule: Option<char>,
}

/// The colour of a cell on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    /// The terminal's own.
    Plain,
    /// All is well.
    Green,
    /// Attention.
    Red,
}

impl Colour {
    /// The colour of an active state of systemd or of a node's state.
    pub fn of_state(state: &str) -> Self {
        match state {
            "active" | "online" => Self::Green,
            "failed" | "offline" | "not-found" | "error" | "bad-setting" => Self::Red,
            _ => Self::Plain,
        }
    }

    /// The control sequence that selects it (ECMA-48, SGR).
    const fn sequence(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Green => Some("\x1b[32m"),
            Self::Red => Some("\x1b[31m"),
        }
    }
}

/// One cell of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell<'a> {
    text: &'a str,
    colour: Colour,
}

impl<'a> Cell<'a> {
    /// A state, in its colour.
    pub fn state(text: &'a str) -> Self {
        Self {
            text,
            colour: Colour::of_state(text),
        }
    }
}

impl<'a> Cell<'a> {
    /// Any text in a colour.
    pub const fn coloured(text: &'a str, colour: Colour) -> Self {
        Self { text, colour }
    }
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(text: &'a str) -> Self {
        Self {
            text,
            colour: Colour::Plain,
        }
    }
}

impl Output {
    /// The process's standard output; with colours if that is a terminal that has them and the
    /// user has not declined them (no-color.org).
    pub fn stdout() -> Self {
        let stdout = io::stdout();
        let declined = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let is_terminal = stdout.is_terminal() && !dumb;
        Self {
            is_terminal,
            ..Self::new(Box::new(stdout), is_terminal && !declined)
        }
    }

    fn new(writer: Box<dyn Write>, colours: bool) -> Self {
        Self {
            writer: BufWriter::new(writer),
            is_terminal: false,
            colours,
            form: Form::Text,
            results: String::new(),
            failures: String::new(),
            error: None,
        }
    }

    /// Prints data in this form from here on.
    pub fn set_form(&mut self, form: Form) {
        self.form = form;
    }

    /// Whether people read: then lines and tables are printed, otherwise records.
    pub fn is_text(&self) -> bool {
        self.form == Form::Text
    }

    /// Whether a view on a terminal is shown that can be wiped.
    pub fn is_screen(&self) -> bool {
        self.is_text() && self.is_terminal
    }

    /// Prints one record for scripts; nothing if people read.
    pub fn record(&mut self, record: &impl Serialize) {
        self.json(&json::text(record), false);
    }

    fn json(&mut self, text: &str, is_failure: bool) {
        let list = match self.form {
            Form::Text => return,
            Form::Lines => {
                self.text(text);
                self.text("\n");
                return self.flush();
            }
            Form::Document if is_failure => &mut self.failures,
            Form::Document => &mut self.results,
        };
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(text);
    }

    /// Complains of a failure; the exit status that it amounts to.
    pub fn fail(&mut self, failure: &Error) -> ExitStatus {
        self.complain(failure);
        let status = failure.status();
        if !self.is_text() {
            let message = failure.to_string();
            let failure = Failure {
                event: (self.form == Form::Lines).then_some("error"),
                node: failure.node(),
                message: &message,
                status: status.number(),
            };
            self.json(&json::text(&failure), true);
        }
        status
    }

    /// Wipes a terminal for the next view.
    pub fn wipe(&mut self) {
        if self.is_screen() {
            // ECMA-48: erase the page (ED), and go to its first place (CUP).
            self.text("\x1b[2J\x1b[H");
        }
    }

    /// Prints our own text as it is.
    pub fn text(&mut self, text: &str) {
        if self.error.is_none() {
            self.error = self.writer.write_all(text.as_bytes()).err();
        }
    }

    /// Prints one line for people, escaped.
    pub fn line(&mut self, line: &str) {
        if self.is_text() {
            self.text(&escape(line));
            self.text("\n");
        }
    }

    /// Prints one line for people of cells without space between them.
    pub fn line_of(&mut self, cells: &[Cell<'_>]) {
        if self.is_text() {
            let mut line = String::new();
            for cell in cells {
                self.paint(&mut line, *cell);
            }
            line.push('\n');
            self.text(&line);
        }
    }

    /// Appends the text of a cell in its colour.
    fn paint(&self, line: &mut String, cell: Cell<'_>) {
        let text = escape(cell.text);
        match cell.colour.sequence().filter(|_| self.colours) {
            Some(sequence) => {
                line.push_str(sequence);
                line.push_str(&text);
                line.push_str("\x1b[0m");
            }
            None => line.push_str(&text),
        }
    }

    /// Prints one line for people, escaped, that belongs to the line before.
    pub fn line_in(&mut self, line: &str) {
        if self.is_text() {
            self.text("\t");
            self.line(line);
        }
    }

    /// Prints a table for people; `cells` are the rows one after the other. The last column ends where its
    /// text ends.
    pub fn table(&mut self, look: Look, columns: &[Column], cells: &[Cell<'_>]) {
        if !self.is_text() {
            return;
        }
        let mut widths: Vec<usize> = columns
            .iter()
            .map(|column| column.min_width.max(column.title.len()))
            .collect();
        for row in cells.chunks_exact(columns.len()) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(escape(cell.text).chars().count());
            }
        }
        let titles: Vec<Cell<'_>> = columns.iter().map(|column| column.title.into()).collect();
        let mut line = String::new();
        self.row(&mut line, look, columns, &widths, &titles);
        if let Some(rule) = look.rule {
            let separators = look.separator.len() * (columns.len() - 1);
            let width = widths.iter().sum::<usize>() + separators;
            self.text(
                &std::iter::repeat_n(rule, width)
                    .chain(['\n'])
                    .collect::<String>(),
            );
        }
        for row in cells.chunks_exact(columns.len()) {
            if self.error.is_some() {
                return;
            }
            self.row(&mut line, look, columns, &widths, row);
        }
    }

    fn row(
        &mut self,
        line: &mut String,
        look: Look,
        columns: &[Column],
        widths: &[usize],
        row: &[Cell<'_>],
    ) {
        line.clear();
        for (index, ((column, &width), cell)) in columns.iter().zip(widths).zip(row).enumerate() {
            if index > 0 {
                line.push_str(look.separator);
            }
            let text = escape(cell.text);
            let padding = width - text.chars().count();
            if column.right {
                line.extend(std::iter::repeat_n(' ', padding));
            }
            self.paint(line, *cell);
            if !column.right && index + 1 < columns.len() {
                line.extend(std::iter::repeat_n(' ', padding));
            }
        }
        line.push('\n');
        self.text(line);
    }

    /// Prints one plain line on standard error, after all that was printed before. If that can not
    /// be written there is nobody left to tell.
    pub fn complain(&mut self, complaint: &dyn fmt::Display) {
        self.flush();
        let _ = writeln!(io::stderr(), "{}", escape(&complaint.to_string()));
    }

    /// Complains of each of several failures; the exit status that they amount to.
    pub fn complain_of_each<'e>(
        &mut self,
        failures: impl IntoIterator<Item = &'e Error>,
    ) -> ExitStatus {
        ExitStatus::of_parts(failures.into_iter().map(|failure| self.fail(failure)))
    }

    /// Writes out the buffer and tells whether all could be written. A reader that had enough
    /// (`hirtectl list-units | head -1`) is no error.
    pub fn finish(mut self) -> io::Result<()> {
        if self.form == Form::Document {
            let (results, failures) = (
                std::mem::take(&mut self.results),
                std::mem::take(&mut self.failures),
            );
            for part in [
                "{\"results\":[",
                &results,
                "],\"errors\":[",
                &failures,
                "]}\n",
            ] {
                self.text(part);
            }
        }
        self.flush();
        match self.error {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether nothing can be written any more.
    pub const fn is_closed(&self) -> bool {
        self.error.is_some()
    }

    /// Writes out what was printed so far, for who watches the progress.
    pub fn flush(&mut self) {
        if self.error.is_none() {
            self.error = self.writer.flush().err();
        }
    }
}

/// What is printed for people, without colours, as lines.
#[cfg(feature = "top")]
pub(super) fn lines_of(print: impl FnOnce(&mut Output)) -> Vec<String> {
    #[derive(Clone, Default)]
    struct Page(std::rc::Rc<std::cell::RefCell<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let page = Page::default();
    let mut output = Output::new(Box::new(page.clone()), false);
    print(&mut output);
    output.flush();
    let text = String::from_utf8_lossy(&page.0.borrow()).into_owned();
    text.lines().map(str::to_owned).collect()
}

/// A failure as JSON.
#[derive(Serialize)]
struct Failure<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'static str>,
    node: Option<&'a str>,
    message: &'a str,
    status: u8,
}

/// Replaces control characters, and the characters that reorder or break what stands beside them,
/// by `\xNN` or `\u{NNNN}`.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        let code = u32::from(character);
        // Writing to a String does not fail.
        let _ = match character {
            _ if !is_hostile(character) => escaped.write_char(character),
            '\0'..='\x7f' => write!(escaped, "\\x{code:02x}"),
            _ => write!(escaped, "\\u{{{code:x}}}"),
        };
    }
    Cow::Owned(escaped)
}

/// Control characters, separators of lines, and the directional characters of Unicode
/// (Bidirectional Algorithm, UAX #9, section 2).
pub(crate) fn is_hostile(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn print(colours: bool, print: impl FnOnce(&mut Output)) -> String {
        let page = Page::default();
        let mut output = Output::new(Box::new(page.clone()), colours);
        print(&mut output);
        output.finish().unwrap();
        let bytes = page.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    const COLUMNS: [Column; 3] = [
        Column::left("NODE").at_least(6),
        Column::left("ACTIVE").right(),
        Column::left("IP"),
    ];
    const LOOK: Look = Look {
        separator: "|",
        rule: Some('='),
    };

    #[test]
    fn columns_are_as_wide_as_their_content() {
        let cells = ["a", "active", "10.0.0.1", "a-long-name", "failed", "-"].map(Cell::from);
        assert_eq!(
            print(false, |output| output.table(LOOK, &COLUMNS, &cells)),
            "NODE       |ACTIVE|IP\n\
             ===========================\n\
             a          |active|10.0.0.1\n\
             a-long-name|failed|-\n"
        );
        assert_eq!(
            print(false, |output| output.table(LOOK, &COLUMNS, &[])),
            "NODE  |ACTIVE|IP\n================\n"
        );
    }

    #[test]
    fn colours_do_not_move_columns() {
        let cells = ["a".into(), Cell::state("failed"), "b".into()];
        let look = Look {
            separator: " ",
            rule: None,
        };
        let columns = COLUMNS.map(|column| column.at_least(8));
        assert_eq!(
            print(true, |output| output.table(look, &columns, &cells)),
            "NODE       ACTIVE IP\na          \x1b[31mfailed\x1b[0m b\n"
        );
        assert_eq!(
            print(false, |output| output.table(look, &columns, &cells)),
            "NODE       ACTIVE IP\na          failed b\n"
        );
    }

    #[test]
    fn nothing_that_steers_a_terminal_is_printed() {
        for (text, escaped) in [
            ("dev-\\x2d.device ü", "dev-\\x2d.device ü"),
            ("a\x1b[31m\r\nb\x7f", "a\\x1b[31m\\x0d\\x0ab\\x7f"),
            ("a\u{9b}b\u{202e}c\u{2028}", "a\\u{9b}b\\u{202e}c\\u{2028}"),
        ] {
            assert_eq!(escape(text), escaped);
        }
        let cells = ["a\tb", "x", "y"].map(Cell::from);
        assert!(print(false, |output| output.table(LOOK, &COLUMNS, &cells)).contains("a\\x09b|"));
        assert_eq!(print(true, |output| output.line("a\x1bb")), "a\\x1bb\n");
    }

    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_a_reader_who_left_is_no_error() {
        for (kind, is_error) in [
            (io::ErrorKind::BrokenPipe, false),
            (io::ErrorKind::StorageFull, true),
        ] {
            let mut output = Output::new(Box::new(Broken(kind)), false);
            output.line("a");
            assert_eq!(output.finish().is_err(), is_error);
        }
    }
}
