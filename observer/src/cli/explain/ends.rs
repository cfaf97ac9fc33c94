//! Who the packet is from and for: addresses, or pods and a service by their names, with the addresses that they have now.

use std::net::IpAddr;

use anyhow::{Context as _, anyhow, bail};
use tokio::runtime::Builder;

use super::super::progress::Progress;
use super::super::tell;
use super::Args;
use crate::explain::Rules;
use crate::names::{Found, FoundBy, Naming, PATIENCE, Wanted};
use crate::ruleset::xtables::save::Family;

/// Both, as far as they are known before any rules are read.
#[derive(Debug)]
pub(super) struct Ends {
    src: End,
    dst: End,
}

/// One of them.
#[derive(Debug)]
struct End {
    /// The option with its value: `--dst 10.0.0.1`.
    words: String,
    /// Who has these addresses, if that was asked.
    wanted: Option<Wanted>,
    /// The first of a family is taken.
    addresses: Vec<IpAddr>,
    /// It is a service that no source tells of: kube-proxy's rules may have its addresses.
    by_rules: bool,
}

/// Both, with the rules that a packet between them is held against.
pub(super) struct Settled {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) rules: Rules,
    /// Whose addresses they are.
    pub(super) notes: Vec<String>,
}

impl Args {
    fn src_wanted(&self) -> Option<&Wanted> {
        self.src_pod.as_ref()
    }

    fn dst_wanted(&self) -> Option<&Wanted> {
        self.dst_pod.as_ref().or(self.dst_service.as_ref())
    }

    /// Begins to ask who has which address, if that is to be known; to be called while this process still has one thread.
    ///
    /// # Errors
    /// What was named is not there. One line that says what to do.
    pub(super) fn naming(&self) -> anyhow::Result<Naming> {
        if self.src_wanted().or(self.dst_wanted()).is_none() {
            return Ok(Naming::default());
        }
        self.names.sources()?.start()
    }

    /// Both ends; whoever is named is looked up. The sources are asked no more after that.
    ///
    /// # Errors
    /// An address is none, or nobody knows a name. One line that says what to do.
    pub(super) fn ends(&self, mut naming: Naming) -> anyhow::Result<Ends> {
        let typed = |option, text: Option<&str>, wanted: Option<&Wanted>| match wanted {
            None => End::typed(option, text.unwrap_or_default()).map(Some),
            Some(_) => Ok(None),
        };
        let src = typed("--src", self.src.as_deref(), self.src_wanted())?;
        let dst = typed("--dst", self.dst.as_deref(), self.dst_wanted())?;
        let both = self.src_wanted().into_iter().chain(self.dst_wanted());
        let wanted: Vec<Wanted> = both.cloned().collect();
        let mut found = look_up(&wanted, &mut naming)?.into_iter();
        let mut or_found = |end: Option<End>| end.or_else(|| found.next()).context("nobody was looked up");
        Ok(Ends {
            src: or_found(src)?,
            dst: or_found(dst)?,
        })
    }
}

fn look_up(wanted: &[Wanted], naming: &mut Naming) -> anyhow::Result<Vec<End>> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let runtime = Builder::new_current_thread()
        .enable_time()
        .build()
        .context("no event loop")?;
    let progress = Progress::new("asking who has which address");
    let found = runtime.block_on(naming.find(wanted, PATIENCE, false));
    drop(progress);
    naming.unsaid().iter().for_each(|text| tell(text));
    let ends = found?.into_iter().map(|found| End::found(found, naming));
    Ok(ends.collect())
}

