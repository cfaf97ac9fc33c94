//! Values: how each type is written, alone and in ranges.

use std::fmt::Write as _;

use super::expressions::write_expression;
use crate::ruleset::nftables::listing::datatype::Datatype;
use crate::ruleset::nftables::listing::expression::{BinaryOperator, Expression};
use crate::ruleset::nftables::listing::symbols;

/// Writes a value of a type; of a concatenation the types of its parts.
pub(super) fn write_value(out: &mut String, value: &Expression, types: &[Datatype]) {
    let datatype = types.first().copied().unwrap_or(Datatype::Other);
    match value {
        Expression::Number(number) => write_number(out, *number, datatype),
        Expression::Word(word) => write_word(out, word, datatype),
        Expression::Exists(true) => out.push_str("exists"),
        Expression::Exists(false) => out.push_str("missing"),
        Expression::List(parts) => write_joined(out, parts, ",", |out, part| write_value(out, part, types)),
        Expression::Concatenation(parts) => {
            for (index, part) in parts.iter().enumerate() {
                if index > 0 {
                    out.push_str(" . ");
                }
                write_value(out, part, types.get(index..).unwrap_or_default());
            }
        }
        Expression::Prefix { address, length } => {
            write_value(out, address, types);
            let _ = write!(out, "/{length}");
        }
        Expression::Range(ends) => {
            write_range_end(out, &ends[0], datatype);
            out.push('-');
            write_range_end(out, &ends[1], datatype);
        }
        other => write_expression(out, other, types),
    }
}

/// Between the parts goes the separator.
pub(super) fn write_joined<T>(
    out: &mut String,
    parts: &[T],
    separator: &str,
    write: impl Fn(&mut String, &T),
) {
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            out.push_str(separator);
        }
        write(out, part);
    }
}

/// The operands of `a | b`, with brackets where they are needed.
pub(super) fn write_binary(
    out: &mut String,
    operator: BinaryOperator,
    operands: &[Expression],
    types: &[Datatype],
) {
    // What is shifted by is a plain number.
    let is_shift = operator.precedence() == BinaryOperator::ShiftLeft.precedence();
    for (index, operand) in operands.iter().enumerate() {
        if index > 0 {
            let _ = write!(out, " {} ", operator.sign());
        }
        let types = if is_shift && index > 0 {
            &[Datatype::Integer][..]
        } else {
            types
        };
        let inner = match operand {
            Expression::Binary { operator, .. } => operator.precedence(),
            _ => u8::MAX,
        };
        if inner < operator.precedence() {
            out.push('(');
            write_value(out, operand, types);
            out.push(')');
        } else {
            write_value(out, operand, types);
        }
    }
}

fn write_number(out: &mut String, number: u64, datatype: Datatype) {
    let _ = match datatype {
        Datatype::Mark => write!(out, "0x{number:08x}"),
        Datatype::Dscp => write!(out, "0x{number:02x}"),
        Datatype::EtherType => write!(out, "0x{number:04x}"),
        Datatype::Raw | Datatype::CtState | Datatype::CtStatus | Datatype::TcpFlag | Datatype::CtEvent => {
            write!(out, "0x{number:x}")
        }
        Datatype::Time => {
            write_seconds(out, number);
            Ok(())
        }
        _ => write!(out, "{number}"),
    };
}

fn write_word(out: &mut String, word: &str, datatype: Datatype) {
    // A realm without a name is a number, though JSON has it as text.
    let is_bare = datatype == Datatype::Realm && word.bytes().all(|byte| byte.is_ascii_digit());
    if datatype.is_quoted() && !is_bare {
        let _ = write!(out, "\"{word}\"");
    } else {
        out.push_str(word);
    }
}

/// In ranges nft writes numbers, not their names, and time in seconds only.
fn write_range_end(out: &mut String, end: &Expression, datatype: Datatype) {
    match end {
        Expression::Number(seconds) if datatype == Datatype::Time => {
            let _ = write!(out, "{seconds}s");
        }
        Expression::Word(word) => match symbols::number(datatype.names(), word) {
            Some(number) => write_number(out, number, datatype),
            None => write_word(out, word, datatype),
        },
        other => write_value(out, other, &[datatype]),
    }
}

/// `1d2h3m4s`
pub(super) fn write_seconds(out: &mut String, seconds: u64) {
    let parts = [
        (seconds / 86_400, 'd'),
        (seconds / 3_600 % 24, 'h'),
        (seconds / 60 % 60, 'm'),
        (seconds % 60, 's'),
    ];
    for (amount, unit) in parts {
        if amount > 0 || (unit == 's' && seconds == 0) {
            let _ = write!(out, "{amount}{unit}");
        }
    }
}

/// `25 mbytes`: in the greatest unit that leaves no rest.
pub(super) fn write_bytes(out: &mut String, bytes: u64) {
    let units = [(1 << 20, "mbytes"), (1 << 10, "kbytes"), (1, "bytes")];
    let fits = |size: u64| bytes > 0 && bytes.is_multiple_of(size);
    let (size, unit) = units
        .into_iter()
        .find(|(size, _)| fits(*size))
        .unwrap_or((1, "bytes"));
    let _ = write!(out, "{} {unit}", bytes / size);
}
