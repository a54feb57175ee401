//! How the live view looks: its colours, and how much it shows of what a running step writes.
//!
//! Docker's variables have it: `BUILDKIT_COLORS` is a list such as
//! `run=123,20,245:error=yellow:cancel=blue:warning=white`, and `BUILDKIT_TTY_LOG_LINES` a number.

/// Lines of output shown below a running step, unless it is said.
const LOG_LINES: usize = 6;

/// Colours by name, each with its number among those of a terminal.
const NAMES: [(&str, u8); 16] = [
    ("black", 30),
    ("red", 31),
    ("green", 32),
    ("yellow", 33),
    ("blue", 34),
    ("magenta", 35),
    ("cyan", 36),
    ("white", 37),
    ("light-black", 90),
    ("light-red", 91),
    ("light-green", 92),
    ("light-yellow", 93),
    ("light-blue", 94),
    ("light-magenta", 95),
    ("light-cyan", 96),
    ("light-white", 97),
];

/// A colour of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Color {
    /// One of the sixteen, by its number.
    Named(u8),
    /// Red, green and blue.
    Rgb(u8, u8, u8),
}

impl Color {
    /// Returns what selects the colour (ECMA-48, SGR).
    pub(super) fn code(self) -> String {
        match self {
            Self::Named(number) => number.to_string(),
            Self::Rgb(red, green, blue) => format!("38;2;{red};{green};{blue}"),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let name = text.to_ascii_lowercase();
        if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
            return Some(Self::Named(*number));
        }
        let parts: Vec<u8> = text
            .split(',')
            .map(|part| part.trim().parse().ok())
            .collect::<Option<_>>()?;
        match parts[..] {
            [red, green, blue] => Some(Self::Rgb(red, green, blue)),
            _ => None,
        }
    }
}

/// How the live view looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    pub(super) run: Color,
    pub(super) error: Color,
    pub(super) cancel: Color,
    pub(super) warning: Color,
    pub(super) log_lines: usize,
}

impl Default for Look {
    fn default() -> Self {
        Self {
            run: Color::Named(34),
            error: Color::Named(31),
            cancel: Color::Named(33),
            warning: Color::Named(33),
            log_lines: LOG_LINES,
        }
    }
}

impl Look {
    /// Returns what the two variables ask for, and what is wrong with them, which is ignored.
    pub fn of(colors: Option<&str>, log_lines: Option<&str>) -> (Self, Vec<String>) {
        let mut look = Self::default();
        let mut problems = Vec::new();
        let fields = colors.unwrap_or_default().split(':');
        for field in fields.filter(|field| !field.is_empty()) {
            if let Err(problem) = look.set(field.trim_matches('"')) {
                problems.push(format!("BUILDKIT_COLORS: {problem}"));
            }
        }
        if let Some(text) = log_lines.filter(|text| !text.is_empty()) {
            match text.parse() {
                Ok(lines) => look.log_lines = lines,
                Err(_) => problems.push(format!(
                    "BUILDKIT_TTY_LOG_LINES: {text:?} is no number of lines"
                )),
            }
        }
        (look, problems)
    }

    fn set(&mut self, field: &str) -> Result<(), String> {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| format!("{field:?} names no colour: write run=blue"))?;
        let place = match &*key.to_ascii_lowercase() {
            "run" => &mut self.run,
            "error" => &mut self.error,
            "cancel" => &mut self.cancel,
            "warning" => &mut self.warning,
            _ => {
                return Err(format!(
                    "unknown key {key:?}: known are run, error, cancel and warning"
                ));
            }
        };
        *place = Color::parse(value)
            .ok_or_else(|| format!("{value:?} is no colour: write its name, or RED,GREEN,BLUE"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_named_or_mixed_and_what_is_wrong_is_passed_over() {
        let text = "run=123,20,245:error=Yellow:cancel=light-blue:warning=white";
        let (look, problems) = Look::of(Some(text), Some("20"));
        let expected = Look {
            run: Color::Rgb(123, 20, 245),
            error: Color::Named(33),
            cancel: Color::Named(94),
            warning: Color::Named(37),
            log_lines: 20,
        };
        assert_eq!((look, problems), (expected, Vec::new()));
        for (colors, lines, problem) in [
            (
                "run",
                "",
                "BUILDKIT_COLORS: \"run\" names no colour: write run=blue",
            ),
            (
                "runs=blue",
                "",
                "BUILDKIT_COLORS: unknown key \"runs\": known are run, error, cancel and warning",
            ),
            (
                "run=1,2,256",
                "",
                "BUILDKIT_COLORS: \"1,2,256\" is no colour: write its name, or RED,GREEN,BLUE",
            ),
            (
                "",
                "many",
                "BUILDKIT_TTY_LOG_LINES: \"many\" is no number of lines",
            ),
        ] {
            let (look, problems) = Look::of(Some(colors), Some(lines));
            assert_eq!(
                (look, problems),
                (Look::default(), vec![problem.to_owned()])
            );
        }
        assert_eq!(Color::Rgb(1, 2, 3).code(), "38;2;1;2;3");
    }
}
