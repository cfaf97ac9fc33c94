use super::super::reading::Shapes;
use super::super::saved;
use super::*;

/// A quarter of a second.
const TICK: u64 = 250_000_000;

/// Readings one after the other, a tick apart.
#[derive(Default)]
struct Watch {
    ledger: Ledger,
    shapes: Shapes,
    now_ns: u64,
}

impl Watch {
    /// Has read this three times, so that it is settled.
    fn of(rules: &str) -> Self {
        let mut watch = Self::default();
        for _ in 0..3 {
            assert_eq!(watch.read(rules), []);
        }
        watch
    }

    /// `CHAIN NUMBER` (0 for the policy) and packets of what has risen.
    fn read(&mut self, rules: &str) -> Vec<(String, u64)> {
        self.now_ns += TICK;
        let text = format!("*filter\n{rules}\nCOMMIT\n");
        let tables = saved::tables(&text, Backend::Legacy, TableFamily::Ip, &self.shapes);
        assert_eq!(tables.len(), 1, "{text}");
        let rises = self.ledger.take(&tables, self.now_ns);
        self.shapes.keep(&tables);
        let told = rises.iter().map(|rise| {
            let place = &tables[rise.table].shape.places[rise.place];
            let number = place.rule.map_or(0, |rule| rule + 1);
            (format!("{} {number}", place.chain), rise.packets)
        });
        told.collect()
    }
}

fn risen(what: &str, packets: u64) -> Vec<(String, u64)> {
    vec![(what.to_owned(), packets)]
}

/// A policy, and rules `-d 10.0.0.N -j DROP`, each with what it has counted.
fn rules(policy: u64, drops: &[(u8, u64)]) -> String {
    let lines = drops
        .iter()
        .map(|(host, packets)| format!("\n[{packets}:0] -A FORWARD -d 10.0.0.{host}/32 -j DROP"));
    format!(":FORWARD DROP [{policy}:0]{}", lines.collect::<String>())
}

#[test]
fn counters_are_added_back_after_a_table_was_replaced() {
    let mut watch = Watch::of(&rules(1000, &[(1, 500)]));
    // Between IPT_SO_SET_REPLACE and IPT_SO_SET_ADD_COUNTERS.
    assert_eq!(watch.read(&rules(0, &[(1, 0)])), []);
    assert_eq!(watch.read(&rules(1000, &[(1, 502)])), risen("FORWARD 1", 2));
    assert_eq!(watch.read(&rules(1003, &[(1, 502)])), risen("FORWARD 0", 3));
}

#[test]
fn it_may_be_read_in_between_several_times_and_count_meanwhile() {
    let mut watch = Watch::of(&rules(1000, &[]));
    let told: Vec<_> = [0, 0, 3, 0, 0, 1, 4, 1008]
        .map(|count| watch.read(&rules(count, &[])))
        .into_iter()
        .flatten()
        .map(|(_, packets)| packets)
        .collect();
    // 1, then 3 more before the last coming back; 8 in all.
    assert_eq!(told.iter().sum::<u64>(), 8, "{told:?}");
}

#[test]
fn a_rule_that_was_added_together_with_its_counts_has_not_risen() {
    let mut watch = Watch::of(&rules(1000, &[(1, 500)]));
    // iptables-restore -c at the same time: the text has changed, too.
    assert_eq!(watch.read(&rules(0, &[(2, 0), (1, 0)])), []);
    assert_eq!(
        watch.read(&rules(1000, &[(2, 0), (1, 501)])),
        risen("FORWARD 2", 1)
    );
    assert_eq!(watch.read(&rules(1000, &[(2, 70), (1, 501)])), []);
    assert_eq!(
        watch.read(&rules(1000, &[(2, 72), (1, 501)])),
        risen("FORWARD 1", 2)
    );
}

#[test]
fn zeroed_counters_count_anew() {
    let mut watch = Watch::of(&rules(1000, &[(1, 500)]));
    assert_eq!(watch.read(&rules(0, &[(1, 2)])), [], "iptables -Z");
    assert_eq!(
        watch.read(&rules(4, &[(1, 2)])),
        [],
        "it may have been set to that"
    );
    assert_eq!(watch.read(&rules(5, &[(1, 2)])), risen("FORWARD 0", 1));
    assert_eq!(watch.read(&rules(5, &[(1, 5)])), risen("FORWARD 1", 3));
}

#[test]
fn restored_with_less_than_before_it_has_not_risen() {
    let mut watch = Watch::of(&rules(1000, &[]));
    // iptables-restore -c of an older file, read in between.
    assert_eq!(watch.read(&rules(0, &[])), []);
    assert_eq!(watch.read(&rules(400, &[])), []);
    assert_eq!(watch.read(&rules(401, &[])), risen("FORWARD 0", 1));
}

