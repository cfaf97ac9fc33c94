//! What rules ask of a packet, each once: thousands of rules ask for the same few fields.

use std::sync::Arc;

use super::expression::Expression;
use super::statement::Statement;

/// More different things are not looked for.
const MOST: usize = 64;

/// What was asked so far.
#[derive(Default)]
pub struct Shared(Vec<Arc<Expression>>);

impl Shared {
    /// Has statements share with those before what they ask.
    pub fn share(&mut self, statements: &mut [Statement]) {
        for statement in statements {
            if let Statement::Match { left: asked, .. } | Statement::Vmap { key: asked, .. } = statement {
                match self.0.iter().find(|known| *known == asked) {
                    Some(known) => *asked = Arc::clone(known),
                    None if self.0.len() < MOST => self.0.push(Arc::clone(asked)),
                    None => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Operator;
    use super::*;

    #[test]
    fn what_rules_ask_is_there_once_and_stays_what_it_is() {
        let asks = |key: &str, number| Statement::Match {
            left: Expression::Meta(key.to_owned()).into(),
            operator: Operator::Equal,
            right: Expression::Number(number),
        };
        let before = [asks("mark", 1), asks("l4proto", 2), asks("mark", 3)];
        let mut after = before.clone();
        Shared::default().share(&mut after);
        assert_eq!(after, before);
        let left = |index: usize| match &after[index] {
            Statement::Match { left, .. } => Arc::clone(left),
            _ => unreachable!("a condition"),
        };
        assert!(Arc::ptr_eq(&left(0), &left(2)) && !Arc::ptr_eq(&left(0), &left(1)));
    }
}
