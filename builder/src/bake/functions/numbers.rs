//! Arithmetic.

use super::{Arguments, Misuse, Outcome};
use crate::bake::value::{Number, Value};

/// The most numbers that `range` makes.
const LONGEST_RANGE: usize = 1024;

fn number(result: Option<Number>) -> Outcome {
    let number = result.ok_or_else(|| Misuse::new("the result is too large"))?;
    Ok(Value::Number(number))
}

pub(crate) fn add(left: Number, right: Number) -> Outcome {
    number(left.compute(right, i128::checked_add, |l, r| l + r))
}

pub(crate) fn subtract(left: Number, right: Number) -> Outcome {
    number(left.compute(right, i128::checked_sub, |l, r| l - r))
}

pub(crate) fn multiply(left: Number, right: Number) -> Outcome {
    number(left.compute(right, i128::checked_mul, |l, r| l * r))
}

pub(crate) fn divide(left: Number, right: Number) -> Outcome {
    if right.as_f64() == 0.0 {
        return Err(Misuse::new("cannot divide by zero"));
    }
    let exact = |l: i128, r: i128| (l.checked_rem(r)? == 0).then(|| l / r);
    number(left.compute(right, exact, |l, r| l / r))
}

pub(crate) fn modulo(left: Number, right: Number) -> Outcome {
    if right.as_f64() == 0.0 {
        return Err(Misuse::new("cannot divide by zero"));
    }
    number(left.compute(right, i128::checked_rem, |l, r| l % r))
}

pub(crate) fn negate(operand: Number) -> Outcome {
    subtract(Number::Whole(0), operand)
}

pub(super) fn absolute(a: &Arguments<'_>) -> Outcome {
    let operand = a.number(0)?;
    if operand < Number::Whole(0) {
        negate(operand)
    } else {
        Ok(Value::Number(operand))
    }
}

pub(super) fn round(a: &Arguments<'_>, how: fn(f64) -> f64) -> Outcome {
    match a.number(0)? {
        whole @ Number::Whole(_) => Ok(Value::Number(whole)),
        Number::Real(real) => number(Number::real(how(real))),
    }
}

pub(super) fn compare(a: &Arguments<'_>, holds: fn(Number, Number) -> bool) -> Outcome {
    Ok(Value::Bool(holds(a.number(0)?, a.number(1)?)))
}

pub(super) fn extreme(a: &Arguments<'_>, better: fn(Number, Number) -> bool) -> Outcome {
    let mut best = a.number(0)?;
    for index in 1..a.len() {
        let next = a.number(index)?;
        if better(next, best) {
            best = next;
        }
    }
    Ok(Value::Number(best))
}

pub(super) fn log(a: &Arguments<'_>) -> Outcome {
    let (of, base) = (a.number(0)?.as_f64(), a.number(1)?.as_f64());
    // The quotient of two natural logarithms misses whole results by a hair.
    let result = of.ln() / base.ln();
    let near = result.round();
    number(Number::real(if (result - near).abs() < 1e-12 {
        near
    } else {
        result
    }))
}

pub(super) fn pow(a: &Arguments<'_>) -> Outcome {
    let exact = |base: i128, power: i128| base.checked_pow(u32::try_from(power).ok()?);
    number(a.number(0)?.compute(a.number(1)?, exact, f64::powf))
}

pub(super) fn signum(a: &Arguments<'_>) -> Outcome {
    let operand = a.number(0)?.as_f64();
    Ok(Value::whole(if operand == 0.0 {
        0
    } else {
        operand.signum() as i128
    }))
}

pub(super) fn parse_int(a: &Arguments<'_>) -> Outcome {
    let (text, base) = (a.text(0)?, a.whole(1)?);
    let base = u32::try_from(base)
        .ok()
        .filter(|base| (2..=36).contains(base));
    let base = base.ok_or_else(|| Misuse::of(1, "the base is from 2 to 36"))?;
    let whole = i128::from_str_radix(&text, base)
        .map_err(|_| Misuse::of(0, format!("{text:?} is no whole number in base {base}")))?;
    Ok(Value::whole(whole))
}

pub(super) fn range(a: &Arguments<'_>) -> Outcome {
    let (start, end) = match a.len() {
        1 => (Number::Whole(0), a.number(0)?),
        _ => (a.number(0)?, a.number(1)?),
    };
    let down = end < start;
    let step = match a.len() {
        3 => a.number(2)?,
        _ => Number::Whole(if down { -1 } else { 1 }),
    };
    let forward = if down {
        step < Number::Whole(0)
    } else {
        step > Number::Whole(0)
    };
    if !forward && start != end {
        return Err(Misuse::of(2, "the step leads away from the end"));
    }
    let mut out = Vec::new();
    let mut at = start;
    while if down { at > end } else { at < end } {
        if out.len() == LONGEST_RANGE {
            return Err(Misuse::new(format!(
                "there are more than {LONGEST_RANGE} numbers"
            )));
        }
        out.push(Value::Number(at));
        let next = at.compute(step, i128::checked_add, |l, r| l + r);
        at = next.ok_or_else(|| Misuse::new("a number is too large"))?;
    }
    Ok(Value::List(out))
}
