//! The plain manifests, the chart and the plugin say the same.

use serde_json::{Value, json};

use super::chart::render;
use super::pod::Pod;
use super::{documents, read};

fn of_kind<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    let mut found = documents.iter().filter(|one| one["kind"] == kind);
    let one = found.next().expect("a document of that kind");
    assert!(found.next().is_none());
    one
}

fn sorted(mut documents: Vec<Value>) -> Vec<String> {
    documents.sort_by_key(|one| one["kind"].to_string());
    documents.iter().map(|one| format!("{one:#}")).collect()
}

#[test]
fn the_chart_with_its_own_values_is_the_plain_file_but_for_the_namespace() {
    let mut plain = documents(&read("observer.yaml").unwrap()).unwrap();
    let namespace = plain.remove(0);
    assert_eq!(namespace["kind"], "Namespace");
    let chart = render("observer", &json!({})).unwrap();
    assert_eq!(chart.len(), 4);
    assert_eq!(sorted(chart), sorted(plain));
}

#[test]
fn each_value_of_the_chart_changes_what_it_says_and_nothing_else() {
    let plain = render("observer", &json!({})).unwrap();
    let pod = |values: Value| Pod::of(of_kind(&render("elsewhere", &values).unwrap(), "DaemonSet")).unwrap();
    let usual = Pod::of(of_kind(&plain, "DaemonSet")).unwrap();
    assert_eq!(pod(json!({})), usual);

    let tools = pod(json!({"hostTools": {"enabled": true}}));
    let more: Vec<&str> = tools.mounts[1..].iter().map(|mount| mount.to.as_str()).collect();
    assert_eq!(more, ["/usr", "/lib", "/lib64", "/etc/alternatives"]);
    let without = pod(json!({"hostTools": {"enabled": true, "lib64": false}}));
    let more: Vec<&str> = without.mounts[1..]
        .iter()
        .map(|mount| mount.to.as_str())
        .collect();
    assert_eq!(more, ["/usr", "/lib", "/etc/alternatives"]);
    assert!(
        tools
            .mounts
            .iter()
            .all(|mount| mount.read_only && mount.from == mount.to)
    );
    assert_eq!((tools.args, tools.capabilities), (usual.args, usual.capabilities));

    let cri = pod(json!({"cri": {"enabled": true, "path": "/run/crio/crio.sock"}}));
    assert_eq!(cri.mounts[1].from, "/run/crio/crio.sock");
    assert_eq!(cri.args[5..7], ["--cri", "/run/crio/crio.sock"]);

    let rendered = render("elsewhere", &json!({"otlp": {"url": "http://10.96.0.40:4318"}})).unwrap();
    let spec = &of_kind(&rendered, "DaemonSet")["spec"]["template"]["spec"];
    let args = &spec["containers"][0]["args"];
    let expected = [
        "--otlp",
        "http://10.96.0.40:4318",
        "--otlp-buffer",
        "/buffer/otlp",
    ];
    assert_eq!(args.as_array().unwrap()[5..9], expected.map(Value::from));
    assert_eq!(spec["containers"][0]["volumeMounts"][1]["mountPath"], "/buffer");
    assert_eq!(spec["volumes"][1]["emptyDir"], json!({"sizeLimit": "80Mi"}));

    let of_tls = json!({"url": "https://10.96.0.40:4318", "authority": "collectors", "headers": "tenant", "clientSecret": "agents"});
    let values = json!({ "otlp": of_tls });
    let rendered = render("elsewhere", &values).unwrap();
    let spec = &of_kind(&rendered, "DaemonSet")["spec"]["template"]["spec"];
    let args = &spec["containers"][0]["args"];
    let expected = [
        "--otlp-ca",
        "/otlp/authority/ca.crt",
        "--otlp-headers",
        "/otlp/headers/headers",
        "--otlp-cert",
        "/otlp/client/tls.crt",
        "--otlp-key",
        "/otlp/client/tls.key",
    ];
    assert_eq!(args.as_array().unwrap()[9..17], expected.map(Value::from));
    let mounts = &spec["containers"][0]["volumeMounts"];
    assert_eq!(mounts[2]["mountPath"], "/otlp/authority");
    assert_eq!(mounts[3]["mountPath"], "/otlp/headers");
    assert_eq!(mounts[4]["mountPath"], "/otlp/client");
    assert_eq!(spec["volumes"][2]["configMap"]["name"], "collectors");
    assert_eq!(spec["volumes"][3]["secret"]["secretName"], "tenant");
    assert_eq!(spec["volumes"][4]["secret"]["secretName"], "agents");

    let values = json!({"metrics": {"onNode": true, "port": 9470}, "options": ["--probes", "auto"]});
    let rendered = render("elsewhere", &values).unwrap();
    let set = of_kind(&rendered, "DaemonSet");
    let args = Pod::of(set).unwrap().args;
    assert_eq!(
        args[3..],
        ["--probes", "auto", "--metrics", "$(NODE_ADDRESS):9470"]
    );
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        container["livenessProbe"]["httpGet"],
        json!({"path": "/", "port": 9470})
    );
    assert_eq!(
        container["env"][1]["valueFrom"]["fieldRef"]["fieldPath"],
        "status.hostIP"
    );
    for one in rendered
        .iter()
        .filter(|one| one["metadata"]["namespace"].is_string())
    {
        assert_eq!(one["metadata"]["namespace"], "elsewhere");
    }
}

#[test]
fn the_role_can_look_at_three_kinds_and_do_nothing() {
    let plain = documents(&read("observer.yaml").unwrap()).unwrap();
    let rules = &of_kind(&plain, "ClusterRole")["rules"];
    let expected = json!([{"apiGroups": [""], "resources": ["pods", "services", "nodes"], "verbs": ["get", "list", "watch"]}]);
    assert_eq!(rules, &expected);
}

#[test]
fn every_file_names_the_version_that_is_built() {
    let image = format!("observer:{}", env!("CARGO_PKG_VERSION"));
    let plain = documents(&read("observer.yaml").unwrap()).unwrap();
    let container = &of_kind(&plain, "DaemonSet")["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], image.as_str());
    let chart = documents(&read("helm/observer/Chart.yaml").unwrap()).unwrap();
    assert_eq!(chart[0]["appVersion"], env!("CARGO_PKG_VERSION"));
    let plugin = read("kubectl-observer").unwrap();
    assert!(plugin.contains(&format!("\nVERSION={}\n", env!("CARGO_PKG_VERSION"))));
}
