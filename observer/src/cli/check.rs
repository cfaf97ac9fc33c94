//! `observer check`: what this kernel allows, and how exact the answers will be.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Serialize;

use super::Outcome;
use crate::report::{Format, Look, escape, json, wrap};

/// The value of the JSON's `schema` field.
pub const SCHEMA: &str = "observer.check/v1";
/// Columns of the names on the left.
const NAME_COLUMNS: usize = 12;

/// What `check` takes.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 observer watch would work, 2 it would not, or read counters only, or an error."
)]
pub struct Args {
    /// What standard output shows
    #[arg(short = 'o', long = "output", value_name = "FORMAT", default_value = "text")]
    pub format: Format,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// This program's version.
    pub version: String,
    /// The kernel release.
    pub kernel: String,
    /// Whether `watch` would work.
    pub works: bool,
    /// Where it would not: whether it could read the counters of rules and policies.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub counters: bool,
    /// What observer leaves itself of the rights that it was started with.
    pub rights: Rights,
    /// Whether the kernel describes its types (`/sys/kernel/btf/vmlinux`).
    pub btf: bool,
    /// The tracepoint that every drop passes; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracepoint: Option<Tracepoint>,
    /// The lockdown mode (`none`, `integrity`, `confidentiality`); absent where the kernel has none, or does not show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lockdown: Option<String>,
    /// The rulesets' backends.
    pub backends: Vec<BackendCheck>,
    /// The probes that observer can use here, from the one that it cannot do without to the optional ones.
    pub ladder: Vec<Rung>,
    /// What this kernel lacks.
    pub missing: Vec<Missing>,
    /// What keeps `watch` from working, or from working well.
    pub problems: Vec<Problem>,
}

/// What observer may do, once it has given up what it does not need.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rights {
    /// Names of capabilities.
    pub capabilities: Vec<String>,
    /// Whether no program that it runs can gain privileges.
    pub no_new_privileges: bool,
    /// Whether the kernel refuses system calls that it does not make.
    pub filtered: bool,
}

impl Rights {
    fn words(&self) -> String {
        let capabilities = if self.capabilities.is_empty() {
            "no capabilities".to_owned()
        } else {
            self.capabilities.join(", ")
        };
        let privileges = if self.no_new_privileges {
            "no new privileges"
        } else {
            "new privileges can be had"
        };
        let calls = if self.filtered {
            "system calls filtered"
        } else {
            "system calls not filtered: no seccomp"
        };
        format!("{capabilities}; {privileges}; {calls}")
    }
}

/// A tracepoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tracepoint {
    /// Its name: `skb:kfree_skb`.
    pub name: String,
    /// Its arguments, in order: `skb`, `location`, `reason`, `rx_sk`.
    pub arguments: Vec<String>,
}

/// One backend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BackendCheck {
    /// `legacy`, `iptables-nft`, `nft`.
    pub name: String,
    /// Whether it is loaded here.
    pub present: bool,
    /// The confidence to expect, and why where it is not `exact`.
    pub attribution: String,
}

/// A probe, and what it is good for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rung {
    /// The kernel function or tracepoint.
    pub probe: String,
    /// How it is attached: `tracepoint`, `fentry`, `kprobe`; absent where it cannot be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub how: Option<String>,
    /// What answers it gives.
    pub gives: String,
    /// Why it is not there, or not there in the best way, and what that costs in answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

impl Rung {
    fn words(&self) -> String {
        match (&self.how, &self.missing) {
            (Some(how), None) => format!("{} by {how}: {}", self.probe, self.gives),
            (Some(how), Some(missing)) => format!("{} by {how}: {}; {missing}", self.probe, self.gives),
            (None, Some(missing)) => format!("{}, not there: {missing}", self.probe),
            (None, None) => format!("{}, not there: it would give {}", self.probe, self.gives),
        }
    }
}

/// Something that this kernel lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// What.
    pub feature: String,
    /// What that costs in answers.
    pub cost: String,
}

/// Something that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What is wrong.
    pub text: String,
    /// What to do.
    pub fix: String,
}

#[derive(Serialize)]
struct Written<'a> {
    schema: &'static str,
    #[serde(flatten)]
    report: &'a CheckReport,
}

/// Prints the report; the outcome says whether `watch` would work.
///
/// # Errors
/// What the system says of writing it.
pub fn print(report: &CheckReport, format: Format) -> anyhow::Result<Outcome> {
    let page = match format {
        Format::Text => text(report, Look::of_stdout()),
        Format::Json => {
            json(&Written {
                schema: SCHEMA,
                report,
            })? + "\n"
        }
    };
    io::stdout().write_all(page.as_bytes())?;
    Ok(if report.works {
        Outcome::Done
    } else {
        Outcome::Failed
    })
}

