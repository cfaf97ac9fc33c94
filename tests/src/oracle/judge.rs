//! What observer wrote of a packet, held against what the kernel did with it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::packets::Sent;
use super::truth::{Fate, Place, Truth};

/// Beyond so many candidates observer lists no more.
pub(super) const MOST_CANDIDATES: usize = 8;

/// How good an answer was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// It died, and the right place was named with certainty.
    Exact,
    /// The right place was named, as inferred: why.
    Inferred(String),
    /// No place was named: why.
    Unknown(String),
    /// What is no ruleset was named (conntrack, NAT), and no rule and no policy had dropped it.
    NoRule,
    /// It died by a rule or policy, and nothing was told.
    Missing,
    /// It lived, and nobody said otherwise.
    Lived,
    /// What was told is not so: why.
    Wrong(String),
}

/// The place that a line of kind `drop` names.
fn named(line: &Value) -> Option<Place> {
    let drop = &line["drop"];
    let word = |name: &str| drop[name].as_str().map(str::to_owned);
    let rule = match drop["cause"].as_str()? {
        "rule" => Some(drop["rule"]["number"].as_u64()?),
        "policy" => None,
        _ => return None,
    };
    Some(Place {
        family: word("family")?,
        table: word("table")?,
        chain: word("chain")?,
        rule,
    })
}

/// The place that a line names, if it is one of netfilter's drops: for totals.
pub(super) fn place(line: &Value) -> Option<Place> {
    named(line).filter(|_| line["drop"]["layer"] == "netfilter")
}

/// Judges one packet. `line` is what was told of its death in the router.
pub(super) fn judge(sent: &Sent, truth: &Truth, line: Option<&Value>) -> Answer {
    let Some(line) = line else {
        return match &truth.fate {
            Fate::Died(_) => Answer::Missing,
            Fate::Lived | Fate::Elsewhere => Answer::Lived,
        };
    };
    let drop = &line["drop"];
    let is_netfilter = drop["layer"] == "netfilter";
    let place = match (&truth.fate, is_netfilter) {
        (Fate::Died(place), true) => place,
        (Fate::Died(place), false) => {
            return Answer::Wrong(format!(
                "{place} dropped it, and observer says layer {}",
                drop["layer"]
            ));
        }
        // It came through all rules, and died behind them.
        (_, false) => return Answer::Lived,
        (fate, true) => {
            return match drop["cause"].as_str() {
                Some("rule" | "policy") => {
                    Answer::Wrong(format!("no rule and no policy dropped it ({fate:?})"))
                }
                _ if drop["confidence"] == "exact" && drop["cause"] != "hook" => {
                    Answer::Wrong(format!("nobody is named, with certainty ({fate:?})"))
                }
                _ => Answer::NoRule,
            };
        }
    };
    if let Some(why) = headers_differ(sent, truth, line).or_else(|| path_differs(truth, line)) {
        return Answer::Wrong(why);
    }
    let note = drop["note"].as_str().unwrap_or("no note").to_owned();
    match (drop["confidence"].as_str(), named(line)) {
        (_, Some(told)) if told != *place => {
            Answer::Wrong(format!("{place} dropped it, and observer names {told}"))
        }
        (Some("exact"), Some(_)) => Answer::Exact,
        (Some("inferred"), Some(_)) => Answer::Inferred(note),
        (Some("unknown"), None) => match lacks(place, drop) {
            true => Answer::Wrong(format!("{place} dropped it, and is no candidate")),
            false => Answer::Unknown(note),
        },
        (Some("inferred"), None) if drop["cause"] == "hook" => Answer::Wrong(format!(
            "{place} dropped it, and observer names {}",
            drop["function"]
        )),
        (confidence, _) => Answer::Wrong(format!("{place} dropped it, and observer says {confidence:?}")),
    }
}

/// Whether all candidates are listed, and the place is none of them.
fn lacks(place: &Place, drop: &Value) -> bool {
    let Some(candidates) = drop["candidates"].as_array() else {
        return false;
    };
    let is_listed = candidates.iter().any(|one| is_it(place, one));
    candidates.len() < MOST_CANDIDATES && !candidates.is_empty() && !is_listed
}

/// Whether a candidate is that place.
pub(super) fn is_it(place: &Place, candidate: &Value) -> bool {
    candidate["table"] == place.table.as_str()
        && candidate["chain"] == place.chain.as_str()
        && candidate["rule"].as_u64() == place.rule
}

