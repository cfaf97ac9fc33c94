//! Where the API server is, from a kubeconfig or what a pod is given. Programs that a kubeconfig would have run for a token are not run.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use super::access::{Access, Token, read};
use super::tls::Own;

/// Where a pod finds what its service account may show.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Config {
    current_context: String,
    contexts: Vec<Context>,
    clusters: Vec<Cluster>,
    users: Vec<User>,
}

#[derive(Deserialize)]
struct Context {
    name: String,
    context: ContextBody,
}

#[derive(Deserialize)]
struct ContextBody {
    cluster: String,
    #[serde(default)]
    user: String,
}

#[derive(Deserialize)]
struct Cluster {
    name: String,
    cluster: ClusterBody,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct ClusterBody {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    tls_server_name: Option<String>,
    insecure_skip_tls_verify: bool,
}

#[derive(Deserialize)]
struct User {
    name: String,
    #[serde(default)]
    user: UserBody,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct UserBody {
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    exec: Option<serde::de::IgnoredAny>,
    auth_provider: Option<serde::de::IgnoredAny>,
    username: Option<String>,
}

/// What a kubeconfig says of the cluster that it is set to.
///
/// # Errors
/// It cannot be read, or asks for something that observer does not do.
pub(crate) fn of_file(path: &Path) -> Result<Access> {
    let bytes = read(path)?;
    let text = std::str::from_utf8(&bytes).context("it is no text")?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    of_text(text, directory).with_context(|| path.display().to_string())
}

fn of_text(text: &str, directory: &Path) -> Result<Access> {
    let config: Config = serde_saphyr::from_str(text).map_err(|error| {
        // The library shows the place in the text, in several lines: it may hold secrets.
        log::debug!("kubeconfig: {error}");
        anyhow::anyhow!("it is no kubeconfig")
    })?;
    let current = config.current_context;
    let context = config
        .contexts
        .into_iter()
        .find(|context| context.name == current);
    let Some(context) = context.map(|context| context.context) else {
        bail!("it has no current context: choose one with kubectl config use-context");
    };
    let cluster = config
        .clusters
        .into_iter()
        .find(|one| one.name == context.cluster);
    let cluster = cluster
        .context("the cluster of its current context is not in it")?
        .cluster;
    let user = config.users.into_iter().find(|user| user.name == context.user);
    let user = user.map(|user| user.user).unwrap_or_default();
    if cluster.insecure_skip_tls_verify {
        bail!("it says insecure-skip-tls-verify: name the cluster's certificate authority instead");
    }
    if user.exec.is_some() || user.auth_provider.is_some() || user.username.is_some() {
        bail!(
            "its user is known by a program or a password, which observer does not use: give it a token or a certificate"
        );
    }
    let part = |data: Option<&String>, file: Option<&PathBuf>| match (data, file) {
        (Some(data), _) => decoded(data).map(Some),
        (None, Some(file)) => read(&directory.join(file)).map(Some),
        (None, None) => Ok(None),
    };
    let authority = part(
        cluster.certificate_authority_data.as_ref(),
        cluster.certificate_authority.as_ref(),
    )?;
    let certificate = part(
        user.client_certificate_data.as_ref(),
        user.client_certificate.as_ref(),
    )?;
    let key = part(user.client_key_data.as_ref(), user.client_key.as_ref())?;
    let own = match (certificate, key) {
        (Some(certificate), Some(key)) => Some(Own { certificate, key }),
        (None, None) => None,
        _ => bail!("its user has a certificate without a key, or a key without a certificate"),
    };
    let token = match (user.token, user.token_file) {
        (_, Some(file)) => Token::of_file(&directory.join(file))?,
        (Some(token), None) => Token::Fixed(token.into()),
        (None, None) => Token::None,
    };
    Access::new(
        &cluster.server,
        authority.as_deref(),
        own.as_ref(),
        cluster.tls_server_name.as_deref(),
        token,
    )
}

fn decoded(data: &str) -> Result<Vec<u8>> {
    let data: String = data.split_whitespace().collect();
    BASE64_STANDARD
        .decode(data)
        .context("a certificate or key in it is no base64")
}

/// What a pod is given to ask the API; `None` if this is none, or one without a service account.
pub(crate) fn of_pod() -> Option<Result<Access>> {
    let host = std::env::var("KUBERNETES_SERVICE_HOST").ok()?;
    let port = std::env::var("KUBERNETES_SERVICE_PORT").ok()?;
    let directory = Path::new(ACCOUNT);
    let token = directory.join("token");
    token.exists().then(|| {
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host
        };
        let authority = read(&directory.join("ca.crt"))?;
        let token = Token::of_file(&token)?;
        Access::new(
            &format!("https://{host}:{port}"),
            Some(&authority),
            None,
            None,
            token,
        )
    })
}

/// The kubeconfig that kubectl would take, if there is one: the first of `$KUBECONFIG`, else the home directory's.
pub(crate) fn usual_file() -> Option<PathBuf> {
    let named = std::env::var_os("KUBECONFIG").filter(|named| !named.is_empty());
    let path = match named {
        Some(named) => std::env::split_paths(&named).find(|path| path.exists())?,
        None => Path::new(&std::env::var_os("HOME")?).join(".kube/config"),
    };
    path.is_file().then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
apiVersion: v1
kind: Config
preferences: {}
current-context: admin@lab
contexts:
- name: other
  context: {cluster: other, user: other}
- name: admin@lab
  context:
    cluster: lab
    user: admin
clusters:
- cluster:
    server: http://192.0.2.1:8001/k
  name: lab
users:
- name: admin
  user:
    token: c2VjcmV0
";

    fn error(text: &str) -> String {
        format!(
            "{:#}",
            of_text(text, Path::new("/nonexistent")).expect_err("refuses")
        )
    }

    #[test]
    fn the_current_context_is_taken_in_yaml_and_in_json() {
        let access = of_text(FILE, Path::new("/")).expect("taken");
        assert_eq!((&*access.host, &*access.prefix), ("192.0.2.1:8001", "/k"));
        assert_eq!(access.token.now().as_deref(), Some("c2VjcmV0"));
        let json = r#"{"current-context":"a","contexts":[{"name":"a","context":{"cluster":"b"}}],
            "clusters":[{"name":"b","cluster":{"server":"http://192.0.2.1"}}]}"#;
        let access = of_text(json, Path::new("/")).expect("taken");
        assert_eq!(access.token.now(), None);
    }