fn text(report: &CheckReport, look: Look) -> String {
    let mut page = Page {
        look,
        text: String::new(),
    };
    page.row("observer", &report.version);
    page.row("kernel", &report.kernel);
    page.row("types", if report.btf { "BTF" } else { "no BTF" });
    page.row(
        "drops",
        &report
            .tracepoint
            .as_ref()
            .map_or("no tracepoint".to_owned(), |tracepoint| {
                format!("{} ({})", tracepoint.name, tracepoint.arguments.join(", "))
            }),
    );
    page.row(
        "lockdown",
        report
            .lockdown
            .as_deref()
            .unwrap_or("not known (no /sys/kernel/security/lockdown)"),
    );
    page.row("rights", &report.rights.words());
    for backend in &report.backends {
        let presence = if backend.present { "in use" } else { "not in use" };
        page.row(
            &backend.name,
            &format!("{presence}; answers: {}", backend.attribution),
        );
    }
    for rung in &report.ladder {
        page.row("probe", &rung.words());
    }
    for missing in &report.missing {
        page.row("missing", &format!("{}: {}", missing.feature, missing.cost));
    }
    for problem in &report.problems {
        page.row("problem", &problem.text);
        page.row("", &problem.fix);
    }
    page.row(
        "watch",
        if report.works {
            "would work"
        } else if report.counters {
            "would see no packets, and read the counters of rules and policies that drop"
        } else {
            "would not work"
        },
    );
    page.text
}

struct Page {
    look: Look,
    text: String,
}

impl Page {
    fn row(&mut self, name: &str, words: &str) {
        let columns = self.look.width.saturating_sub(NAME_COLUMNS + 2);
        for (number, line) in wrap(&escape(words), columns).iter().enumerate() {
            let name = if number == 0 { escape(name) } else { "".into() };
            let _ = writeln!(self.text, "{name:<NAME_COLUMNS$}  {line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> CheckReport {
        CheckReport {
            version: "0.1.0".into(),
            kernel: "6.18.0".into(),
            works: false,
            counters: false,
            rights: Rights {
                capabilities: vec!["CAP_BPF".into(), "CAP_PERFMON".into()],
                no_new_privileges: true,
                filtered: false,
            },
            btf: true,
            tracepoint: Some(Tracepoint {
                name: "skb:kfree_skb".into(),
                arguments: ["skb", "location", "reason", "rx_sk"].map(str::to_owned).into(),
            }),
            lockdown: Some("integrity".into()),
            backends: vec![BackendCheck {
                name: "legacy".into(),
                present: true,
                attribution: "exact".into(),
            }],
            ladder: vec![
                rung("kfree_skb", Some("tracepoint"), None),
                rung(
                    "nf_hook_slow",
                    Some("kprobe"),
                    Some("no fentry: costs twice as much"),
                ),
                rung(
                    "nft_immediate_eval",
                    None,
                    Some("kprobes are forbidden; rules without counters are inferred"),
                ),
                rung("ipt_do_table", None, None),
            ],
            missing: vec![Missing {
                feature: "kprobes".into(),
                cost: "rules of native nft tables without counters are inferred by replaying the packet"
                    .into(),
            }],
            problems: vec![Problem {
                text: "not enough privilege\u{1b}[2J".into(),
                fix: "run it as root: sudo observer check".into(),
            }],
        }
    }

    fn rung(probe: &str, how: Option<&str>, missing: Option<&str>) -> Rung {
        Rung {
            probe: probe.into(),
            how: how.map(str::to_owned),
            gives: format!("what {probe} sees"),
            missing: missing.map(str::to_owned),
        }
    }

    #[test]
    fn the_page_reads_well_at_eighty_columns() {
        let expected = "\
observer      0.1.0
kernel        6.18.0
types         BTF
drops         skb:kfree_skb (skb, location, reason, rx_sk)
lockdown      integrity
rights        CAP_BPF, CAP_PERFMON; no new privileges; system calls not
              filtered: no seccomp
legacy        in use; answers: exact
probe         kfree_skb by tracepoint: what kfree_skb sees
probe         nf_hook_slow by kprobe: what nf_hook_slow sees; no fentry: costs
              twice as much
probe         nft_immediate_eval, not there: kprobes are forbidden; rules
              without counters are inferred
probe         ipt_do_table, not there: it would give what ipt_do_table sees
missing       kprobes: rules of native nft tables without counters are inferred
              by replaying the packet
problem       not enough privilege\\x1b[2J
              run it as root: sudo observer check
watch         would not work
";
        assert_eq!(text(&report(), Look::plain(80)), expected);
    }

    #[test]
    fn the_json_leaves_out_what_does_not_apply() {
        let report = CheckReport {
            lockdown: None,
            tracepoint: None,
            ..report()
        };
        let json = serde_json::to_string(&Written {
            schema: SCHEMA,
            report: &report,
        })
        .expect("serialises");
        assert!(
            json.starts_with(r#"{"schema":"observer.check/v1","version":"0.1.0""#),
            "{json}"
        );
        assert!(!json.contains("null") && !json.contains("lockdown"), "{json}");
        let rung = r#"{"probe":"kfree_skb","how":"tracepoint","gives":"what kfree_skb sees"}"#;
        assert!(json.contains(rung), "{json}");
    }
}
