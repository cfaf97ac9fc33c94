//! Who has a packet's addresses, as Kubernetes and the container runtime name them.

use serde::{Deserialize, Serialize};

/// The names of a packet's two ends, of its connection's ends before NAT where these are others, and of its namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// Who has the packet's source address.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub src: Option<Named>,
    /// Who has its destination address.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dst: Option<Named>,
    /// Who has the source address before NAT, where that is another.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub original_src: Option<Named>,
    /// Who has the destination address before NAT, where that is another.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub original_dst: Option<Named>,
    /// Whose the network namespace is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub netns: Option<Named>,
}

/// The names of one address or namespace at the time of the line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// The pod, `namespace/name`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pod: Option<String>,
    /// The pod's containers, which share its addresses.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub containers: Vec<String>,
    /// The service, `namespace/name`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub service: Option<String>,
    /// The node that has the address, or that the pod is on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub node: Option<String>,
    /// Who says so.
    pub from: Vec<NamesFrom>,
    /// Nobody who says so could be asked any more at that time: the name may be out of date.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub stale: bool,
}

/// Where names come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NamesFrom {
    /// The API of Kubernetes.
    Api,
    /// The container runtime of this node.
    Cri,
    /// One that this version does not know.
    #[serde(other)]
    Other,
}

impl Names {
    /// Whether nothing has a name.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_says_so_may_be_somebody_of_a_later_version() {
        let named: Named = serde_json::from_str(r#"{"pod":"a/b","from":["cri","later"]}"#).expect("reads");
        assert_eq!(named.from, [NamesFrom::Cri, NamesFrom::Other]);
    }
}