    #[test]
    fn what_observer_does_not_do_is_said_in_one_line_without_secrets() {
        for (from, to, why) in [
            ("admin@lab\ncontexts", "none\ncontexts", "no current context"),
            ("  name: lab", "  name: x", "is not in it"),
            ("    token: c2VjcmV0", "    exec: {command: aws}", "by a program"),
            (
                "    token: c2VjcmV0",
                "    client-key-data: AAAA",
                "without a certificate",
            ),
            (
                "    token: c2VjcmV0",
                "    client-key-data: c2VjcmV0!",
                "no base64",
            ),
            (
                "    token:",
                "    tokenFile: /nonexistent/token\n    x:",
                "/nonexistent/token: ",
            ),
            (
                "server:",
                "insecure-skip-tls-verify: true\n    server:",
                "insecure-skip",
            ),
            ("clusters:", "clusters: [", "it is no kubeconfig"),
            ("http://", "https://", "no certificate authority"),
        ] {
            let text = FILE.replace(from, to);
            assert_ne!(text, FILE, "{from}");
            let error = error(&text);
            assert!(error.contains(why), "{to}: {error}");
            assert!(!error.contains('\n') && !error.contains("c2VjcmV0"), "{error}");
        }
    }

    #[test]
    fn a_file_that_would_fill_memory_is_none() {
        let mut bomb = String::from("a: &a [x,x,x,x,x,x,x,x,x]\n");
        for (name, before) in ('b'..='z').zip('a'..) {
            let list = format!("*{before},").repeat(9);
            bomb.push_str(&format!("{name}: &{name} [{list}]\n"));
        }
        assert_eq!(error(&bomb), "it is no kubeconfig");
        assert_eq!(error(&"[".repeat(200_000)), "it is no kubeconfig");
    }
}
