//! Words that are no instruction.

use super::assert_errors;

#[test]
fn errors_name_the_token_and_what_would_help() {
    assert_errors(&[
        (
            "RNU make",
            &["unknown-instruction@RNU: unknown instruction: RNU (did you mean `RUN`?)"],
        ),
        (
            "copi a b",
            &["unknown-instruction@copi: unknown instruction: copi (did you mean `COPY`?)"],
        ),
        (
            "FORM a",
            &["unknown-instruction@FORM: unknown instruction: FORM (did you mean `FROM`?)"],
        ),
    ]);
}
