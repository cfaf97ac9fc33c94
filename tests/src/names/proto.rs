//! Protocol Buffers by the numbers of the real `.proto`, looked up by name: nothing here knows the numbers that observer has.

use anyhow::{Context, Result};

/// The part of kubernetes/cri-api that observer's own messages are held against, too.
const PROTO: &str = include_str!("../../../observer/src/names/cri/runtime-v1.proto");

/// A message that is being put together.
pub struct Message {
    name: &'static str,
    bytes: Vec<u8>,
}

impl Message {
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            bytes: Vec::new(),
        }
    }

    /// The field of this name has this text.
    pub fn text(mut self, field: &str, text: &str) -> Result<Self> {
        self.length_delimited(field, text.as_bytes())?;
        Ok(self)
    }

    /// The field of this name has this number.
    pub fn number(mut self, field: &str, value: u64) -> Result<Self> {
        let tag = number(self.name, field)? << 3;
        varint(tag, &mut self.bytes);
        varint(value, &mut self.bytes);
        Ok(self)
    }

    /// The field of this name has this message; once more for each of several.
    pub fn message(mut self, field: &str, message: &Self) -> Result<Self> {
        self.length_delimited(field, &message.bytes)?;
        Ok(self)
    }

    /// The map of this name has this pair.
    pub fn pair(mut self, field: &str, key: &str, value: &str) -> Result<Self> {
        // A map is a list of messages of which 1 is the key and 2 the value.
        let mut pair = Vec::new();
        for (number, text) in [(1, key), (2, value)] {
            varint(number << 3 | 2, &mut pair);
            varint(text.len() as u64, &mut pair);
            pair.extend_from_slice(text.as_bytes());
        }
        self.length_delimited(field, &pair)?;
        Ok(self)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn length_delimited(&mut self, field: &str, bytes: &[u8]) -> Result<()> {
        varint(number(self.name, field)? << 3 | 2, &mut self.bytes);
        varint(bytes.len() as u64, &mut self.bytes);
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

/// The first text of a message that has this field's number: all that is asked of a question.
pub fn text_of(bytes: &[u8], message: &str, field: &str) -> Result<Option<String>> {
    let wanted = number(message, field)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let tag = read_varint(&mut rest)?;
        match tag & 7 {
            0 => {
                read_varint(&mut rest)?;
            }
            2 => {
                let length = read_varint(&mut rest)? as usize;
                let (value, after) = rest.split_at_checked(length).context("a field is cut off")?;
                rest = after;
                if tag >> 3 == wanted {
                    return Ok(Some(String::from_utf8(value.to_vec())?));
                }
            }
            _ => anyhow::bail!("a field of a type that no question has"),
        }
    }
    Ok(None)
}

fn number(message: &str, field: &str) -> Result<u64> {
    let start = format!("message {message} ");
    let mut lines = PROTO.lines().skip_while(|line| !line.starts_with(&start)).skip(1);
    let fields = lines.by_ref().take_while(|line| *line != "}");
    for line in fields {
        let Some((declared, number)) = line.trim().trim_end_matches(';').split_once('=') else {
            continue;
        };
        if declared.trim().rsplit(' ').next() == Some(field) {
            return number.trim().parse().context("a field without a number");
        }
    }
    anyhow::bail!("{message} has no field {field}")
}

fn varint(mut value: u64, bytes: &mut Vec<u8>) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn read_varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().context("a number is cut off")?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    anyhow::bail!("a number without end")
}