/// Of what the kernel shows in its traces: the addresses with which a packet came to where it died.
fn headers_differ(sent: &Sent, truth: &Truth, line: &Value) -> Option<String> {
    let headers = truth.headers.as_ref()?;
    let packet = &line["packet"];
    let address = |name: &str| packet[name].as_str().and_then(|text| text.parse().ok());
    if address("src") != Some(headers.src) || address("dst") != Some(headers.dst) {
        return Some(format!("it died as {} → {}", headers.src, headers.dst));
    }
    // Before conntrack has had it there is no translation to tell of, and none of what is untracked or invalid.
    let nat = line["flow"]["nat"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let is_told = nat.iter().any(|kind| kind == "dnat");
    let ports = (Some(sent.packet.dport), headers.dport);
    let is_same = headers.dst == sent.packet.dst && (ports.1.is_none() || ports.0 == ports.1);
    match (is_told, is_same) {
        (true, true) => Some("it was not translated, and observer says dnat".to_owned()),
        (false, false) => Some("its destination was translated, and observer does not say so".to_owned()),
        _ => None,
    }
}

/// Rules on the way that it did not meet, or was not told to have met where all is said to have been seen.
fn path_differs(truth: &Truth, line: &Value) -> Option<String> {
    let path = line["path"].as_array()?;
    let mut told: BTreeMap<Place, u64> = BTreeMap::new();
    let mut is_whole = true;
    for passage in path {
        let word = |name: &str| passage[name].as_str().map(str::to_owned);
        // A hook whose tables are not known, or which has none: which of the two is not said.
        let (Some(family), Some(table)) = (word("family"), word("table")) else {
            is_whole = false;
            continue;
        };
        is_whole &= passage["note"].is_null() && passage["evidence"] == "observed";
        if table.starts_with("lab-") {
            continue;
        }
        for step in passage["steps"].as_array().into_iter().flatten() {
            let is_policy = step["policy"].is_string();
            if !is_policy && step["rule"].is_null() {
                continue;
            }
            let place = Place {
                family: family.clone(),
                table: table.clone(),
                chain: step["chain"].as_str().unwrap_or_default().to_owned(),
                rule: step["rule"].as_u64().filter(|_| !is_policy),
            };
            *told.entry(place).or_default() += step["times"].as_u64().unwrap_or(1);
        }
    }
    if let Some((place, _)) = told
        .iter()
        .find(|(place, times)| truth.met.get(place).is_none_or(|met| met < times))
    {
        return Some(format!(
            "its way is told by {place}, which it did not meet so often"
        ));
    }
    let missed = truth.met.keys().find(|place| !told.contains_key(place));
    match missed {
        Some(place) if is_whole => Some(format!("its way is told whole, and without {place}")),
        _ => None,
    }
}

/// What came of all packets.
#[derive(Debug, Default, Clone)]
pub(super) struct Tally {
    pub(super) packets: u64,
    pub(super) died: u64,
    pub(super) exact: u64,
    pub(super) inferred: u64,
    pub(super) unknown: u64,
    pub(super) no_rule: u64,
    pub(super) missing: u64,
    /// Of those that were told: when nobody waited for them any more.
    pub(super) late: u64,
    /// Packets whose way was told, and compared.
    pub(super) ways: u64,
    /// Why it was not told exactly, how often, and where first.
    pub(super) why: BTreeMap<String, (u64, String)>,
    pub(super) wrong: Vec<String>,
}

impl Tally {
    /// Takes one packet in.
    pub(super) fn add(&mut self, at: &str, truth: &Truth, line: Option<&Value>, answer: &Answer) {
        self.packets += 1;
        self.died += u64::from(matches!(truth.fate, Fate::Died(_)));
        self.ways += u64::from(line.is_some_and(|line| line["path"].is_array()));
        match answer {
            Answer::Exact => self.exact += 1,
            Answer::Inferred(why) => {
                self.inferred += 1;
                self.not_exact(format!("inferred: {why}"), at, truth);
            }
            Answer::Unknown(why) => {
                self.unknown += 1;
                self.not_exact(format!("unknown: {why}"), at, truth);
            }
            Answer::NoRule => self.no_rule += 1,
            Answer::Missing => self.missing += 1,
            Answer::Lived | Answer::Wrong(_) => {}
        }
    }

    fn not_exact(&mut self, why: String, at: &str, truth: &Truth) {
        let first = || format!("{at}, {:?}", truth.fate);
        self.why.entry(why).or_insert_with(|| (0, first())).0 += 1;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::packets::From;
    use super::*;
    use crate::traffic::{Packet, Transport};

    fn sent() -> Sent {
        Sent {
            from: From::Client,
            packet: Packet {
                src: "203.0.113.1".parse().expect("address"),
                dst: "198.18.0.1".parse().expect("address"),
                sport: 1024,
                dport: 53,
                ttl: 64,
                transport: Transport::Udp,
                payload_bytes: 0,
                bad_checksum: false,
            },
            number: 1024,
        }
    }

    fn place(rule: Option<u64>) -> Place {
        Place {
            family: "ip".into(),
            table: "filter".into(),
            chain: "FORWARD".into(),
            rule,
        }
    }

    fn truth(fate: Fate) -> Truth {
        let met = match &fate {
            Fate::Died(place) => [(place.clone(), 1)].into(),
            _ => BTreeMap::new(),
        };
        Truth {
            fate,
            met,
            headers: None,
        }
    }

    /// A line that names a rule of FORWARD, as observer writes it.
    fn line(rule: u64) -> Value {
        json!({
            "kind": "drop",
            "packet": {"proto": "udp", "src": "203.0.113.1", "dst": "198.18.0.1", "sport": 1024, "dport": 53, "ip_id": 1024},
            "drop": {"layer": "netfilter", "cause": "rule", "family": "ip", "table": "filter", "chain": "FORWARD",
                     "rule": {"number": rule}, "confidence": "exact"},
        })
    }

    fn is_wrong(fate: Fate, line: &Value) -> bool {
        matches!(judge(&sent(), &truth(fate), Some(line)), Answer::Wrong(_))
    }

    #[test]
    fn only_the_place_that_dropped_it_is_right() {
        let died = |rule| Fate::Died(place(rule));
        assert_eq!(
            judge(&sent(), &truth(died(Some(2))), Some(&line(2))),
            Answer::Exact
        );
        assert!(is_wrong(died(Some(3)), &line(2)));
        assert!(is_wrong(died(None), &line(2)));
        assert!(is_wrong(Fate::Lived, &line(2)));
        assert_eq!(judge(&sent(), &truth(died(None)), None), Answer::Missing);
        let mut inferred = line(2);
        inferred["drop"]["confidence"] = json!("inferred");
        assert!(
            is_wrong(died(Some(3)), &inferred),
            "a guess is judged like what is certain"
        );
        let mut routing = line(2);
        routing["drop"]["layer"] = json!("routing");
        assert!(is_wrong(died(Some(2)), &routing));
        assert!(
            !is_wrong(Fate::Lived, &routing),
            "behind all rules it may die as well"
        );
    }

    #[test]
    fn who_does_not_know_lists_the_one_that_it_was() {
        let mut unknown = line(2);
        unknown["drop"] = json!({"layer": "netfilter", "confidence": "unknown",
            "candidates": [{"table": "filter", "chain": "FORWARD", "rule": 2}]});
        assert!(!is_wrong(Fate::Died(place(Some(2))), &unknown));
        assert!(is_wrong(Fate::Died(place(None)), &unknown));
    }

    #[test]
    fn a_way_has_what_was_met_and_nothing_else() {
        let died = || Fate::Died(place(Some(2)));
        let with = |steps: Value| {
            let mut line = line(2);
            line["path"] = json!([{"family": "ip", "table": "filter", "chain": "FORWARD", "evidence": "observed", "steps": steps}]);
            line
        };
        assert!(!is_wrong(died(), &with(json!([{"chain": "FORWARD", "rule": 2}]))));
        assert!(is_wrong(
            died(),
            &with(json!([{"chain": "FORWARD", "rule": 1}, {"chain": "FORWARD", "rule": 2}]))
        ));
        assert!(is_wrong(died(), &with(json!([]))), "told whole, and without it");
    }

    #[test]
    fn an_answer_to_a_packet_is_another() {
        assert!(sent().is_told(&line(1)));
        let mut answer = line(1);
        answer["packet"]["dst"] = json!("203.0.113.1");
        assert!(!sent().is_told(&answer));
        let mut echo = sent();
        echo.packet.transport = Transport::IcmpEcho { id: 1024 };
        let mut told = line(1);
        told["packet"]["proto"] = json!("icmp");
        told["packet"]["icmp_type"] = json!(8);
        assert!(echo.is_told(&told));
        told["packet"]["icmp_type"] = json!(3);
        assert!(
            !echo.is_told(&told),
            "an error of the router's with the same number in its header"
        );
    }
}
