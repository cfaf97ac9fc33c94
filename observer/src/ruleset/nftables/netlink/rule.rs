//! A rule's expressions, put together again into statements: a register is followed from what loads it to what asks for it.

use std::collections::HashMap;

use super::fields::{Base, Field, Headers, Says};
use super::loads;
use super::sets::{Data, Known, verdict};
use super::statements;
use super::types::{self, Devices, INTEGER, Order, RAW, Type, value};
use super::wire::Attrs;
use crate::ruleset::nftables::listing::{
    BinaryOperator, Element, Expression, Family, Jhash, Operator, Own, Payload, SetUpdate, Statement,
};

/// `NFT_RULE_MAXEXPRS`: the kernel takes no more.
const MOST: usize = 128;
/// Registers of four bytes.
const SLOTS: usize = 16;

/// What a register holds.
#[derive(Clone, Debug)]
pub(super) enum Left {
    /// Bits of the packet, as they are.
    Payload {
        base: Base,
        /// In bits.
        offset: u32,
        /// In bits.
        bits: u32,
    },
    /// Something that has a name.
    Named(Expression),
    /// `(of & mask) ^ xor`
    Masked {
        of: Box<Loaded>,
        mask: Vec<u8>,
        xor: Vec<u8>,
    },
    /// Moved by so many bits.
    Shifted { of: Box<Loaded>, is_left: bool, by: u32 },
    /// A constant.
    Constant(Vec<u8>),
}

/// What a register holds, and how.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    pub(super) left: Left,
    /// Of bits of the packet not known yet.
    pub(super) of: Type,
    pub(super) bytes: usize,
}

/// A statement, until it is known whether the next ones imply it.
struct Draft {
    statement: Statement,
    is_implied: bool,
}

