use clap::Parser as _;

use super::super::{Cli, Command};
use super::*;

const SEED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/rules/seed.rules");

fn args(words: &str) -> Args {
    let words = format!("observer explain {words}");
    match Cli::try_parse_from(words.split(' ')).expect("parses").command {
        Command::Explain(args) => args,
        _ => panic!("explain"),
    }
}

fn explained(args: &Args) -> anyhow::Result<Explanation> {
    super::explained(args, Naming::default())
}

#[test]
fn a_saved_ruleset_needs_nothing_else() {
    let told = explained(&args(&format!(
        "--src 10.224.0.0 --dst 10.224.2.16 --proto tcp --port 80 --iface flannel.1 --out-iface cni0 --hook forward --ruleset {SEED}"
    )))
    .expect("answers");
    let drop = told.ways[0].drop.as_ref().expect("a drop");
    assert_eq!(drop.chain.as_deref(), Some("FORWARD"));
    assert_eq!(
        told.ways[0].hints.len(),
        3,
        "two near misses, and whose policy it is"
    );
    let json = serde_json::to_string(&Written {
        schema: SCHEMA,
        told: &told,
    })
    .expect("serialises");
    assert!(
        json.starts_with(r#"{"schema":"observer.explain/v1","packet":{"family":"ip","proto":"tcp""#),
        "{json}"
    );
    assert!(!json.contains("null"), "{json}");
}

#[test]
fn wrong_words_are_told_in_one_line_that_says_what_to_do() {
    for (words, part) in [
        ("--src x --dst 10.0.0.1", "give one address"),
        ("--src 10.0.0.0/8 --dst 10.0.0.1", "give one address"),
        ("--src fd00::1 --dst 10.0.0.1", "two IPv4 or two IPv6"),
        ("--src 10.0.0.2 --dst 10.0.0.1 --port 80", "add --proto tcp"),
        ("--src 10.0.0.2 --dst 10.0.0.1 --proto tpc", "unknown protocol"),
        (
            "--src 10.0.0.2 --dst 10.0.0.1 --proto tcp --port 65536",
            "0 to 65535",
        ),
        ("--src 10.0.0.2 --dst 10.0.0.1 --mark z", "give a mark"),
        ("--src 10.0.0.2 --dst 10.0.0.1 --iface a/b", "ip -br link"),
        (
            "--src 10.0.0.2 --dst 10.0.0.1 --ruleset /proc/nonexistent",
            "No such file",
        ),
        ("--from-trace /proc/nonexistent --line 1", "No such file"),
    ] {
        let error = format!("{:#}", explained(&args(words)).expect_err(words));
        assert!(error.contains(part) && !error.contains('\n'), "{words}: {error}");
    }
}

#[test]
fn a_packet_of_this_host_comes_in_by_nothing() {
    let asked = args("--src 10.0.0.2 --dst 10.0.0.1 --proto icmp --hook output --iface eth0");
    let described = |args: &Args| args.described().expect("a packet");
    let packet = asked.with_devices(described(&asked), Course::Output);
    assert_eq!((packet.in_dev, packet.out_dev), (Dev::Absent, Dev::named("eth0")));
    assert_eq!((packet.icmp_type, packet.icmp_code), (Some(8), Some(0)));
    let answered = args("--src fd00::2 --dst fd00::1 --proto tcp --ctstate established --mark 0x4000");
    let address = |text: &str| text.parse::<IpAddr>().expect("an address");
    let packet = answered.between(address("fd00::2"), address("fd00::1"), described(&answered));
    assert!(packet.is_v6 && packet.dst == Some(address("fd00::1")));
    assert_eq!((packet.tcp_flags, packet.mark), (None, Some(0x4000)));
    assert_eq!(packet.conn.state, Some(CtState::Established));
}

#[test]
fn a_packet_is_either_described_or_recorded() {
    let parse = |words: &str| Cli::try_parse_from(format!("observer explain {words}").split(' '));
    for words in [
        "--from-trace drops.json --line 7 --ruleset x",
        "--src-pod a/b --dst-pod a/b --kube off",
        "--src-pod a/b --dst-service a/b --cri off --kube-scope cluster --node-name node02",
        "--src 10.0.0.2 --dst-service a/b --ruleset x",
    ] {
        assert!(parse(words).is_ok(), "{words}");
    }
    for words in [
        "",
        "--src 10.0.0.2",
        "--from-trace drops.json",
        "--line 7",
        "--from-trace drops.json --line 0",
        "--from-trace drops.json --line 7 --src 10.0.0.2",
        "--from-trace drops.json --line 7 --mark 1",
        "--from-trace drops.json --line 7 --src-pod a/b",
        "--from-trace drops.json --line 7 --dst-pod a/b",
        "--from-trace drops.json --line 7 --dst-service a/b",
        "--src-pod a/b",
        "--dst-service a/b",
        "--src 10.0.0.2 --src-pod a/b --dst 10.0.0.1",
        "--src 10.0.0.2 --dst 10.0.0.1 --dst-pod a/b",
        "--src 10.0.0.2 --dst 10.0.0.1 --dst-service a/b",
        "--src 10.0.0.2 --dst-pod a/b --dst-service a/b",
        "--src-pod a --dst 10.0.0.1",
        "--src 10.0.0.2 --dst-service A/b",
    ] {
        let words = words.trim();
        let parsed = if words.is_empty() {
            Cli::try_parse_from(["observer", "explain"])
        } else {
            parse(words)
        };
        assert_eq!(parsed.expect_err(words).exit_code(), 2, "{words}");
    }
}

#[test]
fn nft_in_its_own_language_is_told_to_be_listed_as_json() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("rules.nft");
    std::fs::write(&path, "table inet lab {\n}\n").expect("written");
    let words = format!("--src 10.0.0.2 --dst 10.0.0.1 --ruleset {}", path.display());
    let error = format!("{:#}", explained(&args(&words)).expect_err("no JSON"));
    assert!(
        error.contains("nft -j list ruleset") && !error.contains('\n'),
        "{error}"
    );
    std::fs::write(&path, "{\"nftables\": [{\"table\"").expect("written");
    let error = format!("{:#}", explained(&args(&words)).expect_err("cut off"));
    assert!(
        error.contains("nft -j list ruleset") && !error.contains('\n'),
        "{error}"
    );
    std::fs::write(
        &path,
        "{\"nftables\": [{\"table\": {\"family\": \"ip6\", \"name\": \"x\", \"handle\": 1}}]}",
    )
    .expect("written");
    let error = format!("{:#}", explained(&args(&words)).expect_err("another family"));
    assert!(error.contains("no table of ip or inet"), "{error}");
}

#[test]
fn without_an_api_a_service_is_where_the_rules_have_it() {
    let of = |rest: &str| {
        let words =
            format!("--src 10.224.0.0 --proto tcp --port 80 --iface flannel.1 --ruleset {SEED} {rest}");
        explained(&args(&words))
    };
    let told = of("--dst-service nginx-test/nginx-service").expect("answers");
    let asked = told.packet.dst.map(|dst| dst.to_string());
    assert_eq!(asked.as_deref(), Some("10.108.94.160"));
    assert_eq!(
        told.notes[0],
        "service nginx-test/nginx-service is 10.108.94.160, as kube-proxy's rules say"
    );
    for (rest, part) in [
        (
            "--dst-service nginx-test/none",
            "that are asked have it: give --kube, or its address with --dst",
        ),
        (
            "--dst-pod nginx-test/nginx-0",
            "give --cri or --kube, or its address with --dst",
        ),
    ] {
        let error = of(rest).expect_err("nobody knows").to_string();
        assert!(error.contains(part) && !error.contains('\n'), "{error}");
    }
}
