//! Instructions back to text: one spelling for each, which parses to the same again.
//!
//! Values are printed as they were written; flags come in a fixed order, lines are not continued,
//! and an argument that blanks would split puts the whole list into JSON form. A line that ends in
//! the escape character has no spelling: only the end of a file lets it be written.

use std::fmt::{self, Display, Formatter, Write as _};

use crate::instruction::{
    CommandForm, CopyFiles, From, Health, HealthTest, Instruction, Kind, MountSpec, Run,
};
use crate::ir::{NetworkMode, SecurityMode};
use crate::source::Spanned;
use crate::stage::{Dockerfile, Stage};
use crate::syntax::{Directives, is_space};

impl Display for Dockerfile {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.directives.fmt(f)?;
        // Comments at the very top would be read as directives.
        f.write_str("\n")?;
        self.preamble.iter().try_for_each(|one| one.fmt(f))?;
        self.stages.iter().try_for_each(|stage| stage.fmt(f))
    }
}

impl Display for Directives {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(syntax) = &self.syntax {
            writeln!(f, "# syntax={}", syntax.value)?;
        }
        if self.escape != Self::default().escape {
            writeln!(f, "# escape={}", self.escape)?;
        }
        if let Some(check) = &self.check {
            writeln!(f, "# check={}", check.value)?;
        }
        Ok(())
    }
}

impl Display for Stage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        comments(f, &self.comments)?;
        let from = From {
            base: self.base.clone(),
            name: self.name.clone(),
            as_keyword: self.as_keyword.clone(),
            platform: self.platform.clone(),
        };
        f.write_str(&self.keyword.value)?;
        print_from(f, &from)?;
        f.write_str("\n")?;
        self.instructions.iter().try_for_each(|one| one.fmt(f))
    }
}

impl Display for Instruction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        comments(f, &self.comments)?;
        f.write_str(&self.keyword.value)?;
        self.kind.fmt(f)?;
        f.write_str("\n")
    }
}

/// What follows the instruction's name, here-documents included.
impl Display for Kind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::From(from) => print_from(f, from),
            Self::Run(run) => print_run(f, run),
            Self::Copy(copy) | Self::Add(copy) => print_files(f, copy),
            Self::Env(pairs) | Self::Label(pairs) => pairs.iter().try_for_each(|pair| {
                let mark = if pair.legacy { ' ' } else { '=' };
                write!(f, " {}{mark}{}", pair.name.value, pair.value.value)
            }),
            Self::Arg(definitions) => definitions.iter().try_for_each(|one| {
                write!(f, " {}", one.name.value)?;
                let mut default = one.default.iter();
                default.try_for_each(|default| write!(f, "={}", default.value))
            }),
            Self::Workdir(word) | Self::User(word) | Self::StopSignal(word) => line(f, word),
            Self::Maintainer(name) => line(f, name),
            Self::Expose(words) => words.iter().try_for_each(|word| line(f, word)),
            Self::Volume(words) => print_words(f, words),
            Self::Cmd(command) | Self::Entrypoint(command) => print_command(f, &command.form),
            Self::Shell(args) => print_json(f, args.iter().map(String::as_str)),
            Self::Healthcheck(health) => print_health(f, health),
            Self::OnBuild(onbuild) => line(f, &onbuild.trigger),
        }
    }
}

fn comments(f: &mut Formatter<'_>, comments: &[String]) -> fmt::Result {
    comments.iter().try_for_each(|line| writeln!(f, "# {line}"))
}

/// Prints an argument that reaches to the end of the line. One that looks like a flag needs a
/// mark that there are no more of them.
fn line(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    match text {
        "" => Ok(()),
        text if text.starts_with("--") => write!(f, " -- {text}"),
        text => write!(f, " {text}"),
    }
}

fn print_flag(f: &mut Formatter<'_>, name: &str, value: &str) -> fmt::Result {
    write!(f, " --{name}=")?;
    for c in value.chars() {
        if is_space(c) || matches!(c, '\\' | '\'' | '"') {
            f.write_char('\\')?;
        }
        f.write_char(c)?;
    }
    Ok(())
}

fn print_flags<'a>(
    f: &mut Formatter<'_>,
    name: &str,
    values: impl IntoIterator<Item = &'a Spanned<String>>,
) -> fmt::Result {
    let mut values = values.into_iter();
    values.try_for_each(|value| print_flag(f, name, value))
}

fn print_from(f: &mut Formatter<'_>, from: &From) -> fmt::Result {
    print_flags(f, "platform", &from.platform)?;
    line(f, &from.base)?;
    match (&from.as_keyword, &from.name) {
        (Some(keyword), Some(name)) => write!(f, " {} {}", keyword.value, name.value),
        _ => Ok(()),
    }
}