/// Reads one rule.
pub(super) struct Reader<'a> {
    pub(super) family: Family,
    /// The sets of its table.
    pub(super) sets: &'a HashMap<String, Known>,
    pub(super) devices: &'a Devices,
    pub(super) headers: Headers,
    registers: [Option<Loaded>; SLOTS],
    drafts: Vec<Draft>,
    /// Where the statement is that says which header there is, by what it says.
    says: [Option<usize>; 4],
    /// The register and the least value of it that the last expression asked for.
    begun: Option<(u32, Vec<u8>)>,
    /// The type of ICMP that was asked for, and where, if it was one only.
    icmp: Option<(u64, Option<usize>)>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(family: Family, sets: &'a HashMap<String, Known>, devices: &'a Devices) -> Self {
        Self {
            family,
            sets,
            devices,
            headers: Headers::of(family),
            registers: [const { None }; SLOTS],
            drafts: Vec::new(),
            says: [None; 4],
            begun: None,
            icmp: None,
        }
    }

    /// Reads the expressions; `None` if they cannot be put together.
    pub(super) fn read<'e>(
        mut self,
        expressions: impl Iterator<Item = &'e [u8]>,
    ) -> Option<Box<[Statement]>> {
        for (index, bytes) in expressions.enumerate() {
            if index >= MOST {
                return None;
            }
            let (name, attrs) = statements::named(bytes)?;
            if name != "cmp" {
                self.begun = None;
            }
            self.take(name, &attrs)?;
        }
        self.drafts.retain(|draft| !draft.is_implied);
        // In a new piece of memory that is as large: to shrink that of the drafts would leave a hole behind each rule.
        let mut statements = Vec::with_capacity(self.drafts.len());
        statements.extend(self.drafts.into_iter().map(|draft| draft.statement));
        Some(statements.into())
    }

    fn take(&mut self, name: &str, attrs: &Attrs<'_>) -> Option<()> {
        if let Some(statement) = statements::plain(name, attrs, self.devices) {
            return self.plain(statement, attrs);
        }
        match name {
            "payload" => self.payload(attrs),
            "meta" => self.meta(attrs),
            "ct" => self.ct(attrs),
            "rt" => self.load(attrs.be32(1)?, loads::rt(attrs)?),
            "socket" => self.load(attrs.be32(2)?, loads::socket(attrs)?),
            "fib" => self.load(attrs.be32(1)?, loads::fib(attrs)?),
            "osf" => self.load(attrs.be32(1)?, loads::osf(attrs)?),
            "numgen" => self.load(attrs.be32(1)?, loads::numgen(attrs)?),
            "hash" => self.hash(attrs),
            "exthdr" => {
                let (expression, of, header) = loads::exthdr(attrs)?;
                self.needs(header);
                if let Some(from) = attrs.be32(7) {
                    let from = self.register(from)?.clone();
                    let value = self.assigned(&from, of)?;
                    self.push(Statement::Mangle {
                        key: expression,
                        value: Box::new(value),
                    });
                    return Some(());
                }
                // Without a register an option is taken out of the packet: `None`.
                self.load(attrs.be32(1)?, (expression, of))
            }
            "bitwise" => self.bitwise(attrs),
            "byteorder" => self.byteorder(attrs),
            "immediate" => self.immediate(attrs),
            "cmp" => self.cmp(attrs),
            "range" => self.range(attrs),
            "lookup" => self.lookup(attrs),
            "dynset" => self.dynset(attrs),
            "objref" => self.object(attrs),
            "nat" => self.nat(attrs),
            "masq" => self.masquerade(attrs),
            "redir" => self.redirect(attrs),
            "tproxy" => self.tproxy(attrs),
            "dup" => self.dup(attrs),
            "fwd" => self.fwd(attrs),
            "queue" => self.queue(attrs),
            "match" | "target" => {
                let extension = Statement::Xt {
                    kind: name.into(),
                    name: attrs.text(1)?.into(),
                };
                self.push(extension);
                Some(())
            }
            _ => None,
        }
    }

    fn cmp(&mut self, attrs: &Attrs<'_>) -> Option<()> {
        let register = attrs.be32(1)?;
        let operator = operator(attrs.be32(2)?)?;
        let left = self.register(register)?.clone();
        let before = self.begun.take().filter(|(known, _)| *known == register);
        // Of two that come one after the other, the first the least and the second the most: a range.
        if let (Some((_, least)), Operator::LessOrEqual) = (before, operator)
            && let Some(range) = self.range_of(&left, &least, attrs.data(3)?)
        {
            self.drafts.last_mut()?.statement = range;
            return Some(());
        }
        self.compare(&left, operator, attrs.data(3)?)?;
        if operator == Operator::GreaterOrEqual {
            self.begun = Some((register, attrs.data(3)?.to_vec()));
        }
        Some(())
    }

    pub(super) fn push(&mut self, statement: Statement) -> usize {
        // What is counted or done in between is for those packets only: what comes after does not imply it.
        if !matches!(statement, Statement::Match { .. }) {
            self.says = [None; 4];
            if let Some((_, at)) = &mut self.icmp {
                *at = None;
            }
        }
        self.drafts.push(Draft {
            statement,
            is_implied: false,
        });
        self.drafts.len() - 1
    }

    fn plain(&mut self, statement: Statement, attrs: &Attrs<'_>) -> Option<()> {
        let is_v6 = self.family == Family::Ip6 || self.headers.network == Some("ip6");
        let statement = match is_v6 {
            true => statements::for_ipv6(statement, attrs, self.devices)?,
            false => statement,
        };
        if let Statement::Reject { kind, .. } = &statement {
            match kind.as_deref() {
                // Without a family it would be an answer of either.
                Some("icmp") if self.headers.network != Some("ip") => return None,
                Some("icmp" | "icmpv6") => self.imply(Says::Family),
                Some("tcp reset") if self.has_one_family() => self.imply(Says::Protocol),
                _ => {}
            }
        }
        self.push(statement);
        Some(())
    }

    fn has_one_family(&self) -> bool {
        matches!(self.family, Family::Ip | Family::Ip6)
    }

    pub(super) fn register(&self, number: u32) -> Option<&Loaded> {
        self.registers.get(slot(number)?)?.as_ref()
    }

    fn set_register(&mut self, number: u32, loaded: Loaded) -> Option<()> {
        let slot = slot(number)?;
        let slots = loaded.bytes.div_ceil(4).max(1);
        // What was there, or reaches into it, is no longer whole.
        for (at, before) in self.registers.iter_mut().enumerate().take(slot) {
            let ends = |loaded: &Loaded| at + loaded.bytes.div_ceil(4);
            if before.as_ref().is_some_and(|before| ends(before) > slot) {
                *before = None;
            }
        }
        for at in self.registers.get_mut(slot..slot.checked_add(slots)?)? {
            *at = None;
        }
        self.registers[slot] = Some(loaded);
        Some(())
    }

    fn load(&mut self, register: u32, (expression, of): (Expression, Type)) -> Option<()> {
        self.set_register(
            register,
            Loaded {
                left: Left::Named(expression),
                bytes: of.bytes(),
                of,
            },
        )
    }

    fn payload(&mut self, attrs: &Attrs<'_>) -> Option<()> {
        let (base, offset, len) = (Base::of(attrs.be32(2)?)?, attrs.be32(3)?, attrs.be32(4)?);
        if len == 0 || len > 16 {
            return None;
        }
        let (offset, bits) = (offset.checked_mul(8)?, len * 8);
        let left = Left::Payload { base, offset, bits };
        let loaded = Loaded {
            left,
            of: Type::wide(RAW, bits, Order::Big),
            bytes: len as usize,
        };
        if attrs.has(5) {
            return self.write_payload(attrs.be32(5)?, (base, offset, bits));
        }
        self.set_register(attrs.be32(1)?, loaded)
    }

    /// `ip ttl set 64`: of a part of a byte the others are written again.
    fn write_payload(&mut self, from: u32, (base, offset, bits): (Base, u32, u32)) -> Option<()> {
        let written = self.register(from)?.clone();
        if let Left::Masked { of, mask, xor } = &written.left
            && matches!(of.left, Left::Payload { base: b, offset: o, bits: w } if (b, o, w) == (base, offset, bits))
        {
            let set = Order::Big.number(xor)?;
            let kept = Order::Big.number(mask)?;
            let all = full(bits);
            let changed = all & !kept;
            let (first, width) = run_of_ones(changed, bits)?;
            let field = self.field(base, offset + first, width)?;
            let shift = bits - first - width;
            (set & kept == 0).then_some(())?;
            let key = payload_expression(&field);
            let value = types::number_value(set >> shift, field.of, self.devices)?;
            self.push(Statement::Mangle {
                key,
                value: Box::new(value),
            });
            return Some(());
        }
        let field = self.field(base, offset, bits)?;
        let value = self.assigned(&written, field.of)?;
        self.push(Statement::Mangle {
            key: payload_expression(&field),
            value: Box::new(value),
        });
        Some(())
    }

    /// What a register gives to something of a type.
    pub(super) fn assigned(&mut self, loaded: &Loaded, of: Type) -> Option<Expression> {
        match &loaded.left {
            Left::Constant(bytes) => {
                let bytes = bytes.get(..of.bytes())?;
                if of.is_bits() {
                    return types::list_of_bits(of.order.number(bytes)?, of);
                }
                value(bytes, of, self.devices)
            }
            _ => Some(self.expression(loaded)?.0),
        }
    }

    fn meta(&mut self, attrs: &Attrs<'_>) -> Option<()> {
        let (key, of) = loads::meta(attrs.be32(2)?)?;
        let Some(from) = attrs.be32(3) else {
            return self.load(attrs.be32(1)?, (key, of));
        };
        let from = self.register(from)?.clone();
        let value = self.assigned(&from, of)?;
        self.push(Statement::Mangle {
            key,
            value: Box::new(value),
        });
        Some(())
    }

    fn ct(&mut self, attrs: &Attrs<'_>) -> Option<()> {
        let (key, of) = loads::ct(attrs)?;
        let Some(from) = attrs.be32(4) else {
            return self.load(attrs.be32(1)?, (key, of));
        };
        let from = self.register(from)?.clone();
        let value = self.assigned(&from, of)?;
        self.push(Statement::Mangle {
            key,
            value: Box::new(value),
        });
        Some(())
    }

    fn hash(&mut self, attrs: &Attrs<'_>) -> Option<()> {
        let to = attrs.be32(2)?;
        if attrs.be32(7) == Some(1) {
            return self.load(to, loads::symhash(attrs)?);
        }
        let (of, _) = self.concatenation(attrs.be32(1)?, attrs.be32(3)? as usize)?;
        let expression = Expression::Jhash(Box::new(Jhash {
            of,
            modulus: u64::from(attrs.be32(4)?),
            seed: attrs.be32(5).map(u64::from),
            offset: u64::from(attrs.be32(6).unwrap_or_default()),
        }));
        self.load(to, (expression, Type::wide(INTEGER, 32, Order::Host)))
    }

    fn bitwise(&mut self, attrs: &Attrs<'_>) -> Option<()> {
        let of = self.register(attrs.be32(1)?)?.clone();
        let bytes = attrs.be32(3)? as usize;
        if bytes != of.bytes || matches!(of.left, Left::Constant(_)) {
            return None;
        }
        let (of_type, boxed) = (of.of, Box::new(of));
        let left = match attrs.be32(6).unwrap_or_default() {
            0 => {
                let (mask, xor) = (attrs.data(4)?.to_vec(), attrs.data(5)?.to_vec());
                (mask.len() == bytes && xor.len() == bytes).then_some(())?;
                Left::Masked { of: boxed, mask, xor }
            }
            shift @ (1 | 2) => Left::Shifted {
                of: boxed,
                is_left: shift == 1,
                // The kernel has it as this machine's number.
                by: u32::from_ne_bytes(attrs.data(7)?.try_into().ok()?),
            },
            _ => return None,
        };
        self.set_register(
            attrs.be32(2)?,
            Loaded {
                left,
                of: of_type,
                bytes,
            },
        )
    }

    /// The same number with its bytes the other way round.
    fn byteorder(&mut self, attrs: &Attrs<'_>) -> Option<()> {
        let mut of = self.register(attrs.be32(1)?)?.clone();
        let (len, size) = (attrs.be32(4)? as usize, attrs.be32(5)? as usize);
        // One byte has no order; nft 1.0.6 turns it round all the same.
        if len == 1 && attrs.be32(1)? == attrs.be32(2)? {
            return Some(());
        }
        if len != of.bytes
            || size != len
            || matches!(
                of.left,
                Left::Constant(_) | Left::Masked { .. } | Left::Shifted { .. }
            )
        {
            return None;
        }
        if let Left::Payload { base, offset, bits } = of.left {
            let field = self.field(base, offset, bits)?;
            of.left = Left::Named(payload_expression(&field));
            of.of = field.of;
        }
        of.of.order = match attrs.be32(3)? {
            0 => Order::Host,
            1 => Order::Big,
            _ => return None,
        };
        self.set_register(attrs.be32(2)?, of)
    }

    fn immediate(&mut self, attrs: &Attrs<'_>) -> Option<()> {
        let to = attrs.be32(1)?;
        if to == 0 {
            let verdict = verdict(attrs.nest(2)?.nest(2)?)?;
            self.push(Statement::Verdict(verdict));
            return Some(());
        }
        let bytes = attrs.data(2)?.to_vec();
        self.set_register(
            to,
            Loaded {
                of: Type::wide(RAW, u32::try_from(bytes.len() * 8).ok()?, Order::Big),
                bytes: bytes.len(),
                left: Left::Constant(bytes),
            },
        )
    }

    /// What a register holds, as nft would write it, and its type.
    pub(super) fn expression(&mut self, loaded: &Loaded) -> Option<(Expression, Type)> {
        match &loaded.left {
            Left::Payload { base, offset, bits } => {
                let (base, offset, bits) = (*base, *offset, *bits);
                if let Some(field) = self.field(base, offset, bits) {
                    return Some((payload_expression(&field), field.of));
                }
                let raw = Payload::Raw {
                    base: base.name().into(),
                    offset: u64::from(offset),
                    length: u64::from(bits),
                };
                Some((Expression::Payload(raw), Type::wide(RAW, bits, Order::Big)))
            }
            Left::Named(expression) => Some((expression.clone(), loaded.of)),
            Left::Masked { of, mask, xor } => self.masked(of, mask, xor),
            Left::Shifted { of, is_left, by } => {
                // A field that is a part of a byte, moved to its end.
                if !is_left
                    && let Left::Masked { of: inner, mask, xor } = &of.left
                    && let Some((expression, of, shift)) = self.part(inner, mask, xor)
                    && shift == *by
                {
                    let bits = u32::try_from(loaded.bytes * 8).ok()?;
                    return Some((expression, Type { bits, ..of }));
                }
                let (inner, of) = self.expression(of)?;
                let operator = if *is_left {
                    BinaryOperator::ShiftLeft
                } else {
                    BinaryOperator::ShiftRight
                };
                Some((binary(operator, inner, Expression::Number(u64::from(*by))), of))
            }
            Left::Constant(_) => None,
        }
    }

    /// A field that a mask takes out of bytes: what it is, and how many bits lie behind it.
    pub(super) fn part(&mut self, of: &Loaded, mask: &[u8], xor: &[u8]) -> Option<(Expression, Type, u32)> {
        let Left::Payload { base, offset, bits } = of.left else {
            return None;
        };
        if xor.iter().any(|byte| *byte != 0) {
            return None;
        }
        let (first, width) = run_of_ones(Order::Big.number(mask)?, bits)?;
        if width == bits {
            return None;
        }
        let field = self.field(base, offset.checked_add(first)?, width)?;
        Some((payload_expression(&field), field.of, bits - first - width))
    }

    /// `of & mask ^ xor | or`
    fn masked(&mut self, of: &Loaded, mask: &[u8], xor: &[u8]) -> Option<(Expression, Type)> {
        if let Some((expression, of, 0)) = self.part(of, mask, xor) {
            return Some((expression, of));
        }
        let (mut expression, of) = self.expression(of)?;
        let all = full(of.bits);
        let (mut mask, mut xor) = (of.order.number(mask)?, of.order.number(xor)?);
        let or = xor & !mask;
        xor &= mask;
        mask |= or;
        let devices = self.devices;
        let shown = |number: u128| match of.is_bits() {
            true => types::list_of_bits(number, of),
            false => types::number_value(number, of, devices),
        };
        if mask & all != all || (or == 0 && xor == 0) {
            expression = binary(BinaryOperator::And, expression, shown(mask & all)?);
        }
        if xor != 0 {
            expression = binary(BinaryOperator::Xor, expression, shown(xor)?);
        }
        if or != 0 {
            expression = binary(BinaryOperator::Or, expression, shown(or)?);
        }
        Some((expression, of))
    }

    /// What lies in registers from this one on: so many bytes, each part at the beginning of a register.
    pub(super) fn concatenation(&mut self, from: u32, bytes: usize) -> Option<(Expression, Vec<Type>)> {
        let first = slot(from)?;
        let (mut at, mut parts, mut types) = (first, Vec::new(), Vec::new());
        while (at - first) * 4 < bytes {
            let loaded = self.registers.get(at)?.clone()?;
            at += loaded.bytes.div_ceil(4).max(1);
            let (expression, of) = self.expression(&loaded)?;
            parts.push(expression);
            types.push(of);
        }
        let is_whole = match parts.len() {
            0 => false,
            1 => self.registers.get(first)?.as_ref()?.bytes == bytes,
            _ => (at - first) * 4 == bytes.next_multiple_of(4),
        };
        is_whole.then_some(())?;
        if parts.len() == 1 {
            return Some((parts.pop()?, types));
        }
        Some((Expression::Concatenation(parts), types))
    }

    fn lookup(&mut self, attrs: &Attrs<'_>) -> Option<()> {
        let known = self.sets.get(&attrs.text(1)?)?;
        let from = attrs.be32(2)?;
        let (key, data) = match self.part_lookup(from, known) {
            Some(part) => part?,
            None => {
                let (key, parts) = self.concatenation(from, known.key_bytes)?;
                (parts.len() == known.keys.len()).then_some(())?;
                (key, of_set(known))
            }
        };
        let is_inverted = attrs.be32(5).unwrap_or_default() & 1 != 0;
        let Some(to) = attrs.be32(3) else {
            let operator = if is_inverted {
                Operator::NotEqual
            } else {
                Operator::Equal
            };
            self.icmp_types(&key, &data);
            self.push(Statement::Match {
                left: key.into(),
                operator,
                right: data,
            });
            return Some(());
        };
        if is_inverted {
            return None;
        }
        if known.data == Data::Verdict {
            (to == 0).then_some(())?;
            self.push(Statement::Vmap {
                key: key.into(),
                data,
            });
            return Some(());
        }
        let Data::Value(types) = &known.data else {
            return None;
        };
        let map = Expression::Map {
            key: Box::new(key),
            data: Box::new(data),
        };
        let bytes = match types.as_slice() {
            [one] => one.bytes(),
            // Parts of what is found are used one by one.
            _ => return None,
        };
        self.set_register(
            to,
            Loaded {
                left: Left::Named(map),
                of: *types.first()?,
                bytes,
            },
        )
    }

    /// A part of a byte is looked up, with its bits where they lie: `Some(None)` if that cannot be said in nft's words.
    fn part_lookup(&mut self, from: u32, known: &Known) -> Option<Option<(Expression, Expression)>> {
        let loaded = self.register(from)?.clone();
        let Left::Masked { of, mask, xor } = &loaded.left else {
            return None;
        };
        let (key, of, behind) = self.part(of, mask, xor)?;
        if behind == 0 {
            return None;
        }
        let elements = match known.is_anonymous {
            true => known.of_part(of, behind, self.devices),
            false => None,
        };
        Some(elements.map(|elements| (key, Expression::Set(elements))))
    }

    fn dynset(&mut self, attrs: &Attrs<'_>) -> Option<()> {
        let name = attrs.text(1)?;
        let known = self.sets.get(&name)?;
        let operation = match attrs.be32(3)? {
            0 => "add",
            1 => "update",
            2 => "delete",
            _ => return None,
        };
        // Of a set that the rule made itself (`meter`).
        if known.is_anonymous {
            return None;
        }
        let (key, _) = self.concatenation(attrs.be32(4)?, known.key_bytes)?;
        let data = match attrs.be32(5) {
            None => None,
            Some(from) => {
                let from = self.register(from)?.clone();
                let Data::Value(types) = &known.data else {
                    return None;
                };
                let [of] = types.as_slice() else { return None };
                Some(self.assigned(&from, *of)?)
            }
        };
        let own: Vec<Statement> = match attrs.get(7) {
            Some(bytes) => vec![statements::of_element(bytes, self.devices)?],
            None => attrs
                .list(10)
                .map(|bytes| statements::of_element(bytes, self.devices))
                .collect::<Option<_>>()?,
        };
        let statements = own.into_iter().map(statements::uncounted).collect();
        let timeout = attrs.be64(6).map(|ms| ms / 1000).filter(|seconds| *seconds > 0);
        self.push(Statement::Set(Box::new(SetUpdate {
            operation: operation.to_owned(),
            element: Element {
                data,
                own: Own {
                    timeout,
                    ..Own::default()
                }
                .of_element(),
                ..Element::of(key)
            },
            set: name,
            statements,
        })));
        Some(())
    }

    fn object(&mut self, attrs: &Attrs<'_>) -> Option<()> {
        if let Some(kind) = attrs.be32(1) {
            let name = Expression::Word(attrs.text(2)?.into());
            self.push(statements::reference(kind, name)?);
            return Some(());
        }
        let known = self.sets.get(&attrs.text(4)?)?;
        let Data::Object(kind) = known.data else {
            return None;
        };
        let (key, _) = self.concatenation(attrs.be32(3)?, known.key_bytes)?;
        let map = Expression::Map {
            key: Box::new(key),
            data: Box::new(of_set(known)),
        };
        self.push(statements::reference(kind, map)?);
        Some(())
    }

    fn queue(&mut self, attrs: &Attrs<'_>) -> Option<()> {
        if attrs.has(4) {
            return None;
        }
        let (first, total) = (attrs.be16(1)?, attrs.be16(2)?);
        let flags = attrs.be16(3).unwrap_or_default();
        let last = first.checked_add(total.checked_sub(1)?)?;
        let number = |number: u16| Expression::Number(u64::from(number));
        (flags & !3 == 0).then_some(())?;
        let words = [(1, "bypass"), (2, "fanout")].into_iter();
        self.push(Statement::Queue {
            number: Some(Box::new(match first == last {
                true => number(first),
                false => Expression::Range(Box::new([number(first), number(last)])),
            })),
            flags: words
                .filter(|(bit, _)| flags & bit != 0)
                .map(|(_, word)| word.to_owned())
                .collect(),
        });
        Some(())
    }

    /// A field, by which it is also known that what says so before need not be said.
    pub(super) fn field(&mut self, base: Base, offset: u32, bits: u32) -> Option<Field> {
        let field = self
            .field_at(base, offset)
            .filter(|field| field.of.bits == bits)?;
        if (field.protocol, field.name) == ("vlan", "type") {
            self.imply(Says::Link);
        } else {
            self.needs(Some(field.protocol));
        }
        // One that only a message of one type has.
        if matches!(field.name, "mtu" | "max-delay")
            && let Some((_, Some(at))) = self.icmp
            && let Some(draft) = self.drafts.get_mut(at)
        {
            draft.is_implied = true;
        }
        Some(field)
    }

    /// The field that begins there. What lies behind the type and code of ICMP depends on them.
    pub(super) fn field_at(&self, base: Base, offset: u32) -> Option<Field> {
        let known = self.headers.field_at(base, offset);
        if known.is_some() || base != Base::Transport {
            return known;
        }
        let protocol = self
            .headers
            .transport
            .filter(|name| matches!(*name, "icmp" | "icmpv6"))?;
        let (name, bits) = match (protocol, self.icmp?.0, offset) {
            ("icmp", 0 | 8, 32) | ("icmpv6", 128 | 129, 32) => ("id", 16),
            ("icmp", 0 | 8, 48) | ("icmpv6", 128 | 129, 48) => ("sequence", 16),
            ("icmp", 3, 48) => ("mtu", 16),
            ("icmpv6", 2, 32) => ("mtu", 32),
            ("icmpv6", 130, 32) => ("max-delay", 16),
            _ => return None,
        };
        Some(Field {
            protocol,
            name,
            offset,
            of: Type::wide(INTEGER, bits, Order::Big),
        })
    }

    fn icmp_types(&mut self, key: &Expression, data: &Expression) {
        let is_type = matches!(key, Expression::Payload(Payload::Field { protocol, field })
            if field == "type" && matches!(protocol.as_str(), "icmp" | "icmpv6"));
        let Expression::Set(elements) = data else { return };
        let is = |word: &str| {
            let mut words = elements.iter().map(|one| &one.key);
            words.any(|key| matches!(key, Expression::Word(name) if name == word))
        };
        if is_type && elements.len() == 2 && is("echo-request") && is("echo-reply") {
            self.icmp = Some((
                if self.headers.transport == Some("icmp") {
                    8
                } else {
                    128
                },
                None,
            ));
        }
    }

    /// A header is spoken of by name: that it is there need not be said before.
    fn needs(&mut self, header: Option<&str>) {
        match header {
            Some("ip" | "ip6" | "arp") => self.imply(Says::Family),
            Some("vlan") => {
                self.imply(Says::Link);
                self.imply(Says::EtherType);
            }
            Some("ether") => self.imply(Says::Link),
            Some(icmp @ ("icmp" | "icmpv6")) => {
                // Each is of one family; of the other one it would be something else.
                let own = if icmp == "icmp" { "ip" } else { "ip6" };
                if self.headers.network == Some(own) {
                    self.imply(Says::Family);
                }
                self.imply(Says::Protocol);
            }
            Some("th") | None => {}
            Some(_) => self.imply(Says::Protocol),
        }
    }

    fn imply(&mut self, what: Says) {
        let at = self.says[index(what)].take();
        if let Some(draft) = at.and_then(|at| self.drafts.get_mut(at)) {
            draft.is_implied = true;
        }
    }

    /// Takes a comparison that a rule requires: it may say which header follows.
    pub(super) fn learn(&mut self, at: usize, left: &Expression, number: u128) {
        let Ok(number) = u64::try_from(number) else { return };
        let says = match left {
            Expression::Meta(key) => match key.as_str() {
                "iiftype" => Says::Link,
                "nfproto" => Says::Family,
                "protocol" => Says::EtherType,
                "l4proto" => Says::Protocol,
                _ => return,
            },
            Expression::Payload(Payload::Field { protocol, field }) => {
                match (protocol.as_str(), field.as_str()) {
                    ("ether" | "vlan", "type") => Says::EtherType,
                    ("ip", "protocol") | ("ip6", "nexthdr") => Says::Protocol,
                    ("icmp" | "icmpv6", "type") => {
                        self.icmp = Some((number, Some(at)));
                        return;
                    }
                    _ => return,
                }
            }
            _ => return,
        };
        let is_named = self.headers.learn(says, number);
        // Where there are two families, what names a transport by a field of one of them also says which, and is not left out.
        let is_own =
            matches!(left, Expression::Payload(_)) && says == Says::Protocol && !self.has_one_family();
        let at = Some(at).filter(|_| is_named && !is_own);
        let is_vlan = says == Says::EtherType && matches!(number, 0x8100 | 0x88a8);
        let slot = match says {
            Says::EtherType if !is_vlan => Says::Family,
            other => other,
        };
        self.says[index(slot)] = at;
    }
}

