use clap::CommandFactory;

use super::*;

const HELP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cli/help.txt");

/// The help of every verb at eighty columns.
fn help() -> String {
    let mut command = Cli::command().term_width(80);
    command.build();
    let mut text = format!("$ observer --help\n{}", command.render_long_help());
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        let page = verb.clone().term_width(80).render_long_help();
        text.push_str(&format!(
            "
$ observer {} --help
{page}",
            verb.get_name()
        ));
    }
    text.lines()
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect()
}

#[test]
fn the_help_is_the_one_in_help_txt() {
    let help = help();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(HELP, &help).expect("help.txt can be written");
    }
    let kept = std::fs::read_to_string(HELP).expect("help.txt can be read");
    assert_eq!(help, kept, "run UPDATE_DOCS=1 cargo test -p observer cli");
}

#[test]
fn wrong_usage_has_exit_code_two_and_help_has_none() {
    for words in [
        &["observer", "wacth"][..],
        &["observer", "watch", "--nope"],
        &["observer", "watch", "--count", "0"],
        &["observer", "watch", "--duration", "1x"],
        &["observer", "watch", "-o", "xml"],
        &["observer", "watch", "--budget", "0"],
        &["observer", "watch", "--probes", "all"],
    ] {
        assert_eq!(
            Cli::try_parse_from(words).expect_err("refuses").exit_code(),
            2,
            "{words:?}"
        );
    }
    assert_eq!(
        Cli::try_parse_from(["observer", "watch", "--help"])
            .expect_err("help")
            .exit_code(),
        0
    );
}

#[test]
fn options_may_be_given_again() {
    let words = "observer watch --dst 10.0.0.0/8 --dst fd00::/8 --port 80 --port 443 --netns pid:1 -o json --duration 5m --all --probes path --budget 0.5%";
    let Command::Watch(args) = Cli::try_parse_from(words.split(' ')).expect("parses").command else {
        panic!("watch")
    };
    let config = args.check().expect("checks");
    assert_eq!((config.filter.dst.len(), config.filter.ports.len()), (2, 2));
    assert_eq!(config.format, crate::report::Format::Json);
    assert_eq!(config.duration, Some(std::time::Duration::from_secs(300)));
    assert!(config.all && config.probes == watch::Probes::Path);
    assert_eq!(config.budget_permille, 5);
}

#[test]
fn every_shell_has_completions_and_there_is_a_manual_page() {
    use clap::ValueEnum;
    for shell in clap_complete::Shell::value_variants() {
        let mut script = Vec::new();
        clap_complete::generate(*shell, &mut Cli::command(), "observer", &mut script);
        assert!(
            ["fail-on-drop", "budget"]
                .iter()
                .all(|option| String::from_utf8_lossy(&script).contains(option)),
            "{shell}"
        );
    }
    let page = String::from_utf8(man::page().expect("renders")).expect("UTF-8");
    assert!(
        page.contains("OBSERVER WATCH")
            && page.contains(r"\-\-fail\-on\-drop")
            && page.contains(r"\-\-budget"),
        "{page}"
    );
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let error = anyhow::Error::new(io::Error::from(io::ErrorKind::BrokenPipe)).context("standard output");
    assert_eq!(said(&error), Outcome::Done);
    assert_eq!(said(&anyhow::anyhow!("run it as root")), Outcome::Failed);
}

#[test]
fn a_certificate_for_a_collector_goes_with_its_key_and_with_a_collector() {
    let parse = |words: &str| Cli::try_parse_from(format!("observer watch {words}").split(' '));
    assert!(parse("--otlp https://c:443 --otlp-cert a --otlp-key b").is_ok());
    for words in [
        "--otlp https://c:443 --otlp-cert a",
        "--otlp https://c:443 --otlp-key b",
        "--otlp-cert a --otlp-key b",
    ] {
        assert_eq!(parse(words).expect_err(words).exit_code(), 2, "{words}");
    }
}
