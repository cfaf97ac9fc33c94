//! Comparisons with constants.

use std::sync::Arc;

use super::fields::Base;
use super::rule::{Left, Loaded, Reader, binary, full, payload_expression, run_of_ones};
use super::types::{self, IPV4, IPV6, Order, Type, value};
use super::wire::Attrs;
use crate::ruleset::nftables::listing::Statement;
use crate::ruleset::nftables::listing::{BinaryOperator, Expression, Operator};

/// Whether bytes compare as the numbers do that they are: the kernel goes through them as they lie.
fn is_in_order(operator: Operator, of: Type, data: &[u8]) -> bool {
    matches!(operator, Operator::Equal | Operator::NotEqual) || of.order == Order::Big || data.len() == 1
}

impl Reader<'_> {
    /// A register is compared with a constant.
    pub(super) fn compare(&mut self, left: &Loaded, operator: Operator, data: &[u8]) -> Option<()> {
        let is_equality = matches!(operator, Operator::Equal | Operator::NotEqual);
        if data.is_empty() || data.len() > left.bytes {
            return None;
        }
        match &left.left {
            Left::Payload { base, offset, bits } => {
                self.payload_compare((*base, *offset, *bits), operator, data)
            }
            Left::Masked { of, mask, xor } if data.len() == left.bytes => {
                self.masked_compare((of, mask, xor), left, operator, data)
            }
            _ => {
                let (expression, of) = self.expression(left)?;
                if of.is_text() {
                    // Less than the whole of a name: whatever begins so.
                    if data.len() < left.bytes && !is_equality {
                        return None;
                    }
                    let right = types::device_name(data)?;
                    return self.matches(expression, operator, right, None);
                }
                if data.len() < left.bytes {
                    return self.short(expression, operator, data, of);
                }
                is_in_order(operator, of, data).then_some(())?;
                let number = of.order.number(data)?;
                let right = types::number_value(number, of, self.devices)?;
                self.matches(expression, operator, right, Some(number))
            }
        }
    }

    /// Only the first bytes of a value are compared: those of a prefix.
    fn short(&mut self, left: Expression, operator: Operator, data: &[u8], of: Type) -> Option<()> {
        let is_equality = matches!(operator, Operator::Equal | Operator::NotEqual);
        if !is_equality || of.order != Order::Big || !of.bits.is_multiple_of(8) {
            return None;
        }
        let length = u32::try_from(data.len() * 8).ok()?;
        let right = self.prefix(
            Order::Big.number(data)? << of.bits.checked_sub(length)?,
            length,
            of,
        )?;
        self.matches(left, operator, right, None)
    }

    fn prefix(&self, number: u128, length: u32, of: Type) -> Option<Expression> {
        Some(Expression::Prefix {
            address: Box::new(types::number_value(number, of, self.devices)?),
            length,
        })
    }

    fn payload_compare(
        &mut self,
        (base, offset, bits): (Base, u32, u32),
        operator: Operator,
        data: &[u8],
    ) -> Option<()> {
        if data.len() * 8 != bits as usize {
            return None;
        }
        if let Some(field) = self.field(base, offset, bits) {
            let number = Order::Big.number(data)?;
            let right = types::number_value(number, field.of, self.devices)?;
            return self.matches(payload_expression(&field), operator, right, Some(number));
        }
        let is_equality = matches!(operator, Operator::Equal | Operator::NotEqual);
        if let Some(wider) = self.field_at(base, offset).filter(|field| field.of.bits > bits)
            && is_equality
            && wider.of.bits.is_multiple_of(8)
        {
            let field = self.field(base, offset, wider.of.bits)?;
            return self.short(payload_expression(&field), operator, data, field.of);
        }
        // Fields beside each other that are asked for at once.
        let whole = Order::Big.number(data)?;
        let is_known = base != Base::Transport || self.headers.transport.is_some();
        if operator == Operator::Equal && is_known {
            let mut fields = Vec::new();
            let mut at = 0;
            while at < bits {
                let Some(field) = self.field_at(base, offset + at) else {
                    break;
                };
                at += field.of.bits;
                fields.push(field);
            }
            if at == bits {
                let mut done = 0;
                for field in fields {
                    let field = self.field(base, field.offset, field.of.bits)?;
                    done += field.of.bits;
                    let number = whole >> (bits - done) & full(field.of.bits);
                    let right = types::number_value(number, field.of, self.devices)?;
                    self.matches(payload_expression(&field), operator, right, Some(number))?;
                }
                return Some(());
            }
        }
        let loaded = Loaded {
            left: Left::Payload { base, offset, bits },
            of: Type::wide(types::RAW, bits, Order::Big),
            bytes: data.len(),
        };
        let (left, of) = self.expression(&loaded)?;
        let right = types::number_value(whole, of, self.devices)?;
        self.matches(left, operator, right, None)
    }

    /// `(of & mask) ^ xor` is compared.
    fn masked_compare(
        &mut self,
        (of, mask, xor): (&Loaded, &[u8], &[u8]),
        whole: &Loaded,
        operator: Operator,
        data: &[u8],
    ) -> Option<()> {
        let is_equality = matches!(operator, Operator::Equal | Operator::NotEqual);
        if let Some((left, part, behind)) = self.part(of, mask, xor) {
            let number = Order::Big.number(data)?;
            // Bits beside the field would never be equal.
            (number & !(full(part.bits) << behind) == 0).then_some(())?;
            let number = number >> behind;
            let right = types::number_value(number, part, self.devices)?;
            return self.matches(left, operator, right, Some(number));
        }
        let is_plain = xor.iter().all(|byte| *byte == 0);
        let (inner, inner_of) = self.expression(of)?;
        if inner_of.is_text() {
            return None;
        }
        let (number, bits) = (inner_of.order.number(data)?, inner_of.order.number(mask)?);
        if is_plain && inner_of.is_bits() && is_equality {
            if number == 0 {
                let right = types::list_of_bits(bits, inner_of)?;
                let operator = match operator {
                    Operator::NotEqual => Operator::Any,
                    _ => Operator::None,
                };
                self.push(Statement::Match {
                    left: inner.into(),
                    operator,
                    right,
                });
                return Some(());
            }
            let left = binary(BinaryOperator::And, inner, types::list_of_bits(bits, inner_of)?);
            let right = types::list_of_bits(number, inner_of)?;
            self.push(Statement::Match {
                left: left.into(),
                operator,
                right,
            });
            return Some(());
        }
        let length = bits.count_ones();
        let is_prefix = bits == 0 || run_of_ones(bits, inner_of.bits).is_some_and(|(first, _)| first == 0);
        if is_plain && is_equality && is_prefix && matches!(inner_of.id, IPV4 | IPV6) {
            let right = self.prefix(number, length, inner_of)?;
            return self.matches(inner, operator, right, None);
        }
        let (left, of) = self.expression(whole)?;
        is_in_order(operator, of, data).then_some(())?;
        let right = types::number_value(number, of, self.devices)?;
        self.matches(left, operator, right, None)
    }

    /// Adds a comparison; `number`: of a plain value.
    fn matches(
        &mut self,
        left: Expression,
        operator: Operator,
        right: Expression,
        number: Option<u128>,
    ) -> Option<()> {
        let left = Arc::new(left);
        let at = self.push(Statement::Match {
            left: Arc::clone(&left),
            operator,
            right,
        });
        if let (Operator::Equal, Some(number)) = (operator, number) {
            self.learn(at, &left, number);
        }
        Some(())
    }

    /// Both ends are given, and belong to it.
    pub(super) fn range(&mut self, attrs: &Attrs<'_>) -> Option<()> {
        let operator = match attrs.be32(2)? {
            0 => Operator::Equal,
            1 => Operator::NotEqual,
            _ => return None,
        };
        let left = self.register(attrs.be32(1)?)?.clone();
        let right = self.ends(&left, attrs.data(3)?, attrs.data(4)?)?;
        let (left, _) = self.expression(&left)?;
        self.matches(left, operator, right, None)
    }

    /// A range, from its least and its greatest value.
    pub(super) fn range_of(&mut self, left: &Loaded, from: &[u8], to: &[u8]) -> Option<Statement> {
        let right = self.ends(left, from, to)?;
        let (left, _) = self.expression(left)?;
        Some(Statement::Match {
            left: left.into(),
            operator: Operator::Equal,
            right,
        })
    }

    fn ends(&mut self, left: &Loaded, from: &[u8], to: &[u8]) -> Option<Expression> {
        let (_, of) = self.expression(left)?;
        if of.is_text() || from.len() != left.bytes || to.len() != left.bytes {
            return None;
        }
        // The kernel compares bytes as they lie.
        if of.order != Order::Big && left.bytes > 1 {
            return None;
        }
        // nft writes numbers of transports there, not their names.
        let of = Type {
            id: if of.id == types::PROTOCOL {
                types::INTEGER
            } else {
                of.id
            },
            ..of
        };
        let end = |bytes| value(bytes, of, self.devices);
        Some(Expression::Range(Box::new([end(from)?, end(to)?])))
    }
}