#[test]
fn zeroed_and_flooded_tells_less_never_more() {
    let mut watch = Watch::of(&rules(5, &[]));
    assert_eq!(watch.read(&rules(0, &[])), []);
    assert_eq!(watch.read(&rules(100, &[])), risen("FORWARD 0", 95));
    // Zeroed and counted beyond between two readings.
    assert_eq!(watch.read(&rules(150, &[])), risen("FORWARD 0", 50));
}

#[test]
fn a_chain_that_is_zeroed_every_second_still_tells() {
    // kube-proxy writes its chains anew with counters at zero.
    let mut watch = Watch::of(&rules(0, &[(1, 40)]));
    let mut told = 0;
    for _ in 0..20 {
        for count in [0, 5, 10, 15] {
            let risen = watch.read(&rules(0, &[(1, count)]));
            told += risen.iter().map(|(_, packets)| packets).sum::<u64>();
        }
    }
    assert!((100..=300).contains(&told), "{told} of 300");
}

#[test]
fn what_does_not_come_back_is_not_waited_for() {
    let mut watch = Watch::of(&rules(100, &[]));
    for _ in 0..=MAY_COME_BACK {
        assert_eq!(watch.read(&rules(0, &[])), []);
    }
    assert_eq!(watch.read(&rules(150, &[])), risen("FORWARD 0", 150));
}

#[test]
fn rules_keep_their_counts_when_others_come_and_go_before_them() {
    let mut watch = Watch::of(&rules(10, &[(1, 500), (2, 0), (3, 7)]));
    // Rule 3 is rule 2 now; its number is the new one.
    assert_eq!(watch.read(&rules(10, &[(2, 0), (3, 9)])), risen("FORWARD 2", 2));
    assert_eq!(
        watch.read(&rules(10, &[(9, 50), (8, 60), (2, 1), (3, 9)])),
        risen("FORWARD 3", 1)
    );
}

#[test]
fn of_rules_with_one_text_nobody_knows_which_is_which_after_a_change() {
    let mut watch = Watch::of(&rules(0, &[(1, 0), (2, 1), (1, 100)]));
    // The first of two was deleted, another put behind.
    for _ in 0..3 {
        assert_eq!(watch.read(&rules(0, &[(2, 1), (1, 100), (1, 0)])), []);
    }
    assert_eq!(
        watch.read(&rules(0, &[(2, 1), (1, 104), (1, 0)])),
        risen("FORWARD 2", 4)
    );
}

#[test]
fn rules_with_one_text_that_change_places_have_not_risen() {
    // The same text as before: only the counts tell that the first was deleted and put behind.
    let mut watch = Watch::of(&rules(0, &[(1, 0), (1, 100)]));
    assert_eq!(watch.read(&rules(0, &[(1, 100), (1, 0)])), []);
    assert_eq!(watch.read(&rules(0, &[(1, 101), (1, 0)])), risen("FORWARD 1", 1));
    let mut watch = Watch::of(&rules(0, &[(1, 40), (1, 0)]));
    assert_eq!(watch.read(&rules(0, &[(1, 41), (1, 1)])).len(), 2);
}

#[test]
fn a_rule_that_is_not_there_any_more_and_comes_back_is_new() {
    let mut watch = Watch::of(&rules(0, &[(1, 5)]));
    assert_eq!(watch.read(&rules(0, &[])), []);
    assert_eq!(watch.read(&rules(0, &[(1, 0)])), []);
    assert_eq!(watch.read(&rules(0, &[(1, 50)])), [], "restored with its counts");
    assert_eq!(watch.read(&rules(0, &[(1, 51)])), []);
    assert_eq!(watch.read(&rules(0, &[(1, 52)])), risen("FORWARD 1", 1));
}

#[test]
fn a_policy_that_becomes_drop_begins_with_what_it_has_counted_already() {
    let accept = ":FORWARD ACCEPT [900:0]";
    let mut watch = Watch::of(accept);
    assert_eq!(watch.read(":FORWARD ACCEPT [950:0]"), []);
    for _ in 0..3 {
        assert_eq!(watch.read(&rules(960, &[])), []);
    }
    assert_eq!(watch.read(&rules(961, &[])), risen("FORWARD 0", 1));
    assert_eq!(watch.read(accept), []);
}

#[test]
fn a_rule_that_is_replaced_by_another_in_its_place_is_not_taken_for_it() {
    let mut watch = Watch::of(&rules(0, &[(1, 5)]));
    for packets in [9, 10, 11] {
        assert_eq!(watch.read(&rules(0, &[(2, packets)])), []);
    }
    assert_eq!(watch.read(&rules(0, &[(2, 12)])), risen("FORWARD 1", 1));
}

#[test]
fn rewritten_between_all_readings_what_is_there_still_counts() {
    let mut watch = Watch::of(&rules(0, &[(1, 0)]));
    for round in 1..9_u8 {
        let told = watch.read(&rules(u64::from(round) * 2, &[(100 + round, 0), (1, 0)]));
        assert_eq!(told, risen("FORWARD 0", 2));
    }
}

