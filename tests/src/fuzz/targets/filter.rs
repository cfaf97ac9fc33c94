//! The words of a filter on the command line.

use observer::cli::expression::Expression;
use observer::cli::filter::{FilterSpec, RawFilter};

pub(super) fn filters() -> Vec<Vec<u8>> {
    [
        "10.224.0.0/16\nfd00::/64\n80\ntcp\ncni0\nname",
        "::ffff:10.0.0.1/120\n10.0.0.1\n65535\n132\neth0\npid:1",
        "0.0.0.0/0\n\n0\nicmpv6\nlo\n4026531840",
        "\n\n\n\n\n\n10.0.0.1\ndst net 10.224 and (tcp dst port 80 or 443) and not src or dst host fd00::1",
        "\n\n\n\n\n\n\n!(ip6 proto \\tcp&&portrange 1-9||less 60) and on\tcni0 or netns pid:1 and net 10.0.0.0 mask 255.0.0.0",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

/// A filter that is taken is taken again from its own text; one that is not says so in one line.
pub(super) fn words(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.split('\n');
    let mut words = || -> Vec<String> {
        let line = lines.next().unwrap_or_default();
        line.split('\t')
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let raw = RawFilter {
        dst: words(),
        src: words(),
        ports: words(),
        protos: words(),
        ifaces: words(),
        netns: words(),
        hosts: words(),
    };
    expression(&words());
    match raw.check() {
        Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
        Ok(checked) => {
            let FilterSpec {
                dst,
                src,
                ports,
                hosts,
                ..
            } = &checked.spec;
            let again = RawFilter {
                dst: dst.iter().map(ToString::to_string).collect(),
                src: src.iter().map(ToString::to_string).collect(),
                ports: ports.iter().map(ToString::to_string).collect(),
                protos: raw.protos,
                ifaces: raw.ifaces,
                netns: raw.netns,
                hosts: hosts.iter().map(ToString::to_string).collect(),
            };
            let spec = again.check().map(|checked| checked.spec);
            assert_eq!(spec.as_ref(), Ok(&checked.spec));
            checked.spec.info();
        }
    }
}

/// What is taken says what the kernel side tests first; what is not says so in one line.
fn expression(words: &[String]) {
    match Expression::parse(words, &mut Vec::new()) {
        Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
        Ok(Some(expression)) => {
            let first = expression.widened();
            expression.and(&first).info();
        }
        Ok(None) => {}
    }
}
