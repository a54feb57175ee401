use super::*;

fn ast(text: &str) -> Ast {
    parse_ast(&SourceFile::new("Dockerfile", text)).unwrap()
}

fn joined(text: &str) -> Vec<String> {
    ast(text)
        .statements
        .into_iter()
        .map(|statement| statement.line.text)
        .collect()
}

#[test]
fn continuations_are_joined_without_a_newline() {
    let table: &[(&str, &[&str])] = &[
        ("FROM a\nRUN b\n", &["FROM a", "RUN b"]),
        ("RUN a \\\n  b\n", &["RUN a   b"]),
        ("RUN a \\  \n b", &["RUN a  b"]),
        ("RUN a \\\n# comment\n b", &["RUN a  b"]),
        ("RUN a \\\n\n b", &["RUN a  b"]),
        ("RUN a \\", &["RUN a "]),
        ("RUN a\\\nb", &["RUN ab"]),
        ("  RUN a\r\nRUN b\r\n", &["RUN a", "RUN b"]),
        ("RUN a \\\r\n b\r\n", &["RUN a  b"]),
        (
            "# escape=`\nRUN a \\\nRUN b `\n c\n",
            &["RUN a \\", "RUN b  c"],
        ),
        ("\u{feff}FROM a\n", &["FROM a"]),
        ("# only\n\n", &[]),
        ("RUN a # not a comment", &["RUN a # not a comment"]),
    ];
    for (text, want) in table {
        assert_eq!(joined(text), *want, "{text:?}");
    }
}

#[test]
fn tokens_of_continued_lines_point_into_the_file() {
    let text = "FROM a\nENV x=1 \\\n  # hm\n  y=2\n";
    let source = SourceFile::new("f", text);
    let statement = &parse_ast(&source).unwrap().statements[1];
    let words = statement.words('\\');
    assert_eq!(source.slice(words[0].span), "x=1");
    assert_eq!(source.slice(words[1].span), "y=2");
    assert_eq!(source.line_column(words[1].span.start).line, 4);
}

#[test]
fn blank_lines_in_a_continuation_are_warned_about() {
    let ast = ast("RUN a \\\n\n\n b\n");
    assert_eq!(ast.warnings.len(), 1);
    assert_eq!(ast.warnings[0].span, Span::new(8, 8));
}

#[test]
fn heredocs_take_the_lines_below() {
    type Document = (&'static str, &'static str);
    let table: &[(&str, &[Document], usize)] = &[
        ("RUN <<EOF\na\nb\nEOF\nRUN c\n", &[("EOF", "a\nb\n")], 2),
        ("RUN <<EOF\nEOF\n", &[("EOF", "")], 1),
        (
            "COPY <<a <<b /x/\n1\na\n2\nb\n",
            &[("a", "1\n"), ("b", "2\n")],
            1,
        ),
        ("RUN <<EOF\n EOF\nEOF \nEOF", &[("EOF", " EOF\nEOF \n")], 1),
        ("RUN <<-EOF\n\ta\n\tEOF\n", &[("EOF", "\ta\n")], 1),
        ("RUN <<EOF\r\na\r\nEOF\r\n", &[("EOF", "a\r\n")], 1),
        ("ENV a=<<EOF\n", &[], 1),
        ("RUN [\"a\", \"<<EOF\"]\n", &[], 1),
        ("ONBUILD RUN <<EOF\na\nEOF\n", &[("EOF", "a\n")], 1),
        ("RUN <<EOF \\\n && true\na\nEOF\n", &[("EOF", "a\n")], 1),
        (
            "RUN <<EOF\n# no comment\n\\\nEOF\n",
            &[("EOF", "# no comment\n\\\n")],
            1,
        ),
    ];
    for (text, want, count) in table {
        let ast = ast(text);
        let got: Vec<_> = ast.statements[0]
            .heredocs
            .iter()
            .map(|doc| (doc.name.as_str(), doc.content.as_str()))
            .collect();
        assert_eq!(
            (got.as_slice(), ast.statements.len()),
            (*want, *count),
            "{text:?}"
        );
    }
}

#[test]
fn unterminated_heredocs_and_long_lines_are_errors() {
    let long = format!("FROM a\nRUN {}\n", "x".repeat(65_532));
    let fits = format!("FROM a\nRUN {}\n", "x".repeat(65_531));
    for (text, want) in [
        ("RUN <<EOF\na\n", vec!["unterminated-heredoc"]),
        (long.as_str(), vec!["line-too-long"]),
        (fits.as_str(), vec![]),
    ] {
        let codes = match parse_ast(&SourceFile::new("f", text)) {
            Ok(_) => vec![],
            Err(errors) => errors.iter().map(|error| error.code.name()).collect(),
        };
        assert_eq!(codes, want);
    }
}

#[test]
fn flags_lose_their_quotes_and_keep_their_place() {
    let text = "COPY --from=\"a b\" --link --x\\ y=1 a b";
    let ast = ast(text);
    let flags: Vec<_> = ast.statements[0]
        .flags
        .iter()
        .map(|flag| {
            let value = flag.value.as_ref();
            (
                flag.name.as_str(),
                value.map(|value| value.value.as_str()),
                &text[flag.span.range()],
            )
        })
        .collect();
    assert_eq!(
        flags,
        [
            ("from", Some("a b"), "--from=\"a b\""),
            ("link", None, "--link"),
            ("x y", Some("1"), "--x\\ y=1"),
        ]
    );
}