fn print_run(f: &mut Formatter<'_>, run: &Run) -> fmt::Result {
    for mount in &run.mounts {
        print_flag(f, "mount", &mount_value(mount))?;
    }
    if let Some(network) = &run.network {
        let name = match network.value {
            NetworkMode::Default => "default",
            NetworkMode::None => "none",
            NetworkMode::Host => "host",
        };
        print_flag(f, "network", name)?;
    }
    if let Some(security) = &run.security {
        let name = match security.value {
            SecurityMode::Sandbox => "sandbox",
            SecurityMode::Insecure => "insecure",
        };
        print_flag(f, "security", name)?;
    }
    for device in &run.devices {
        let required = if device.value.required {
            ",required"
        } else {
            ""
        };
        print_flag(
            f,
            "device",
            &format!("name={}{required}", device.value.name),
        )?;
    }
    print_command(f, &run.command.form)?;
    let mut documents = run.heredocs.iter();
    documents.try_for_each(|document| write!(f, "\n{}{}", document.content, document.name))
}

/// Returns the fields of a mount, quoted as CSV is where they must be.
fn mount_value(mount: &MountSpec) -> String {
    let fields = mount.fields.iter().map(|field| {
        let text = match &field.value {
            Some(value) => format!("{}={}", field.key, value.value),
            None => field.key.clone(),
        };
        if text.contains([',', '"']) {
            format!("\"{}\"", text.replace('"', "\"\""))
        } else {
            text
        }
    });
    fields.collect::<Vec<_>>().join(",")
}

fn print_command(f: &mut Formatter<'_>, form: &CommandForm) -> fmt::Result {
    match form {
        CommandForm::Exec(args) => print_json(f, args.iter().map(String::as_str)),
        CommandForm::Shell(text) => line(f, text),
    }
}

fn print_json<'a>(f: &mut Formatter<'_>, words: impl Iterator<Item = &'a str>) -> fmt::Result {
    let words: Vec<String> = words
        .map(|word| serde_json::Value::from(word).to_string())
        .collect();
    write!(f, " [{}]", words.join(", "))
}

/// Prints words; in JSON form if blanks would split them, if they would continue the line, or if
/// they would be read as JSON.
fn print_words(f: &mut Formatter<'_>, words: &[Spanned<String>]) -> fmt::Result {
    let plain = |word: &Spanned<String>| {
        let splits = word.contains(|c| is_space(c) || c == '\n');
        !word.is_empty() && !splits && !word.ends_with(['\\', '`'])
    };
    let json = words.first().is_some_and(|word| word.starts_with('['));
    if json || !words.iter().all(plain) {
        return print_json(f, words.iter().map(|word| word.as_str()));
    }
    let mut words = words.iter();
    words.next().map_or(Ok(()), |first| line(f, first))?;
    words.try_for_each(|word| write!(f, " {}", word.value))
}

fn print_files(f: &mut Formatter<'_>, copy: &CopyFiles) -> fmt::Result {
    print_flags(f, "from", &copy.from)?;
    print_flags(f, "chown", &copy.chown)?;
    print_flags(f, "chmod", &copy.chmod)?;
    if copy.link {
        f.write_str(" --link")?;
    }
    if copy.parents {
        f.write_str(" --parents")?;
    }
    print_flags(f, "exclude", &copy.exclude)?;
    print_flags(f, "checksum", &copy.checksum)?;
    for (name, value) in [("unpack", copy.unpack), ("keep-git-dir", copy.keep_git_dir)] {
        let mut value = value.iter();
        value.try_for_each(|value| write!(f, " --{name}={value}"))?;
    }
    let mut words = copy.sources.clone();
    words.extend(copy.inline.iter().map(|document| {
        let quote = if document.expand { "" } else { "'" };
        let mark = format!("<<{quote}{}{quote}", document.name);
        Spanned::new(mark, document.data.span)
    }));
    words.push(copy.dest.clone());
    print_words(f, &words)?;
    let mut documents = copy.inline.iter();
    documents.try_for_each(|document| write!(f, "\n{}{}", document.data.value, document.name))
}

fn print_health(f: &mut Formatter<'_>, health: &Health) -> fmt::Result {
    let times = health.durations;
    for (name, nanoseconds) in [
        ("interval", times.interval),
        ("timeout", times.timeout),
        ("start-period", times.start_period),
        ("start-interval", times.start_interval),
    ] {
        if nanoseconds != 0 {
            write!(f, " --{name}={nanoseconds}ns")?;
        }
    }
    if health.retries != 0 {
        write!(f, " --retries={}", health.retries)?;
    }
    match &health.test {
        HealthTest::None => f.write_str(" NONE"),
        HealthTest::Exec(args) => {
            f.write_str(" CMD")?;
            print_json(f, args.iter().map(String::as_str))
        }
        HealthTest::Shell(text) => write!(f, " CMD {text}"),
    }
}
