//! Options of `watch` and `top` that are not on the command line: from the environment, and from a file. They become words of the command line,
//! so that whatever is checked there is checked here.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

/// The verbs that take them, and the tables of the file that have them.
const VERBS: [&str; 2] = ["watch", "top"];
/// The option that names the file.
const CONFIG: &str = "config";
/// The argument without dashes.
const EXPRESSION: &str = "expression";
/// The longest file in bytes.
const MOST_BYTES: u64 = 64 * 1024;

/// The command line, completed by what the environment and then the file say of options that are not on it.
///
/// `variable` looks into the environment.
///
/// # Errors
/// The file cannot be read, or something in it is no option: one line that says what to do.
pub fn completed(
    command: &Command,
    matches: &ArgMatches,
    words: Vec<OsString>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Vec<OsString>> {
    let takes_them = matches.subcommand().filter(|(name, _)| VERBS.contains(name));
    let Some((name, given)) = takes_them else {
        return Ok(words);
    };
    let Some(verb) = command.find_subcommand(name) else {
        return Ok(words);
    };
    let file = given
        .get_one::<PathBuf>(CONFIG)
        .cloned()
        .or_else(|| variable(&variable_of(verb, CONFIG)).map(PathBuf::from));
    let table = file
        .as_deref()
        .map(|path| read(path, verb))
        .transpose()?
        .unwrap_or_default();
    let mut options = Vec::new();
    let mut expression = None;
    for arg in settable(verb) {
        let id = arg.get_id().as_str();
        if given.value_source(id) == Some(ValueSource::CommandLine) {
            continue;
        }
        let values = match variable(&variable_of(verb, id)) {
            Some(text) => from_variable(verb, arg, &text)?,
            None => match table.get(&name_of(arg)) {
                Some(value) => from_file(arg, value, file.as_deref())?,
                None => continue,
            },
        };
        if id == EXPRESSION {
            expression = values.into_iter().next();
        } else {
            options.extend(values);
        }
    }
    Ok(joined(words, name, options, expression))
}

/// Every option of the verb but the file itself and help.
fn settable(verb: &Command) -> impl Iterator<Item = &Arg> {
    verb.get_arguments()
        .filter(|arg| ![CONFIG, "help", "version"].contains(&arg.get_id().as_str()))
}

/// `keep-disagreements`
fn name_of(arg: &Arg) -> String {
    arg.get_long().unwrap_or(EXPRESSION).to_owned()
}

/// `OBSERVER_WATCH_KEEP_DISAGREEMENTS`. An identifier of an argument is its long name, or what the program calls it.
fn variable_of(verb: &Command, id: &str) -> String {
    let name = match id {
        "format" => "output",
        other => other,
    };
    format!("OBSERVER_{}_{name}", verb.get_name())
        .replace('-', "_")
        .to_ascii_uppercase()
}

/// The file's table for the verb.
fn read(path: &Path, verb: &Command) -> Result<toml::Table> {
    let shown = path.display();
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MOST_BYTES + 1).read_to_string(&mut text))
        .with_context(|| format!("--{CONFIG} {shown}"))?;
    if text.len() as u64 > MOST_BYTES {
        bail!("--{CONFIG} {shown}: longer than {MOST_BYTES} bytes; is it the right file?");
    }
    let mut file: toml::Table = toml::from_str(&text).map_err(|error| {
        let line = error
            .span()
            .map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        anyhow::anyhow!("--{CONFIG} {shown}, line {line}: {}", first_line(error.message()))
    })?;
    let name = verb.get_name();
    let table = file.remove(name);
    // One file may have those of both.
    if let Some(other) = file.keys().find(|key| !VERBS.contains(&key.as_str())) {
        bail!("--{CONFIG} {shown}: {other:?} is not known; options stand in a table [{name}]");
    }
    let table = match table {
        None => toml::Table::new(),
        Some(toml::Value::Table(table)) => table,
        Some(_) => bail!("--{CONFIG} {shown}: {name} is no table; begin it with [{name}]"),
    };
    let unknown = table
        .keys()
        .find(|key| !settable(verb).any(|arg| name_of(arg) == **key));
    if let Some(key) = unknown {
        bail!(
            "--{CONFIG} {shown}: {key:?} is no option; keys are the options of observer {name} --help without their dashes, \
             and {EXPRESSION}"
        );
    }
    Ok(table)
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

