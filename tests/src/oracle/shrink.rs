//! From a packet of which something wrong was told to the fewest rules that it takes, as a scenario.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::judge::{Answer, judge};
use super::packets::Sent;
use super::rules::Rules;
use super::truth::{Fate, Truth};
use super::{SETTLING, Tried, file};
use crate::cluster::Backend;
use crate::traffic::Transport;

/// More rulesets are not tried.
const MOST_TRIES: usize = 80;

/// Shrinks and saves; returns what was found.
pub(super) fn shrink(
    tried: &mut Tried<'_>,
    rules: &Rules,
    sent: &Sent,
    save: &Path,
    case: u64,
) -> Result<String> {
    let Some((mut why, mut truth)) = fails(tried, rules, sent)? else {
        return Ok("  alone this packet is told rightly: it takes those before it".to_owned());
    };
    let mut least = rules.clone();
    let mut tries = 0;
    let mut chunk = least.rules().len().div_ceil(2);
    while chunk > 0 && tries < MOST_TRIES {
        let mut at = 0;
        while at < least.rules().len() && tries < MOST_TRIES {
            let lines = least.rules();
            let part = &lines[at..(at + chunk).min(lines.len())];
            let fewer = least.without(part);
            tries += 1;
            match fails(tried, &fewer, sent)? {
                Some(found) => {
                    (why, truth) = found;
                    least = fewer;
                }
                None => at += chunk,
            }
        }
        chunk /= 2;
    }
    let name = format!(
        "oracle-{}-{}-{}-{case}",
        tried.trial.backend.word(),
        tried.trial.family.word(),
        tried.trial.seed
    );
    let path = file(save, &name);
    std::fs::create_dir_all(save)?;
    std::fs::write(&path, scenario(tried, &least, sent, &truth, &why))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(format!(
        "  {} rules are enough ({why}): {}",
        least.rules().len(),
        path.display()
    ))
}

/// Why what is told of a packet alone is wrong with these rules, and what became of it.
fn fails(tried: &mut Tried<'_>, rules: &Rules, sent: &Sent) -> Result<Option<(String, Truth)>> {
    let mut rules = rules.clone();
    if rules.load(&tried.world).is_err() {
        return Ok(None);
    }
    std::thread::sleep(SETTLING);
    let one = std::slice::from_ref(sent);
    let (truths, lines) = tried.send(one)?;
    let Some(truth) = truths.and_then(|mut truths| truths.pop()) else {
        return Ok(None);
    };
    let line = lines.iter().find(|line| sent.is_told(line));
    Ok(match judge(sent, &truth, line) {
        Answer::Wrong(why) => Some((why, truth)),
        Answer::Missing => Some(("nothing is told".to_owned(), truth)),
        _ => None,
    })
}

/// As the lab runs it.
fn scenario(tried: &Tried<'_>, rules: &Rules, sent: &Sent, truth: &Truth, why: &str) -> String {
    let packet = &sent.packet;
    let native = tried.trial.backend == Backend::Native;
    let (proto, flags) = match packet.transport {
        Transport::Udp => ("udp", String::new()),
        Transport::IcmpEcho { .. } => ("icmp", String::new()),
        Transport::Tcp { flags } => {
            let names = [(2, "SYN"), (4, "RST"), (16, "ACK")];
            let set = names.iter().filter(|(bit, _)| flags & bit != 0);
            let set: Vec<String> = set.map(|(_, name)| format!("\"{name}\"")).collect();
            ("tcp", format!("flags = [{}]\n", set.join(", ")))
        }
    };
    let culprit = match &truth.fate {
        Fate::Died(place) if native => format!(
            "[[native]]\nnode = \"router\"\ntable = \"{} {}\"\nchain = \"{}\"\n{}hook = \"FORWARD\" # to be looked at\npackets = 1\n",
            place.family,
            place.table,
            place.chain,
            place
                .rule
                .map_or_else(String::new, |rule| format!("rule = {rule}\n")),
        ),
        Fate::Died(place) => format!(
            "[[culprit]]\nnode = \"router\"\ntable = \"{}\"\nchain = \"{}\"\n{}packets = 1\n",
            place.table,
            place.chain,
            place
                .rule
                .map_or_else(String::new, |rule| format!("rule = {rule}\n")),
        ),
        Fate::Lived | Fate::Elsewhere => "[[forbid]]\nline.drop.layer = \"netfilter\"\n".to_owned(),
    };
    format!(
        "about = \"Found by the oracle: {}\"\ncluster = \"oracle\"\nbackends = [\"{}\"]\nfamilies = [\"{}\"]\n\
         observer.args = [\"--netns\", \"{{{{netns:router}}}}\"]\n\n[[setup]]\ndo = \"{}\"\nnode = \"router\"\ntext = '''\n{}'''\n\n\
         [[step]]\ndo = \"raw\"\nfrom = \"{}\"\nsrc = \"{}\"\nto = \"{}\"\nproto = \"{proto}\"\nsport = {}\nport = {}\n{flags}ttl = {}\nsize = {}\n\n{culprit}",
        why.replace(['"', '\\'], "'"),
        tried.trial.backend.word(),
        tried.trial.family.word(),
        if native { "nft" } else { "rules" },
        rules.text,
        sent.from.node(),
        packet.src,
        packet.dst,
        packet.sport,
        packet.dport,
        packet.ttl,
        packet.payload_bytes,
    )
}
