//! What every packet fulfils that an expression matches, as far as lists of alternatives can say it: the kernel side tests those, and what
//! it lets pass is held against the expression itself.

use ipnet::IpNet;

use super::super::filter::{FilterSpec, MAX_VALUES};
use super::{Node, Side, Test};

/// An empty list is no condition.
pub(super) fn widen(node: &Node) -> FilterSpec {
    match node {
        Node::And(one, other) => both(widen(one), widen(other)),
        Node::Or(one, other) => either(&widen(one), &widen(other)),
        Node::Not(_) => FilterSpec::default(),
        Node::Test(test) => of_test(test),
    }
}

fn of_test(test: &Test) -> FilterSpec {
    let mut spec = FilterSpec::default();
    match test {
        Test::Net(Side::Src, net) => spec.src = vec![*net],
        Test::Net(Side::Dst, net) => spec.dst = vec![*net],
        Test::Net(Side::Either, net) => spec.hosts = vec![*net],
        Test::Ports(_, first, last) if usize::from(last - first) < MAX_VALUES => {
            spec.ports = (*first..=*last).collect()
        }
        Test::Proto(number) => spec.protos = vec![*number],
        Test::Iface(name) => spec.ifaces = vec![name.clone()],
        Test::Netns(netns) => spec.netns = vec![netns.clone()],
        Test::Ports(..) | Test::IsV6(_) | Test::AtLeast(_) | Test::AtMost(_) => {}
    }
    spec
}

/// Of two conditions that both hold the narrower one is kept: a list is one condition.
fn both(one: FilterSpec, other: FilterSpec) -> FilterSpec {
    FilterSpec {
        dst: narrower_nets(one.dst, other.dst),
        src: narrower_nets(one.src, other.src),
        hosts: narrower_nets(one.hosts, other.hosts),
        ports: narrower(one.ports, other.ports),
        protos: narrower(one.protos, other.protos),
        ifaces: narrower(one.ifaces, other.ifaces),
        netns: narrower(one.netns, other.netns),
    }
}

fn narrower<T>(one: Vec<T>, other: Vec<T>) -> Vec<T> {
    if one.is_empty() || (!other.is_empty() && other.len() < one.len()) {
        other
    } else {
        one
    }
}

fn narrower_nets(one: Vec<IpNet>, other: Vec<IpNet>) -> Vec<IpNet> {
    let are_in = |these: &[IpNet], those: &[IpNet]| {
        these
            .iter()
            .all(|net| those.iter().any(|wide| wide.contains(net)))
    };
    if !other.is_empty() && are_in(&other, &one) {
        other
    } else if !one.is_empty() && are_in(&one, &other) {
        one
    } else {
        narrower(one, other)
    }
}

/// Of two conditions of which one holds: the values of both, where both have a list.
fn either(one: &FilterSpec, other: &FilterSpec) -> FilterSpec {
    let mut spec = FilterSpec {
        dst: union(&one.dst, &other.dst),
        src: union(&one.src, &other.src),
        hosts: Vec::new(),
        ports: union(&one.ports, &other.ports),
        protos: union(&one.protos, &other.protos),
        ifaces: union(&one.ifaces, &other.ifaces),
        netns: union(&one.netns, &other.netns),
    };
    if spec.dst.is_empty() && spec.src.is_empty() {
        // `src host a or dst host b`: a or b is at one of its ends.
        spec.hosts = union(ends(one), ends(other));
    }
    spec
}

/// Networks of which one holds one of its ends.
fn ends(spec: &FilterSpec) -> &[IpNet] {
    [&spec.hosts, &spec.dst, &spec.src]
        .into_iter()
        .find(|list| !list.is_empty())
        .map_or(&[], Vec::as_slice)
}

/// Empty, which is no condition, if one of them is, or if there are too many.
fn union<T: Clone + PartialEq>(one: &[T], other: &[T]) -> Vec<T> {
    if one.is_empty() || other.is_empty() {
        return Vec::new();
    }
    let mut all = one.to_vec();
    for value in other {
        if !all.contains(value) {
            all.push(value.clone());
        }
    }
    if all.len() > MAX_VALUES {
        all.clear();
    }
    all
}

/// Each list of a filter that is not empty, as an expression.
pub(super) fn expressed(spec: &FilterSpec) -> impl Iterator<Item = Node> {
    let nets = |side: Side, list: &[IpNet]| any(list.iter().map(|net| Test::Net(side, *net)));
    [
        nets(Side::Dst, &spec.dst),
        nets(Side::Src, &spec.src),
        nets(Side::Either, &spec.hosts),
        any(spec
            .ports
            .iter()
            .map(|port| Test::Ports(Side::Either, *port, *port))),
        any(spec.protos.iter().map(|number| Test::Proto(*number))),
        any(spec.ifaces.iter().cloned().map(Test::Iface)),
        any(spec.netns.iter().cloned().map(Test::Netns)),
    ]
    .into_iter()
    .flatten()
}

fn any(tests: impl Iterator<Item = Test>) -> Option<Node> {
    tests
        .map(Node::Test)
        .reduce(|all, one| Node::Or(Box::new(all), Box::new(one)))
}