/// Lists are separated by commas.
fn from_variable(verb: &Command, arg: &Arg, text: &str) -> Result<Vec<String>> {
    let name = variable_of(verb, arg.get_id().as_str());
    if is_switch(arg) {
        return match text {
            "1" | "true" | "yes" => Ok(vec![format!("--{}", name_of(arg))]),
            "" | "0" | "false" | "no" => Ok(Vec::new()),
            _ => bail!("{name}={text:?}: say true or false"),
        };
    }
    let is_list = matches!(arg.get_action(), ArgAction::Append) && arg.get_long().is_some();
    let values = text
        .split(',')
        .filter(|_| is_list)
        .chain(Some(text).filter(|_| !is_list));
    Ok(values
        .filter(|value| !value.is_empty())
        .map(|value| word(arg, value))
        .collect())
}

fn from_file(arg: &Arg, value: &toml::Value, file: Option<&Path>) -> Result<Vec<String>> {
    let name = name_of(arg);
    let refuse = |wants: &str| {
        let shown = file.map(Path::display);
        let shown = shown.map_or_else(String::new, |path| path.to_string());
        anyhow::anyhow!("--{CONFIG} {shown}: {name} takes {wants}")
    };
    if is_switch(arg) {
        return match value {
            toml::Value::Boolean(true) => Ok(vec![format!("--{name}")]),
            toml::Value::Boolean(false) => Ok(Vec::new()),
            _ => Err(refuse("true or false")),
        };
    }
    let one = |value: &toml::Value| match value {
        toml::Value::String(text) => Some(word(arg, text)),
        toml::Value::Integer(number) => Some(word(arg, &number.to_string())),
        toml::Value::Float(number) => Some(word(arg, &number.to_string())),
        _ => None,
    };
    let is_list = matches!(arg.get_action(), ArgAction::Append) && arg.get_long().is_some();
    match value {
        toml::Value::Array(values) if is_list => values
            .iter()
            .map(|value| one(value).ok_or_else(|| refuse("a list of words or numbers")))
            .collect(),
        toml::Value::Array(_) => Err(refuse("one value, no list")),
        value => one(value)
            .map(|word| vec![word])
            .ok_or_else(|| refuse("a word or a number")),
    }
}

/// `--dst=10.0.0.1`; of the argument without dashes the value alone.
fn word(arg: &Arg, value: &str) -> String {
    match arg.get_long() {
        Some(long) => format!("--{long}={value}"),
        None => value.to_owned(),
    }
}

