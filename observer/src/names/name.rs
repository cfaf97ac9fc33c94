//! Names as Kubernetes allows them. Whatever else a source calls something is refused, not put right.

/// The longest DNS label, and so the longest name of a namespace or a container.
const MAX_LABEL_BYTES: usize = 63;
/// The longest name of a pod, a service or a node: a DNS subdomain.
const MAX_SUBDOMAIN_BYTES: usize = 253;
/// The longest identifier that tells two objects of one name apart.
const MAX_UID_BYTES: usize = 128;

/// A pod or a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ObjectName(Box<str>);

impl ObjectName {
    /// Of a namespace and a name; `None` if one of them is not what Kubernetes allows.
    pub(crate) fn new(namespace: &str, name: &str) -> Option<Self> {
        (is_label(namespace) && is_subdomain(name)).then(|| Self(format!("{namespace}/{name}").into()))
    }

    /// Of `namespace/name`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (namespace, name) = text.split_once('/')?;
        Self::new(namespace, name)
    }

    /// `namespace/name`.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A DNS label: lower case, digits and hyphens, none of these first or last.
pub(crate) fn is_label(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.len() <= MAX_LABEL_BYTES && has_good_ends(text) && text.bytes().all(is_plain)
}

/// A DNS subdomain: labels of any length with dots between them, as pods, services and nodes are named.
pub(crate) fn is_subdomain(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    text.len() <= MAX_SUBDOMAIN_BYTES && text.bytes().all(is_plain) && text.split('.').all(has_good_ends)
}

/// An identifier of the source's own, which is compared and never shown.
pub(crate) fn is_uid(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_UID_BYTES
}

fn has_good_ends(text: &str) -> bool {
    let is_good = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    is_good(text.as_bytes().first()) && is_good(text.as_bytes().last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_kubernetes_are_taken() {
        for (namespace, name) in [
            ("nginx-test", "nginx-0"),
            ("kube-system", "kube-dns"),
            ("a", "web.example.com"),
            ("0", "0"),
            (&*"n".repeat(63), &*"p".repeat(253)),
        ] {
            let expected = format!("{namespace}/{name}");
            let taken = ObjectName::new(namespace, name).expect("taken");
            assert_eq!(taken.as_str(), expected);
            assert_eq!(ObjectName::parse(&expected), Some(taken));
        }
    }

    #[test]
    fn what_kubernetes_does_not_allow_is_refused() {
        let (long_label, long_name) = ("n".repeat(64), "p".repeat(254));
        for bad in [
            "",
            "-a",
            "a-",
            ".",
            "a..b",
            "a.-b",
            "A",
            "a b",
            "a\u{1b}[2J",
            "a\n",
            "ä",
            "a/b",
            "a\u{202e}",
            &long_name,
        ] {
            assert!(!is_subdomain(bad), "{bad:?}");
            assert_eq!(ObjectName::new("web", bad), None, "{bad:?}");
            assert_eq!(ObjectName::new(bad, "web"), None, "{bad:?}");
        }
        assert!(!is_label(&long_label) && !is_label("a.b"));
        assert_eq!(ObjectName::parse("web"), None);
        assert!(!is_uid("") && !is_uid(&"u".repeat(129)) && is_uid("3f0c"));
    }
}