impl Ends {
    /// Takes the first family that both have, IPv4 before IPv6, and its rules, as `read` reads them. Where no source tells of a service it is
    /// looked for in these.
    ///
    /// # Errors
    /// They have none in common, or no rules have the service; or as for `read`. One line that says what to do.
    pub(super) fn settled(self, read: impl Fn(Family) -> anyhow::Result<Rules>) -> anyhow::Result<Settled> {
        let Self { src, mut dst } = self;
        let is_of_both = |family: &Family| src.may_have(*family) && dst.may_have(*family);
        let families: Vec<Family> = [Family::Ip, Family::Ip6].into_iter().filter(is_of_both).collect();
        if families.is_empty() {
            bail!("{}", apart(&src, &dst));
        }
        let mut unread = None;
        for family in families {
            let rules = match read(family) {
                Ok(rules) => rules,
                // Those of the other family may be there, and have it.
                Err(error) if dst.by_rules => {
                    unread.get_or_insert(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            if let (true, Some(wanted)) = (dst.by_rules, &dst.wanted) {
                dst.addresses = rules.addresses_of_service(wanted.name());
            }
            if let Some((from, to)) = src.first(family).zip(dst.first(family)) {
                let notes = [src.note(from), dst.note(to)];
                return Ok(Settled {
                    src: from,
                    dst: to,
                    rules,
                    notes: notes.into_iter().flatten().collect(),
                });
            }
        }
        let unknown = || {
            anyhow!(
                "{}",
                dst.wanted
                    .iter()
                    .map(|it| it.unknown_to("that are asked"))
                    .collect::<String>()
            )
        };
        Err(unread.unwrap_or_else(unknown))
    }
}

impl End {
    fn typed(option: &str, text: &str) -> anyhow::Result<Self> {
        let address = text
            .parse()
            .map_err(|_| anyhow!("{option} {text:?}: give one address, such as 10.224.2.16 or fd00::1"))?;
        Ok(Self {
            words: format!("{option} {address}"),
            wanted: None,
            addresses: vec![address],
            by_rules: false,
        })
    }

    fn found(found: Found, naming: &Naming) -> Self {
        Self {
            words: found.wanted.words(),
            addresses: naming.first_ones_first(&found.wanted),
            by_rules: found.by == FoundBy::Rules,
            wanted: Some(found.wanted),
        }
    }

    fn first(&self, family: Family) -> Option<IpAddr> {
        let mut addresses = self.addresses.iter().copied();
        addresses.find(|address| address.is_ipv6() == (family == Family::Ip6))
    }

    fn may_have(&self, family: Family) -> bool {
        self.by_rules || self.first(family).is_some()
    }

    /// `pod web/nginx-0 is 10.0.0.5; fd00::5 is not asked about`, if it was asked for by a name.
    fn note(&self, taken: IpAddr) -> Option<String> {
        let who = self.wanted.as_ref()?.who();
        let by = if self.by_rules {
            ", as kube-proxy's rules say"
        } else {
            ""
        };
        let others = self.addresses.iter().filter(|address| **address != taken);
        let others: Vec<String> = others.map(ToString::to_string).collect();
        let rest = match others.len() {
            0 => String::new(),
            1 => format!("; {} is not asked about", others[0]),
            _ => format!("; {} are not asked about", others.join(", ")),
        };
        Some(format!("{who} is {taken}{by}{rest}"))
    }
}

/// They have no family in common.
fn apart(src: &End, dst: &End) -> String {
    let shown = |end: &End| match end.wanted {
        None => end.words.clone(),
        Some(_) => {
            let addresses: Vec<String> = end.addresses.iter().map(ToString::to_string).collect();
            format!("{} ({})", end.words, addresses.join(", "))
        }
    };
    let advice = match (&src.wanted, &dst.wanted) {
        (None, None) => "give two IPv4 or two IPv6 addresses",
        _ => "there is no packet between them",
    };
    format!(
        "{} and {} are of different families: {advice}",
        shown(src),
        shown(dst)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(name: Option<Wanted>, addresses: &[&str]) -> End {
        let parsed = addresses.iter().map(|text| text.parse().expect("an address"));
        End {
            words: name
                .as_ref()
                .map_or_else(|| format!("--dst {}", addresses[0]), Wanted::words),
            wanted: name,
            addresses: parsed.collect(),
            by_rules: addresses.is_empty(),
        }
    }

    fn pod() -> Option<Wanted> {
        Some(
            Wanted::pod("web/nginx-0")
                .expect("a name")
                .by("--src-pod", "--src"),
        )
    }

    fn service() -> Option<Wanted> {
        Some(
            Wanted::service("web/nginx")
                .expect("a name")
                .by("--dst-service", "--dst"),
        )
    }

    /// Rules of kube-proxy for one family.
    fn rules(family: Family, addresses: &[&str]) -> anyhow::Result<Rules> {
        let mut text = "*nat\n:KUBE-SERVICES - [0:0]\n".to_owned();
        for (address, kind) in addresses
            .iter()
            .zip(["external IP", "cluster IP", "loadbalancer IP"])
        {
            text += &format!(
                "-A KUBE-SERVICES -d {address} -p tcp -m comment --comment \"web/nginx:http {kind}\" -m tcp --dport 80 -j RETURN\n"
            );
        }
        let document = crate::ruleset::xtables::save::parse(&(text + "COMMIT\n"))?;
        let mut rules = Rules::default();
        rules.add("a test", document, family);
        Ok(rules)
    }

    fn told(src: End, dst: End) -> Result<(String, Vec<String>), String> {
        let settled = Ends { src, dst }.settled(|family| match family {
            Family::Ip => rules(family, &["10.99.0.1", "10.100.0.1"]),
            Family::Ip6 => rules(family, &["fd00::99"]),
        });
        let settled = settled.map_err(|error| error.to_string())?;
        Ok((format!("{} {}", settled.src, settled.dst), settled.notes))
    }

    #[test]
    fn the_first_family_that_both_have_is_taken_and_of_it_the_first_address() {
        let both = ["fd00::5", "10.0.0.5", "10.0.0.6"];
        let (packet, notes) = told(end(pod(), &both), end(None, &["10.0.0.9"])).expect("settled");
        assert_eq!(packet, "10.0.0.5 10.0.0.9");
        assert_eq!(
            notes,
            ["pod web/nginx-0 is 10.0.0.5; fd00::5, 10.0.0.6 are not asked about"]
        );
        let (packet, notes) = told(end(pod(), &both[..2]), end(service(), &["fd00::1"])).expect("settled");
        assert_eq!(packet, "fd00::5 fd00::1");
        assert_eq!(
            notes,
            [
                "pod web/nginx-0 is fd00::5; 10.0.0.5 is not asked about",
                "service web/nginx is fd00::1"
            ]
        );
    }

    #[test]
    fn without_a_family_in_common_there_is_no_packet() {
        assert_eq!(
            told(end(pod(), &["10.0.0.5"]), end(None, &["fd00::1"])).expect_err("apart"),
            "--src-pod web/nginx-0 (10.0.0.5) and --dst fd00::1 are of different families: there is no packet between them"
        );
    }

    #[test]
    fn a_service_that_no_source_tells_of_is_where_the_rules_have_it() {
        let (packet, notes) = told(end(pod(), &["10.0.0.5"]), end(service(), &[])).expect("settled");
        assert_eq!(packet, "10.0.0.5 10.100.0.1", "the cluster's address");
        let by_rules =
            "service web/nginx is 10.100.0.1, as kube-proxy's rules say; 10.99.0.1 is not asked about";
        assert_eq!(notes, ["pod web/nginx-0 is 10.0.0.5", by_rules]);
        let (packet, _) = told(end(pod(), &["fd00::5"]), end(service(), &[])).expect("settled");
        assert_eq!(packet, "fd00::5 fd00::99");
        let other = Wanted::service("web/other")
            .expect("a name")
            .by("--dst-service", "--dst");
        let error = told(end(pod(), &["10.0.0.5"]), end(Some(other), &[])).expect_err("not there");
        assert_eq!(
            error,
            "--dst-service web/other: no Kubernetes API tells of it, and no rules of kube-proxy that are asked have it: give --kube, \
             or its address with --dst"
        );
    }
}
