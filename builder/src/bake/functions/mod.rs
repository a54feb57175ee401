//! The functions that bake files can call: those of buildx, by the same names.
//!
//! Each takes values and returns one, or says what is wrong with which argument. `try`, `can` and
//! `convert` are not here: they take expressions, and live with the evaluator.

mod collections;
mod encoding;
mod format;
mod network;
mod numbers;
mod text;
mod time;
mod versions;

use std::collections::BTreeMap;

use super::module::Surroundings;
use super::value::{Number, Value};

pub(super) use numbers::{add, divide, modulo, multiply, negate, subtract};
pub(super) use text::clean;

/// Why a function has no value.
#[derive(Debug)]
pub(super) struct Misuse {
    /// The argument that is at fault, if one is.
    pub argument: Option<usize>,
    /// What is wrong.
    pub message: String,
}

impl Misuse {
    fn new(message: impl Into<String>) -> Self {
        Self {
            argument: None,
            message: message.into(),
        }
    }

    fn of(argument: usize, message: impl Into<String>) -> Self {
        Self {
            argument: Some(argument),
            message: message.into(),
        }
    }
}

type Outcome = Result<Value, Misuse>;

/// A function.
pub(super) struct Function {
    name: &'static str,
    least: usize,
    most: Option<usize>,
    body: fn(&Arguments<'_>) -> Outcome,
}

impl Function {
    /// Calls the function.
    pub(super) fn call(&self, values: &[Value], surroundings: &Surroundings<'_>) -> Outcome {
        let given = values.len();
        if given < self.least || self.most.is_some_and(|most| given > most) {
            let wanted = match self.most {
                Some(most) if most == self.least => format!("{most}"),
                Some(most) => format!("{} to {most}", self.least),
                None => format!("{} or more", self.least),
            };
            return Err(Misuse::new(format!(
                "{wanted} arguments are needed, not {given}"
            )));
        }
        (self.body)(&Arguments {
            values,
            surroundings,
        })
    }
}

/// What a function is called with.
struct Arguments<'a> {
    values: &'a [Value],
    surroundings: &'a Surroundings<'a>,
}

impl Arguments<'_> {
    fn len(&self) -> usize {
        self.values.len()
    }

    fn value(&self, index: usize) -> &Value {
        self.values.get(index).unwrap_or(&Value::Null)
    }

    fn needed(&self, index: usize, what: &str) -> Misuse {
        let found = self.value(index).kind();
        Misuse::of(index, format!("{what} is needed, not {found}"))
    }

    fn text(&self, index: usize) -> Result<String, Misuse> {
        let text = self.value(index).to_text();
        text.ok_or_else(|| self.needed(index, "a string"))
    }

    fn number(&self, index: usize) -> Result<Number, Misuse> {
        let number = self.value(index).to_number();
        number.ok_or_else(|| self.needed(index, "a number"))
    }

    fn whole(&self, index: usize) -> Result<i128, Misuse> {
        let whole = self.number(index)?.as_whole();
        whole.ok_or_else(|| Misuse::of(index, "a whole number is needed"))
    }

    fn size(&self, index: usize) -> Result<usize, Misuse> {
        let whole = self.whole(index)?;
        usize::try_from(whole).map_err(|_| Misuse::of(index, "the number may not be negative"))
    }

    fn truth(&self, index: usize) -> Result<bool, Misuse> {
        let truth = self.value(index).to_bool();
        truth.ok_or_else(|| self.needed(index, "a bool"))
    }

    fn list(&self, index: usize) -> Result<&[Value], Misuse> {
        match self.value(index) {
            Value::List(items) => Ok(items),
            _ => Err(self.needed(index, "a list")),
        }
    }

    fn object(&self, index: usize) -> Result<&BTreeMap<String, Value>, Misuse> {
        match self.value(index) {
            Value::Object(entries) => Ok(entries),
            _ => Err(self.needed(index, "an object")),
        }
    }

    fn texts(&self, index: usize) -> Result<Vec<String>, Misuse> {
        let texts = self.list(index)?.iter().map(Value::to_text);
        let texts: Option<Vec<_>> = texts.collect();
        texts.ok_or_else(|| Misuse::of(index, "a list of strings is needed"))
    }
}