/// Options come right behind the verb, the expression last.
fn joined(
    mut words: Vec<OsString>,
    verb: &str,
    options: Vec<String>,
    expression: Option<String>,
) -> Vec<OsString> {
    let verb = words
        .iter()
        .position(|word| word == verb)
        .map_or(words.len(), |at| at + 1);
    words.splice(verb..verb, options.into_iter().map(OsString::from));
    if let Some(expression) = expression.filter(|text| !text.trim().is_empty()) {
        if !words.iter().any(|word| word == "--") {
            words.push("--".into());
        }
        words.push(expression.into());
    }
    words
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, FromArgMatches as _};

    use super::super::{Cli, Command as Verb, top, watch};
    use super::*;

    fn args(words: &str, variables: &[(&str, &str)], file: Option<&str>) -> Result<watch::Args> {
        match verb(words, variables, file)? {
            Verb::Watch(args) => Ok(args),
            other => bail!("{other:?}"),
        }
    }

    fn of_top(words: &str, variables: &[(&str, &str)], file: Option<&str>) -> Result<top::Args> {
        match verb(words, variables, file)? {
            Verb::Top(args) => Ok(args),
            other => bail!("{other:?}"),
        }
    }

    fn verb(words: &str, variables: &[(&str, &str)], file: Option<&str>) -> Result<Verb> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("observer.toml");
        let mut words: Vec<OsString> = words.split(' ').map(OsString::from).collect();
        if let Some(text) = file {
            std::fs::write(&path, text).expect("can be written");
            words.extend(["--config".into(), path.clone().into()]);
        }
        let mut command = Cli::command();
        command.build();
        let matches = command.clone().try_get_matches_from(&words).expect("parses");
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let words = completed(&command, &matches, words, variable).map_err(|error| {
            // The path is another one each time.
            anyhow::anyhow!(format!("{error:#}").replace(&path.display().to_string(), "FILE"))
        })?;
        let matches = Cli::command().try_get_matches_from(words)?;
        Ok(Cli::from_arg_matches(&matches)?.command)
    }

    #[test]
    fn the_command_line_wins_over_the_environment_and_that_over_the_file() {
        let file = "[watch]\ndst = [\"10.1.0.0/16\", \"10.2.0.0/16\"]\nport = 53\nproto = \"udp\"\ncount = 7\nall = true\n\
                    expression = \"not port 22\"\noutput = \"json\"\n";
        let all = args("observer watch", &[], Some(file)).expect("fits");
        assert_eq!(all.asked.filter.dst, ["10.1.0.0/16", "10.2.0.0/16"]);
        assert_eq!(
            (all.asked.filter.ports, all.asked.filter.protos),
            (vec!["53".to_owned()], vec!["udp".to_owned()])
        );
        assert_eq!(all.count.map(std::num::NonZero::get), Some(7));
        assert_eq!(all.asked.expression, ["not port 22"]);
        assert!(all.all && all.format == crate::report::Format::Json);
        let variables = [
            ("OBSERVER_WATCH_DST", "10.3.0.0/16,10.4.0.0/16"),
            ("OBSERVER_WATCH_ALL", "no"),
            ("OBSERVER_WATCH_OUTPUT", "text"),
            ("OBSERVER_WATCH_COUNT", "8"),
        ];
        let some = args("observer watch --count 9 tcp", &variables, Some(file)).expect("fits");
        assert_eq!(some.asked.filter.dst, ["10.3.0.0/16", "10.4.0.0/16"]);
        assert_eq!(some.count.map(std::num::NonZero::get), Some(9));
        assert!(!some.all && some.format == crate::report::Format::Text);
        assert_eq!(some.asked.expression, ["tcp"]);
        assert_eq!(some.asked.filter.ports, ["53"]);
    }

    #[test]
    fn every_option_can_be_set_by_its_own_name() {
        let mut command = Cli::command();
        command.build();
        for (name, prefix) in [("watch", "OBSERVER_WATCH_"), ("top", "OBSERVER_TOP_")] {
            let verb = command.find_subcommand(name).expect("is there");
            for arg in settable(verb) {
                let long = arg.get_long().unwrap_or(EXPRESSION);
                let expected = format!("{prefix}{}", long.replace('-', "_").to_ascii_uppercase());
                assert_eq!(variable_of(verb, arg.get_id().as_str()), expected);
            }
        }
    }

    #[test]
    fn top_has_a_table_and_variables_of_its_own() {
        let file = "[watch]\ndst = \"10.1.0.0/16\"\n[top]\nport = 53\nfreeze-dir = \"/root\"\nexpression = \"tcp\"\n";
        let variables = [("OBSERVER_WATCH_PORT", "80"), ("OBSERVER_TOP_SRC", "10.2.0.0/16")];
        let top = of_top("observer top", &variables, Some(file)).expect("fits");
        assert_eq!(top.asked.filter.ports, ["53"]);
        assert_eq!(top.asked.filter.src, ["10.2.0.0/16"]);
        assert_eq!(top.asked.expression, ["tcp"]);
        assert_eq!(top.freeze_dir, Some(PathBuf::from("/root")));
        assert!(top.asked.filter.dst.is_empty());
        let error =
            of_top("observer top", &[], Some("[top]\ncount = 1\n")).expect_err("an option of watch's");
        let says = "\"count\" is no option; keys are the options of observer top --help";
        assert!(error.to_string().contains(says), "{error:#}");
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        for (file, says) in [
            (
                "[watch]\ndts = \"10.0.0.1\"",
                "--config FILE: \"dts\" is no option",
            ),
            (
                "[wacth]\n",
                "\"wacth\" is not known; options stand in a table [watch]",
            ),
            ("dst = \"10.0.0.1\"", "\"dst\" is not known"),
            ("watch = 1", "watch is no table"),
            ("[watch]\ncount = [1, 2]", "count takes one value, no list"),
            ("[watch]\nall = \"yes\"", "all takes true or false"),
            ("[watch]\ndst = true", "dst takes a word or a number"),
            ("[watch]\nconfig = \"x\"", "\"config\" is no option"),
            ("\n[watch\n", "line 2"),
            ("[watch]\ncount = \"x\"", "invalid value 'x' for '--count"),
        ] {
            let error = format!("{:#}", args("observer watch", &[], Some(file)).expect_err(file));
            assert!(error.contains(says), "{file:?}: {error}");
        }
        let error = args("observer watch", &[("OBSERVER_WATCH_ALL", "maybe")], None).expect_err("no switch");
        assert_eq!(
            error.to_string(),
            "OBSERVER_WATCH_ALL=\"maybe\": say true or false"
        );
        let error = args("observer watch --config /proc/nonexistent", &[], None).expect_err("not there");
        assert!(format!("{error:#}").contains("No such file"), "{error:#}");
        assert!(args("observer watch --config /dev/zero", &[], None).is_err());
    }

    #[test]
    fn other_verbs_are_left_alone() {
        let command = Cli::command();
        let words: Vec<OsString> = ["observer", "man"].map(OsString::from).into();
        let matches = command.clone().try_get_matches_from(&words).expect("parses");
        let same =
            completed(&command, &matches, words.clone(), |_| Some("x".to_owned())).expect("nothing to do");
        assert_eq!(same, words);
    }
}
