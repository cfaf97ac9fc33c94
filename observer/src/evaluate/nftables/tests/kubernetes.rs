//! What real programs wrote: kube-proxy and firewalld.

use super::*;
use crate::evaluate::Kinds;
use crate::ruleset::nftables::listing::Family;

fn kube_proxy() -> Ruleset {
    read(include_str!(
        "../../../ruleset/nftables/listing/samples/kubeproxy.json"
    ))
}

fn firewalld() -> Ruleset {
    read(include_str!(
        "../../../ruleset/nftables/listing/samples/firewalld.json"
    ))
}

#[test]
fn a_service_with_one_endpoint_is_translated_to_it() {
    let ruleset = kube_proxy();
    let evaluator = Evaluator::new(&ruleset);
    // db/postgres:pg has one pod: chance has nothing to choose.
    let evaluation = evaluator.hook("prerouting", &syn("10.244.1.9", "10.110.2.54", 5432));
    assert_eq!(evaluation.outcome(), Some(Outcome::Accept));
    let [path] = evaluation.paths.as_slice() else {
        panic!("one path: {:?}", evaluation.paths);
    };
    assert_eq!(path.packet.destination, "10.244.2.54".parse().ok());
    assert_eq!(path.packet.dport, Some(5432));
    assert_eq!(path.packet.mark, Bits::exact(0));
}

#[test]
fn from_outside_the_pods_it_is_also_marked_for_masquerading() {
    let ruleset = kube_proxy();
    let evaluator = Evaluator::new(&ruleset);
    let path = evaluator
        .hook("prerouting", &syn("192.0.2.77", "10.110.2.54", 5432))
        .paths
        .remove(0);
    assert_eq!(path.packet.mark, Bits::exact(0x4000));
    let mut leaving = path.packet.clone();
    leaving.output = Device::Named("cni0".to_owned());
    let left = evaluator.hook("postrouting", &leaving).paths.remove(0);
    assert!(left.is_translated);
    assert_eq!(left.packet.mark, Bits::exact(0));
}

#[test]
fn a_service_with_several_endpoints_has_a_path_for_each() {
    let ruleset = kube_proxy();
    let evaluation = Evaluator::new(&ruleset).hook("prerouting", &syn("10.244.1.9", "10.111.6.16", 8006));
    let mut to: Vec<_> = evaluation
        .paths
        .iter()
        .map(|path| path.packet.destination)
        .collect();
    to.sort();
    let endpoints = ["10.244.1.112", "10.244.2.113", "10.244.3.114"];
    assert_eq!(to, endpoints.map(|address| address.parse().ok()));
    assert_eq!(evaluation.outcome(), Some(Outcome::Accept));
}

#[test]
fn a_service_without_endpoints_is_rejected_in_the_hook_that_it_passes() {
    let ruleset = kube_proxy();
    let evaluation = Evaluator::new(&ruleset).hook("forward", &syn("10.244.1.9", "10.104.88.12", 8080));
    assert_eq!(evaluation.outcome(), Some(Outcome::Drop));
    let steps = matched(&ruleset, &evaluation.paths[0]);
    assert_eq!(
        steps,
        ["filter-forward 1", "service-endpoints-check 1", "reject-chain 1"]
    );
    assert_eq!(evaluation.paths[0].steps[2].end, Some(Final::Reject));
}

#[test]
fn from_this_host_a_service_with_a_local_policy_is_reached_all_the_same() {
    let ruleset = kube_proxy();
    // ingress/edge:http has externalTrafficPolicy Local: its node port is for what has a pod here, and for this host.
    let masqueraded = |kinds| {
        let mut packet = syn("192.0.2.11", "203.0.113.10", 80);
        packet.source_kinds = kinds;
        let evaluation = Evaluator::new(&ruleset).hook("prerouting", &packet);
        let marks: Vec<_> = evaluation
            .paths
            .iter()
            .map(|path| path.packet.mark.value())
            .collect();
        (marks.contains(&0x4000), marks.contains(&0))
    };
    assert_eq!(masqueraded(Kinds::LOCAL), (true, false));
    assert_eq!(masqueraded(Kinds::UNICAST), (false, true));
    assert_eq!(masqueraded(Kinds::ANY.without(Kinds::LOCAL)), (false, true));
    assert_eq!(masqueraded(Kinds::ANY), (true, true));
}

#[test]
fn firewalld_lets_in_what_its_zone_allows_and_rejects_the_rest() {
    let ruleset = firewalld();
    let evaluator = Evaluator::new(&ruleset);
    let input = |dport: u16| {
        let packet = syn("198.18.0.1", "192.0.2.10", dport);
        evaluator.base_chain(Family::Inet, "firewalld", "filter_INPUT", &packet)
    };
    assert_eq!(input(22).outcome(), Some(Outcome::Accept));
    let rejected = input(8080);
    assert_eq!(rejected.outcome(), Some(Outcome::Drop));
    let path = rejected
        .paths
        .iter()
        .find(|path| path.outcome == Some(Outcome::Drop))
        .expect("a drop");
    let misses: Vec<_> = evaluator
        .near_misses(path, 20)
        .into_iter()
        .flat_map(|miss| miss.failing)
        .map(|failing| failing.text())
        .collect();
    assert!(
        misses.contains(&"needs tcp dport 22, packet has 8080".to_owned()),
        "{misses:?}"
    );
    assert!(
        misses.contains(&"needs ct state { established, related }, packet has new".to_owned()),
        "{misses:?}"
    );
}