/// Returns whether two values are equal: texts and numbers are not, whatever they look like.
pub(super) fn equal(left: &Value, right: &Value) -> bool {
    left == right
}

/// Returns the function called `name`.
pub(super) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

/// Returns the names of all functions.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let own = FUNCTIONS.iter().map(|function| function.name);
    own.chain(["can", "convert", "try"])
}

const fn fixed(name: &'static str, count: usize, body: fn(&Arguments<'_>) -> Outcome) -> Function {
    range(name, count, count, body)
}

const fn range(
    name: &'static str,
    least: usize,
    most: usize,
    body: fn(&Arguments<'_>) -> Outcome,
) -> Function {
    Function {
        name,
        least,
        most: Some(most),
        body,
    }
}

const fn open(name: &'static str, least: usize, body: fn(&Arguments<'_>) -> Outcome) -> Function {
    Function {
        name,
        least,
        most: None,
        body,
    }
}

/// All functions, sorted by name.
const FUNCTIONS: &[Function] = &[
    fixed("absolute", 1, numbers::absolute),
    fixed("add", 2, |a| add(a.number(0)?, a.number(1)?)),
    fixed("and", 2, |a| Ok(Value::Bool(a.truth(0)? && a.truth(1)?))),
    fixed("base64decode", 1, encoding::base64_decode),
    fixed("base64encode", 1, encoding::base64_encode),
    fixed("basename", 1, text::basename),
    range("bcrypt", 1, 2, |_| encoding::unsupported("password hashes")),
    fixed("byteslen", 1, |a| {
        Ok(Value::whole(a.text(0)?.len() as i128))
    }),
    fixed("bytesslice", 3, text::bytes_slice),
    fixed("ceil", 1, |a| numbers::round(a, f64::ceil)),
    fixed("chomp", 1, text::chomp),
    fixed("chunklist", 2, collections::chunk_list),
    fixed("cidrhost", 2, network::host),
    fixed("cidrnetmask", 1, network::netmask),
    fixed("cidrsubnet", 3, network::subnet),
    open("cidrsubnets", 1, network::subnets),
    open("coalesce", 1, collections::coalesce),
    open("coalescelist", 1, collections::coalesce_list),
    fixed("compact", 1, collections::compact),
    open("concat", 1, collections::concat),
    fixed("contains", 2, collections::contains),
    fixed("csvdecode", 1, encoding::csv_decode),
    fixed("dirname", 1, text::dirname),
    fixed("distinct", 1, collections::distinct),
    fixed("divide", 2, |a| divide(a.number(0)?, a.number(1)?)),
    fixed("element", 2, collections::element),
    fixed("equal", 2, |a| {
        Ok(Value::Bool(equal(a.value(0), a.value(1))))
    }),
    fixed("flatten", 1, collections::flatten),
    fixed("floor", 1, |a| numbers::round(a, f64::floor)),
    open("format", 1, format::format),
    fixed("formatdate", 2, time::format_date),
    open("formatlist", 1, format::format_list),
    fixed("formattimestamp", 2, time::format_date),
    fixed("greaterthan", 2, |a| numbers::compare(a, |l, r| l > r)),
    fixed("greaterthanorequalto", 2, |a| {
        numbers::compare(a, |l, r| l >= r)
    }),
    fixed("hasindex", 2, |a| Ok(collections::has_index(a))),
    fixed("homedir", 0, text::homedir),
    fixed("indent", 2, text::indent),
    fixed("index", 2, collections::index),
    fixed("indexof", 2, collections::index_of),
    fixed("int", 1, |a| numbers::round(a, f64::trunc)),
    open("join", 1, text::join),
    fixed("jsondecode", 1, encoding::json_decode),
    fixed("jsonencode", 1, |a| Ok(encoding::json_encode(a))),
    fixed("keys", 1, collections::keys),
    fixed("length", 1, collections::length),
    fixed("lessthan", 2, |a| numbers::compare(a, |l, r| l < r)),
    fixed("lessthanorequalto", 2, |a| {
        numbers::compare(a, |l, r| l <= r)
    }),
    fixed("log", 2, numbers::log),
    range("lookup", 2, 3, collections::lookup),
    fixed("lower", 1, |a| Ok(Value::String(a.text(0)?.to_lowercase()))),
    open("max", 1, |a| numbers::extreme(a, |new, best| new > best)),
    fixed("md5", 1, encoding::md5),
    open("merge", 0, collections::merge),
    open("min", 1, |a| numbers::extreme(a, |new, best| new < best)),
    fixed("modulo", 2, |a| modulo(a.number(0)?, a.number(1)?)),
    fixed("multiply", 2, |a| multiply(a.number(0)?, a.number(1)?)),
    fixed("negate", 1, |a| negate(a.number(0)?)),
    fixed("not", 1, |a| Ok(Value::Bool(!a.truth(0)?))),
    fixed("notequal", 2, |a| {
        Ok(Value::Bool(!equal(a.value(0), a.value(1))))
    }),
    fixed("or", 2, |a| Ok(Value::Bool(a.truth(0)? || a.truth(1)?))),
    fixed("parseint", 2, numbers::parse_int),
    fixed("pow", 2, numbers::pow),
    range("range", 1, 3, numbers::range),
    fixed("regex", 2, text::regex),
    fixed("regex_replace", 3, text::regex_replace),
    fixed("regexall", 2, text::regex_all),
    fixed("replace", 3, text::replace),
    fixed("reverse", 1, text::reverse),
    fixed("reverselist", 1, collections::reverse_list),
    fixed("rsadecrypt", 2, |_| encoding::unsupported("RSA decryption")),
    fixed("sanitize", 1, text::sanitize),
    fixed("semvercmp", 2, versions::satisfies),
    fixed("sethaselement", 2, collections::contains),
    open("setintersection", 1, collections::set_intersection),
    open("setproduct", 1, collections::set_product),
    fixed("setsubtract", 2, collections::set_subtract),
    open(
        "setsymmetricdifference",
        1,
        collections::set_symmetric_difference,
    ),
    open("setunion", 1, collections::set_union),
    fixed("sha1", 1, encoding::sha1),
    fixed("sha256", 1, encoding::sha256),
    fixed("sha512", 1, encoding::sha512),
    fixed("signum", 1, numbers::signum),
    fixed("slice", 3, collections::slice),
    fixed("sort", 1, collections::sort),
    fixed("split", 2, text::split),
    fixed("strlen", 1, |a| {
        Ok(Value::whole(a.text(0)?.chars().count() as i128))
    }),
    fixed("substr", 3, text::substr),
    fixed("subtract", 2, |a| subtract(a.number(0)?, a.number(1)?)),
    fixed("timeadd", 2, time::time_add),
    fixed("timestamp", 0, |a| Ok(time::timestamp(a))),
    fixed("title", 1, text::title),
    fixed("trim", 2, text::trim),
    fixed("trimprefix", 2, text::trim_prefix),
    fixed("trimspace", 1, |a| Ok(Value::text(a.text(0)?.trim()))),
    fixed("trimsuffix", 2, text::trim_suffix),
    fixed("unixtimestampparse", 1, time::unix_timestamp_parse),
    fixed("upper", 1, |a| Ok(Value::String(a.text(0)?.to_uppercase()))),
    fixed("urlencode", 1, encoding::url_encode),
    fixed("uuidv4", 0, |a| Ok(encoding::uuid_v4(a))),
    fixed("uuidv5", 2, encoding::uuid_v5),
    fixed("values", 1, collections::values),
    fixed("zipmap", 2, collections::zipmap),
];

#[cfg(test)]
mod tests;
