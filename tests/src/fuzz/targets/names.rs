//! What an API server and a container runtime say.

use observer::names::read;

use crate::names::{Sandbox, recorded};

pub(super) fn told() -> Vec<Vec<u8>> {
    let objects = [
        include_str!("../../../names/pod.json"),
        include_str!("../../../names/service.json"),
        include_str!("../../../names/node.json"),
    ];
    let one_line = |text: &str| text.split('\n').map(str::trim).collect::<String>();
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for object in objects.map(one_line) {
        seeds.push(format!("{{\"type\":\"ADDED\",\"object\":{object}}}\n").into_bytes());
        let list = format!(
            "{{\"kind\":\"List\",\"metadata\":{{\"resourceVersion\":\"7\",\"continue\":\"eyJ/+=\"}},\"items\":[{object}]}}"
        );
        seeds.push(list.into_bytes());
    }
    let sandbox = Sandbox {
        id: "5a0d".into(),
        namespace: "nginx-test".into(),
        name: "nginx-0".into(),
        address: "10.224.2.16".into(),
        netns: "/run/netns/none".into(),
        container: "nginx".into(),
    };
    seeds.extend(recorded(&sandbox));
    seeds
}

/// Whatever is said, what goes further has names as Kubernetes allows them, and few addresses.
pub(super) fn sources(data: &[u8]) {
    for owner in read(data) {
        let is_plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-./".contains(&byte);
        for name in &owner.names {
            assert!(
                name.len() <= 63 + 1 + 253 && name.bytes().all(is_plain),
                "{name:?}"
            );
        }
        assert!(owner.addresses <= 16 && owner.names.len() <= 18, "{owner:?}");
    }
}
