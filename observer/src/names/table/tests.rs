use super::*;
use crate::names::ObjectName;

const SECOND: u64 = 1_000_000_000;

fn at(second: u64) -> Time {
    Time((1_000_000 + second) * SECOND)
}

fn addr(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn owner(from: NamesFrom, uid: &str, who: Who, addresses: &[&str]) -> Change {
    Change::Has(Box::new(Owner {
        from,
        uid: uid.into(),
        who,
        addresses: addresses.iter().map(|text| addr(text)).collect(),
        netns: None,
    }))
}

fn pod_of(from: NamesFrom, uid: &str, name: &str, addresses: &[&str]) -> Change {
    let who = Who::Pod {
        name: ObjectName::parse(name).expect("a name"),
        node: Some("node02".into()),
        containers: vec!["main".into()],
    };
    owner(from, uid, who, addresses)
}

fn pod(uid: &str, name: &str, addresses: &[&str]) -> Change {
    pod_of(NamesFrom::Api, uid, name, addresses)
}

/// A table whose first lists, empty, have come.
fn table() -> Table {
    let mut table = Table::default();
    for kind in [Kind::Pod, Kind::Service, Kind::Node] {
        table.take(Change::List(NamesFrom::Api, kind), at(0));
        table.take(Change::Listed(NamesFrom::Api, kind), at(0));
    }
    table
}

fn pod_at(table: &Table, address: &str, second: u64) -> Option<String> {
    table.of_address(addr(address), at(second))?.pod
}

fn gone(uid: &str) -> Change {
    Change::Gone(NamesFrom::Api, Kind::Pod, uid.into())
}

#[test]
fn an_address_that_is_used_again_has_the_name_of_that_time() {
    let mut table = table();
    table.take(pod("1", "web/old", &["10.0.0.5"]), at(10));
    table.take(gone("1"), at(20));
    table.take(pod("2", "web/new", &["10.0.0.5"]), at(30));
    for (second, expected) in [
        (9, None),
        (10, Some("web/old")),
        (19, Some("web/old")),
        (20, None),
        (29, None),
        (30, Some("web/new")),
    ] {
        assert_eq!(
            pod_at(&table, "10.0.0.5", second).as_deref(),
            expected,
            "{second}"
        );
    }
}

#[test]
fn an_address_that_two_pods_have_has_no_name_then() {
    let mut table = table();
    table.take(pod("1", "web/old", &["10.0.0.5"]), at(10));
    table.take(pod("2", "web/new", &["10.0.0.5"]), at(15));
    table.take(gone("1"), at(20));
    assert_eq!(pod_at(&table, "10.0.0.5", 14).as_deref(), Some("web/old"));
    assert_eq!(table.of_address(addr("10.0.0.5"), at(17)), None);
    assert_eq!(pod_at(&table, "10.0.0.5", 20).as_deref(), Some("web/new"));
}

#[test]
fn two_sources_that_agree_are_both_told_and_two_that_do_not_are_neither() {
    let mut table = table();
    table.take(pod("1", "web/a", &["10.0.0.5", "10.0.0.6"]), at(10));
    table.take(pod_of(NamesFrom::Cri, "s1", "web/a", &["10.0.0.5"]), at(10));
    table.take(pod_of(NamesFrom::Cri, "s2", "web/b", &["10.0.0.6"]), at(10));
    let named = table.of_address(addr("10.0.0.5"), at(11)).expect("a name");
    assert_eq!(named.from, [NamesFrom::Api, NamesFrom::Cri]);
    assert_eq!(
        (named.node.as_deref(), &*named.containers),
        (Some("node02"), &["main".to_owned()][..])
    );
    assert_eq!(table.of_address(addr("10.0.0.6"), at(11)), None);
}

#[test]
fn the_address_of_a_node_is_no_pods() {
    let mut table = table();
    table.take(pod("1", "web/a", &["192.0.2.1"]), at(10));
    let node = Who::Node("node02".into());
    table.take(owner(NamesFrom::Api, "n", node, &["192.0.2.1"]), at(10));
    let named = table.of_address(addr("192.0.2.1"), at(11)).expect("a name");
    assert_eq!((named.pod, named.node), (None, Some("node02".into())));
    assert!(named.containers.is_empty());
}

#[test]
fn what_the_first_list_has_was_so_before() {
    let mut table = Table::default();
    table.take(Change::List(NamesFrom::Api, Kind::Pod), at(10));
    table.take(pod("1", "web/a", &["10.0.0.5"]), at(10));
    assert!(!table.has_listed(NamesFrom::Api, Kind::Pod));
    table.take(Change::Listed(NamesFrom::Api, Kind::Pod), at(10));
    assert!(table.has_listed(NamesFrom::Api, Kind::Pod));
    assert_eq!(pod_at(&table, "10.0.0.5", 1).as_deref(), Some("web/a"));
}

#[test]
fn whoever_is_missing_from_a_later_list_is_gone() {
    let mut table = table();
    table.take(pod("1", "web/a", &["10.0.0.5"]), at(10));
    table.take(pod("2", "web/b", &["10.0.0.6"]), at(10));
    table.take(Change::List(NamesFrom::Api, Kind::Pod), at(20));
    table.take(pod("2", "web/b", &["10.0.0.6"]), at(20));
    table.take(Change::Listed(NamesFrom::Api, Kind::Pod), at(20));
    assert_eq!(pod_at(&table, "10.0.0.5", 21), None);
    assert_eq!(pod_at(&table, "10.0.0.5", 19).as_deref(), Some("web/a"));
    assert_eq!(pod_at(&table, "10.0.0.6", 12).as_deref(), Some("web/b"));
}

#[test]
fn a_pod_that_gets_another_address_leaves_the_first() {
    let mut table = table();
    table.take(pod("1", "web/a", &["10.0.0.5"]), at(10));
    table.take(pod("1", "web/a", &["10.0.0.7"]), at(20));
    assert_eq!(pod_at(&table, "10.0.0.5", 20), None);
    assert_eq!(pod_at(&table, "10.0.0.7", 20).as_deref(), Some("web/a"));
}

#[test]
fn a_source_that_is_silent_is_believed_and_that_is_said() {
    let mut table = table();
    table.take(pod("1", "web/a", &["10.0.0.5"]), at(10));
    table.take(Change::Down(NamesFrom::Api), at(20));
    table.take(Change::Down(NamesFrom::Api), at(60));
    let stale = |table: &Table, second| {
        let named = table.of_address(addr("10.0.0.5"), at(second));
        named.expect("a name").stale
    };
    assert!(!stale(&table, 50));
    assert!(stale(&table, 51));
    table.take(pod_of(NamesFrom::Cri, "s1", "web/a", &["10.0.0.5"]), at(60));
    assert!(!stale(&table, 61), "the runtime still says so");
    table.take(Change::Gone(NamesFrom::Cri, Kind::Pod, "s1".into()), at(62));
    table.take(Change::Up(NamesFrom::Api), at(70));
    assert!(!stale(&table, 171));
}

#[test]
fn who_answers_is_believed_rather_than_who_does_not_any_more() {
    let mut table = table();
    table.take(pod("1", "web/old", &["10.0.0.5"]), at(10));
    table.take(Change::Down(NamesFrom::Api), at(20));
    table.take(pod_of(NamesFrom::Cri, "s2", "web/new", &["10.0.0.5"]), at(25));
    assert_eq!(pod_at(&table, "10.0.0.5", 26), None);
    let named = table.of_address(addr("10.0.0.5"), at(51)).expect("a name");
    assert_eq!((named.pod.as_deref(), named.stale), (Some("web/new"), false));
    assert_eq!(named.from, [NamesFrom::Cri]);
}

#[test]
fn a_namespace_is_its_pods() {
    let mut table = table();
    let Change::Has(mut owner) = pod_of(NamesFrom::Cri, "s1", "web/a", &[]) else {
        panic!("an owner");
    };
    owner.netns = Some(4_026_532_281);
    table.take(Change::Has(owner), at(10));
    let named = table.of_netns(4_026_532_281, at(11)).expect("a name");
    assert_eq!(named.pod.as_deref(), Some("web/a"));
    assert_eq!(table.of_netns(4_026_532_282, at(11)), None);
}

#[test]
fn what_ended_is_forgotten_after_two_minutes_and_memory_is_bounded() {
    let mut table = table();
    table.take(pod("1", "web/a", &["10.0.0.5"]), at(10));
    table.take(gone("1"), at(20));
    table.take(gone("none"), at(140));
    assert!(pod_at(&table, "10.0.0.5", 15).is_some());
    table.take(gone("none"), at(141));
    assert_eq!(pod_at(&table, "10.0.0.5", 15), None);
    assert!(table.places.is_empty());
    for number in 0..MAX_ENDED as u32 + 100 {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + number).to_string();
        table.take(pod("x", "web/a", &[&address]), at(200));
    }
    assert!(table.ended.len() <= MAX_ENDED, "{}", table.ended.len());
    assert!(table.places.len() <= MAX_ENDED + 1);
}

#[test]
fn an_owner_too_many_is_left_out_and_that_is_known() {
    let mut table = table();
    for number in 0..=MAX_OWNERS {
        table.take(pod(&number.to_string(), "web/a", &[]), at(10));
    }
    assert_eq!(table.owners.len(), MAX_OWNERS);
    assert!(table.has_become_full() && !table.has_become_full());
}

#[test]
fn an_address_that_a_crowd_has_has_no_name_until_all_of_them_are_gone() {
    let mut table = table();
    for number in 0..100 {
        table.take(pod(&number.to_string(), "web/a", &["10.0.0.5"]), at(10));
    }
    table.take(pod("x", "web/x", &["10.0.0.5"]), at(10));
    for number in 0..99 {
        table.take(gone(&number.to_string()), at(20));
    }
    assert_eq!(table.of_address(addr("10.0.0.5"), at(21)), None);
    assert!(
        table
            .places
            .values()
            .all(|claims| claims.in_force(at(15)).is_empty())
    );
}
