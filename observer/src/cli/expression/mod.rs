//! A filter in the words of pcap-filter(7), as `tcpdump` takes it: the part of them that is about hosts, networks, ports, protocols,
//! devices and lengths.
//!
//! A packet may be seen in several ways: its headers as they are, and its connection's tuples before and after NAT, in either
//! direction. An expression matches if it holds for one of them; `not` is what holds for none.

mod holds;
mod parse;
mod widen;
mod words;

use ipnet::IpNet;

use super::filter::{FilterSpec, NetnsSpec};
use crate::report::record::FilterInfo;
pub use holds::{Seen, View};

/// The longest expression in bytes.
const MOST_BYTES: usize = 4096;
/// How many tests one may have.
const MOST_TESTS: usize = 64;
/// How deep brackets and `not` may go.
const MOST_DEPTH: usize = 32;

/// A checked expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    /// As it was typed, with what options ask for before it.
    text: String,
    root: Node,
}

/// A part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Not(Box<Node>),
    Test(Test),
}

/// What is asked of one view of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Net(Side, IpNet),
    /// From the first to the last.
    Ports(Side, u16, u16),
    /// An IP protocol number.
    Proto(u8),
    /// IPv6, or IPv4.
    IsV6(bool),
    Iface(String),
    Netns(NetnsSpec),
    /// Bytes from the network header on.
    AtLeast(u32),
    /// As before.
    AtMost(u32),
}

/// Whose address or port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Src,
    Dst,
    Either,
}

/// An expression that cannot be used. The text is one line that says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expression: {0}")]
pub struct ExpressionError(String);

impl Expression {
    /// From the words of a command line. `None` if there are none. What was put right is added to `warnings`, one line each.
    ///
    /// # Errors
    /// The first word that cannot be used.
    pub fn parse(words: &[String], warnings: &mut Vec<String>) -> Result<Option<Self>, ExpressionError> {
        let text = words.join(" ");
        if text.trim().is_empty() {
            return Ok(None);
        }
        let root = parse::parse(&text, warnings).map_err(ExpressionError)?;
        Ok(Some(Self { text, root }))
    }

    /// What options ask for; `None` where they ask for nothing.
    pub fn of(options: &FilterSpec) -> Option<Self> {
        let lists = widen::expressed(options);
        let root = lists.reduce(|all, one| Node::And(Box::new(all), Box::new(one)))?;
        let text = options.to_string();
        Some(Self { text, root })
    }

    /// What every packet that it matches fulfils, as lists of alternatives: what the kernel side tests first.
    pub fn widened(&self) -> FilterSpec {
        widen::widen(&self.root)
    }

    /// It, and all that options ask for as well.
    #[must_use]
    pub fn and(self, options: &FilterSpec) -> Self {
        let text = if options.is_empty() {
            self.text
        } else {
            format!("{options} and ({})", self.text)
        };
        let lists = widen::expressed(options);
        let root = lists.fold(self.root, |all, one| Node::And(Box::new(all), Box::new(one)));
        Self { text, root }
    }

    /// For the `start` line.
    pub fn info(&self) -> FilterInfo {
        FilterInfo {
            text: self.text.clone(),
            expression: Some(self.text.clone()),
            ..FilterInfo::default()
        }
    }

    /// It, with each network namespace by its inode number.
    ///
    /// # Errors
    /// A namespace that is not there, as `inode` says it.
    pub fn resolved(
        mut self,
        mut inode: impl FnMut(&NetnsSpec) -> anyhow::Result<u32>,
    ) -> anyhow::Result<Self> {
        self.root.each_test(&mut |test| {
            if let Test::Netns(netns) = test {
                *netns = NetnsSpec::Inode(inode(netns)?);
            }
            Ok(())
        })?;
        Ok(self)
    }
}

impl Node {
    fn each_test(&mut self, change: &mut impl FnMut(&mut Test) -> anyhow::Result<()>) -> anyhow::Result<()> {
        match self {
            Self::And(one, other) | Self::Or(one, other) => {
                one.each_test(change)?;
                other.each_test(change)
            }
            Self::Not(node) => node.each_test(change),
            Self::Test(test) => change(test),
        }
    }
}

#[cfg(test)]
mod tests;