fn index(says: Says) -> usize {
    match says {
        Says::Family => 0,
        Says::Protocol => 1,
        Says::EtherType => 2,
        Says::Link => 3,
    }
}

/// How a set is referred to: by its name, or, if it has none, by its elements.
fn of_set(known: &Known) -> Expression {
    if known.is_anonymous {
        Expression::Set(known.set.elements.clone())
    } else {
        Expression::Reference(known.set.name.clone())
    }
}

pub(super) fn payload_expression(field: &Field) -> Expression {
    Expression::Payload(Payload::Field {
        protocol: field.protocol.into(),
        field: field.name.into(),
    })
}

pub(super) fn binary(operator: BinaryOperator, left: Expression, right: Expression) -> Expression {
    Expression::Binary {
        operator,
        operands: vec![left, right],
    }
}

/// All ones of so many bits.
pub(super) fn full(bits: u32) -> u128 {
    u128::MAX.checked_shr(128 - bits.min(128)).unwrap_or(0)
}

/// Where the only run of ones in a mask of so many bits begins, and how long it is.
pub(super) fn run_of_ones(mask: u128, bits: u32) -> Option<(u32, u32)> {
    let (width, behind) = (mask.count_ones(), mask.trailing_zeros());
    let is_run = width > 0 && mask >> behind == full(width);
    let first = bits.checked_sub(behind)?.checked_sub(width)?;
    is_run.then_some((first, width))
}

/// The first of a register's four bytes: registers of sixteen bytes have numbers of their own.
fn slot(register: u32) -> Option<usize> {
    Some(match register {
        1..=4 => (register as usize - 1) * 4,
        8..=23 => register as usize - 8,
        _ => return None,
    })
}

fn operator(number: u32) -> Option<Operator> {
    Some(match number {
        0 => Operator::Equal,
        1 => Operator::NotEqual,
        2 => Operator::Less,
        3 => Operator::LessOrEqual,
        4 => Operator::Greater,
        5 => Operator::GreaterOrEqual,
        _ => return None,
    })
}