#[test]
fn what_counts_and_drops_nothing_is_never_told() {
    let text = |packets: u64| {
        format!(
            ":FORWARD ACCEPT [{packets}:0]\n:X - [0:0]\n[{packets}:0] -A FORWARD -j X\n[{packets}:0] -A FORWARD -j ACCEPT\n\
             [{packets}:0] -A X -j RETURN\n[{packets}:0] -A X -j LOG --log-prefix DROP\n[{packets}:0] -A X"
        )
    };
    let mut watch = Watch::of(&text(1));
    assert_eq!(watch.read(&text(100)), []);
}

/// A ruleset in whose life everything happens that makes counters jump.
struct Life {
    random: u64,
    /// Host, what its rule shows, and how many packets it has dropped in truth.
    rules: Vec<(u8, u64)>,
    truth: HashMap<u8, u64>,
    /// A replacement that has not added the counters back yet: so many readings more.
    pending: Option<(Vec<(u8, u64)>, u8)>,
}

impl Life {
    /// xorshift64
    fn below(&mut self, end: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % end
    }

    fn packets(&mut self) {
        for index in 0..self.rules.len() {
            let packets = self.below(4);
            let (host, count) = &mut self.rules[index];
            *count += packets;
            *self.truth.entry(*host).or_default() += packets;
        }
    }

    fn happen(&mut self) {
        if let Some((before, left)) = self.pending.take() {
            if left > 0 {
                self.pending = Some((before, left - 1));
            } else {
                for (rule, (_, count)) in self.rules.iter_mut().zip(before) {
                    rule.1 += count;
                }
            }
            return;
        }
        let number = self.rules.len() as u64;
        match self.below(12) {
            // Replaced by the tool: the old counters come back one or two readings later.
            0..3 => {
                let left = self.below(2) as u8;
                self.pending = Some((self.rules.clone(), left));
                self.rules.iter_mut().for_each(|rule| rule.1 = 0);
            }
            3 => self.rules.iter_mut().for_each(|rule| rule.1 = 0),
            4 if number > 1 => {
                let index = self.below(number) as usize;
                self.rules.remove(index);
            }
            5 if number < 6 => {
                let (at, host) = (self.below(number + 1) as usize, self.below(5) as u8);
                // Restored with a number of its own.
                let count = self.below(2000);
                self.rules.insert(at, (host, count));
            }
            6 => {
                let (one, other) = (self.below(number) as usize, self.below(number) as usize);
                self.rules.swap(one, other);
            }
            _ => {}
        }
    }
}

#[test]
fn whatever_happens_no_more_is_told_than_has_died() {
    let (mut all_told, mut all) = (0, 0);
    for seed in 1..400_u64 {
        let mut life = Life {
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            rules: vec![(1, 900), (2, 0), (3, 40)],
            truth: HashMap::new(),
            pending: None,
        };
        let mut watch = Watch::default();
        let mut told: HashMap<u8, u64> = HashMap::new();
        for _ in 0..200 {
            life.packets();
            life.happen();
            let before = life.rules.clone();
            for (place, packets) in watch.read(&rules(0, &before)) {
                let number: usize = place
                    .rsplit(' ')
                    .next()
                    .and_then(|number| number.parse().ok())
                    .expect("a number");
                *told.entry(before[number - 1].0).or_default() += packets;
            }
        }
        for (host, packets) in &told {
            let truth = life.truth.get(host).copied().unwrap_or(0);
            assert!(
                *packets <= truth,
                "seed {seed}: rule {host} dropped {truth}, told {packets}"
            );
        }
        all_told += told.values().sum::<u64>();
        all += life.truth.values().sum::<u64>();
    }
    // Half of the readings are in the middle of a change.
    assert!(all_told * 4 > all, "{all_told} of {all} were told");
}

#[test]
fn a_table_that_is_being_replaced_is_restless() {
    let mut watch = Watch::of(&rules(7, &[(1, 5)]));
    assert!(!watch.ledger.is_restless);
    for restless in [rules(0, &[(1, 0)]), rules(7, &[(2, 0), (1, 5)])] {
        watch.read(&restless);
        assert!(watch.ledger.is_restless);
    }
    watch.read(&rules(8, &[(2, 0), (1, 5)]));
    assert!(!watch.ledger.is_restless);
}

#[test]
fn totals_are_since_watching_began() {
    let mut watch = Watch::of(&rules(100, &[]));
    watch.read(&rules(103, &[]));
    let text = format!("*filter\n{}\nCOMMIT\n", rules(105, &[]));
    let tables = saved::tables(&text, Backend::Legacy, TableFamily::Ip, &watch.shapes);
    let rise = watch.ledger.take(&tables, watch.now_ns + 4 * TICK)[0];
    assert_eq!((rise.packets, rise.total, rise.since_ns), (2, 5, watch.now_ns));
}
