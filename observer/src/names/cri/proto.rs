//! The messages of the container runtime interface that are asked and answered here, with the fields that are used: a subset of
//! `pkg/apis/runtime/v1/api.proto` of kubernetes/cri-api (Apache-2.0), which stands in `runtime-v1.proto`. Other fields are skipped.

use std::collections::HashMap;

/// `SANDBOX_READY` of `PodSandboxState`.
pub(super) const SANDBOX_READY: i32 = 0;
/// `CONTAINER_RUNNING` of `ContainerState`.
pub(super) const CONTAINER_RUNNING: i32 = 1;
/// `NODE` of `NamespaceMode`: the host's own network.
pub(super) const NODE: i32 = 2;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ListPodSandboxRequest {
    #[prost(message, optional, tag = "1")]
    pub filter: Option<PodSandboxFilter>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PodSandboxFilter {
    #[prost(message, optional, tag = "2")]
    pub state: Option<PodSandboxStateValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PodSandboxStateValue {
    #[prost(int32, tag = "1")]
    pub state: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ListPodSandboxResponse {
    #[prost(message, repeated, tag = "1")]
    pub items: Vec<PodSandbox>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PodSandbox {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(message, optional, tag = "2")]
    pub metadata: Option<PodSandboxMetadata>,
    #[prost(int32, tag = "3")]
    pub state: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PodSandboxMetadata {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub namespace: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PodSandboxStatusRequest {
    #[prost(string, tag = "1")]
    pub pod_sandbox_id: String,
    #[prost(bool, tag = "2")]
    pub verbose: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PodSandboxStatusResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<PodSandboxStatus>,
    #[prost(map = "string, string", tag = "2")]
    pub info: HashMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PodSandboxStatus {
    #[prost(message, optional, tag = "5")]
    pub network: Option<PodSandboxNetworkStatus>,
    #[prost(message, optional, tag = "6")]
    pub linux: Option<LinuxPodSandboxStatus>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PodSandboxNetworkStatus {
    #[prost(string, tag = "1")]
    pub ip: String,
    #[prost(message, repeated, tag = "2")]
    pub additional_ips: Vec<PodIp>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PodIp {
    #[prost(string, tag = "1")]
    pub ip: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct LinuxPodSandboxStatus {
    #[prost(message, optional, tag = "1")]
    pub namespaces: Option<Namespace>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Namespace {
    #[prost(message, optional, tag = "2")]
    pub options: Option<NamespaceOption>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct NamespaceOption {
    #[prost(int32, tag = "1")]
    pub network: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ListContainersRequest {
    #[prost(message, optional, tag = "1")]
    pub filter: Option<ContainerFilter>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ContainerFilter {
    #[prost(message, optional, tag = "2")]
    pub state: Option<ContainerStateValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ContainerStateValue {
    #[prost(int32, tag = "1")]
    pub state: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ListContainersResponse {
    #[prost(message, repeated, tag = "1")]
    pub containers: Vec<Container>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Container {
    #[prost(string, tag = "2")]
    pub pod_sandbox_id: String,
    #[prost(message, optional, tag = "3")]
    pub metadata: Option<ContainerMetadata>,
    #[prost(int32, tag = "6")]
    pub state: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ContainerMetadata {
    #[prost(string, tag = "1")]
    pub name: String,
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    /// Field, type and number of each message of a `.proto`.
    fn of_proto() -> HashMap<String, HashMap<String, (String, u32)>> {
        let mut messages: HashMap<String, HashMap<String, (String, u32)>> = HashMap::new();
        let mut message = String::new();
        for line in include_str!("runtime-v1.proto").lines().map(str::trim) {
            if let Some(name) = line.strip_prefix("message ") {
                message = name.trim_end_matches('{').trim().to_owned();
            } else if line.starts_with("enum ") {
                message.clear();
            } else if let Some((declared, number)) = line.trim_end_matches(';').rsplit_once('=') {
                let Some((of, name)) = declared.trim().rsplit_once(' ') else {
                    continue;
                };
                if let (Ok(number), false) = (number.trim().parse(), message.is_empty()) {
                    let fields = messages.entry(message.clone()).or_default();
                    fields.insert(name.to_owned(), (of.trim().to_owned(), number));
                }
            }
        }
        messages
    }

    /// What a type of the `.proto` is to prost.
    fn kind(of: &str) -> &str {
        match of {
            "string" => "string",
            "bool" => "bool",
            "NamespaceMode" | "PodSandboxState" | "ContainerState" => "int32",
            "map<string, string>" => "map = \"string, string\"",
            of if of.starts_with("repeated ") => "message, repeated",
            _ => "message, optional",
        }
    }

    /// The wire format has numbers and no names: a wrong one would be read as something else.
    #[test]
    fn every_field_has_the_number_and_the_type_that_kubernetes_gives_it() {
        let proto = of_proto();
        let own = include_str!("proto.rs")
            .split("#[cfg(test)]")
            .next()
            .expect("a part");
        let (mut message, mut attribute, mut seen) = ("", "", 0);
        for line in own.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix("pub(super) struct ") {
                message = name.trim_end_matches(" {");
            } else if let Some(text) = line.strip_prefix("#[prost(") {
                attribute = text.trim_end_matches(")]");
            } else if let Some(field) = line.strip_prefix("pub ") {
                let name = field.split(':').next().expect("a name");
                let real = if message == "PodIp" { "PodIP" } else { message };
                let (of, number) = &proto[real][name];
                assert_eq!(
                    attribute,
                    format!("{}, tag = \"{number}\"", kind(of)),
                    "{message}.{name}"
                );
                seen += 1;
            }
        }
        assert_eq!(seen, own.matches("#[prost(").count(), "all fields were looked at");
        assert!(seen > 0);
    }
}
